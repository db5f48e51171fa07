"""Films of attention, with a tiny network: every frame, nothing half, flat memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_tf import films
from dino_tf.attend import attend, find_inputs
from dino_tf.errors import UserError
from dino_tf.films import FilmNetwork, FilmOptions, ahead, open_film, write_film
from dino_tf.models.backbones import create_backbone
from dino_tf.models.loading import load_backbone
from dino_tf.models.xcit import XCiT
from dino_tf.visualize.attention import attention_maps
from dino_tf.visualize.film_files import Film, Unreadable

ROOT = Path(__file__).resolve().parents[1]
EXACT = ("-c:v", "ffv1", "-pix_fmt", "bgr0")


@pytest.fixture(scope="module")
def backbone():
    return create_backbone("vit_tiny", 8, 32, embed_dim=12, depth=2, num_heads=2)


@pytest.fixture(scope="module")
def weights(backbone, tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "backbone.keras"
    backbone.save(path)
    return path


def quiet(line):
    """Says nothing."""


def frames_of(path):
    film = Film.open(path)
    return np.stack(list(film.frames(film.shape, film.rate, [])))


@pytest.mark.parametrize("kind", ["table", "registers", "rope", "xcit"])
def test_maps_are_those_of_photos(backbone, squares, kind):
    small = {"embed_dim": 16, "depth": 2, "num_heads": 2}
    if kind == "registers":
        backbone = create_backbone("vit_tiny", 8, 32, num_registers=2, **small)
    if kind == "rope":
        periods = (1.0, 3.0)
        backbone = create_backbone("vit_tiny", 8, 32, rope_periods=periods, **small)
    if kind == "xcit":
        backbone = XCiT(**small, patch_size=16)
        backbone.build((None, 32, 32, 3))
    frames = squares(5, 50, 70)
    network = FilmNetwork(backbone, (50, 70), FilmOptions(32))
    network.count = 3
    batches = list(network.batches(iter_closed(frames)))
    assert [len(batch.frames) for batch in batches] == [3, 2]
    found = np.concatenate([network(batch) for batch in batches])
    expected = np.stack([attention_maps(backbone, frame, 32) for frame in frames])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def iter_closed(frames):
    yield from frames


def test_film_with_all_its_frames(backbone, make_film, squares, tmp_path):
    film = open_film(make_film("a.mkv", squares(41, 49, 65), 10, *EXACT))
    options = FilmOptions(32, drawing="side", frames=True)
    path, line, lost = write_film(backbone, film, "a", tmp_path / "out", options)
    assert (path, line.done, lost) == (tmp_path / "out" / "a.mp4", 41, [])
    assert frames_of(path).shape == (41, 48, 128, 3)
    names = sorted(file.name for file in (tmp_path / "out" / "a").iterdir())
    assert names == [f"{i:08d}.png" for i in range(1, 42)]
    # Frames are in order: the square on the left goes right.
    pictures = [np.array(Image.open(path.parent / "a" / name)) for name in names]
    places = [int((p[12, :64, 0] > 150).argmax()) for p in pictures]
    assert places == sorted(places) and places[-1] > 40
    assert sorted(file.name for file in path.parent.iterdir()) == ["a", "a.mp4"]


def test_results_are_never_overwritten(weights, make_film, squares, tmp_path):
    film = make_film("a.mp4", squares(3), 10)
    before = film.read_bytes()
    options = FilmOptions(16)
    network = load_backbone(weights)
    with pytest.raises(UserError, match="a.mp4 is there already and is not overwritt"):
        write_film(network, open_film(film), "a", tmp_path, options)
    # Where a name is taken another one is found.
    assert attend([film], weights, tmp_path, 16, say=quiet) == [tmp_path / "a-2.mp4"]
    assert film.read_bytes() == before
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    written = attend([film], weights, out, 16, say=quiet, frames=True)
    assert written == [out / "a-2.mp4"] and not any((out / "a").iterdir())
    assert len(list((out / "a-2").iterdir())) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_film_leaves_nothing(
    backbone, make_film, squares, tmp_path, monkeypatch, error
):
    film, calls = open_film(make_film("a.mp4", squares(40), 10)), []
    forward = FilmNetwork.__call__

    def stop(network, batch):
        calls.append(1)
        if len(calls) == 6:
            raise error
        return forward(network, batch)

    monkeypatch.setattr(FilmNetwork, "__call__", stop)
    monkeypatch.setattr(films, "MOST_FRAMES", 4)
    options = FilmOptions(16, frames=True)
    with pytest.raises(error):
        write_film(backbone, film, "a", tmp_path / "out", options)
    assert list((tmp_path / "out").iterdir()) == []


def test_errors_of_the_drawing_thread_arrive(backbone, make_film, squares, tmp_path):
    film = open_film(make_film("a.mp4", squares(9), 10))
    with pytest.raises(UserError, match="head: got 7, allowed: mean, all, 0 to 1"):
        write_film(backbone, film, "a", tmp_path / "out", FilmOptions(16, head=7))
    assert not (tmp_path / "out").exists()


def test_photos_films_and_folders_of_frames(weights, make_film, squares, tmp_path):
    film = make_film("a.mp4", squares(12), 10, "-g", "1")
    unknown = film.rename(tmp_path / "b.film")
    frames, photos = tmp_path / "frames", tmp_path / "photos"
    for folder in (frames, photos):
        folder.mkdir()
        for i, frame in enumerate(squares(3)):
            Image.fromarray(frame).save(folder / f"{i}.png")
    (tmp_path / "c.mp4").write_bytes(b"no film")
    said, out = [], tmp_path / "out"
    given = [photos / "1.png", unknown, tmp_path / "c.mp4"]
    written = attend(given, weights, out, 16, say=said.append, fps=5)
    assert written == [out / "1.png", out / "b.mp4"]
    assert said[1].startswith(f"2/3 {out / 'b.mp4'} (6 frames, ")
    assert said[2].startswith("1 unreadable, passed over: ") and "c.mp4 (" in said[2]
    assert len(frames_of(out / "b.mp4")) == 6
    written = attend([frames], weights, out, 16, say=quiet, film=True, head="0")
    assert written == [out / "frames.mp4"]
    assert (Film.open(written[0]).rate, len(frames_of(written[0]))) == (30, 3)
    (photos / "d.mov").write_bytes(b"")
    attend([photos], weights, out, 16, say=said.append)
    assert f"films in {photos} (1), passed over: give them by name" in said


def test_stems_of_photos_and_films_stay_apart(tmp_path):
    for name in ("x.png", "x.mp4"):
        (tmp_path / name).write_bytes(b"")
    photos, found = find_inputs([tmp_path / "x.mp4", tmp_path / "x.png"])
    assert [stem for _, stem in photos + found] == ["x", "x-2"]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (["p.png"], {"fps": 5.0}, "fps: allowed with films only"),
        (["p.png"], {"film": True}, "film: got .*p.png, allowed: with folders of fr"),
        (["a.mp4"], {"kind": "features"}, "kind: got features, allowed for films"),
        (["a.mp4"], {"fps": -1.0}, "fps: got -1.0, allowed: above 0"),
        (["a.mp4"], {"fps": 0.0}, "fps: got 0.0, allowed: above 0"),
        (["p.png"], {"head": 0}, "head: allowed with films only"),
        (["a.mp4"], {"head": "x"}, "head: got 'x', allowed: mean, all, or a number"),
        (["a.mp4"], {}, "none of 1 files is a readable photo or film: .*a.mp4 "),
        (["only"], {}, "no photos in the folder .*only; a film is given by its own"),
        (["empty"], {"film": True}, "empty .none of 0 pictures in it can be read"),
    ],
)
def test_mistakes(weights, tmp_path, given, options, message):
    pytest.importorskip("imageio_ffmpeg")
    Image.new("RGB", (32, 32)).save(tmp_path / "p.png")
    (tmp_path / "a.mp4").write_bytes(b"no film")
    for folder in ("only", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "only" / "a.mov").write_bytes(b"")
    paths = [tmp_path / name for name in given]
    with pytest.raises(UserError, match=message):
        attend(paths, weights, tmp_path / "out", 16, say=quiet, **options)


def test_film_that_cannot_be_opened(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    with pytest.raises(Unreadable):
        open_film(tmp_path / "none.mp4")


def test_items_come_in_order_and_errors_too():
    made = []

    def items():
        for i in range(5):
            made.append(i)
            yield i
        raise UserError("the end")

    taken, stream = [], ahead(items(), 2)
    with pytest.raises(UserError, match="the end"):
        for item in stream:
            taken.append(item)
            assert len(made) <= item + 4
    assert taken == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_film(weights, make_film, squares, tmp_path):
    # 0.2 MB a frame: 400 more of them would be 90 MB.
    for name, seconds in (("short.mp4", 4), ("long.mp4", 20)):
        make_film(name, squares(25 * seconds, 240, 320), 25)
    program = (
        "import sys, resource; sys.path.insert(0, sys.argv[1]); "
        "from dino_tf.attend import attend\n"
        "for name in ('short.mp4', 'long.mp4'):\n"
        "    attend([f'{sys.argv[3]}/{name}'], sys.argv[2], sys.argv[3] + '/out', 32)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    words = [sys.executable, "-c", program, str(ROOT), str(weights), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    short, long = (int(x) / 1024 for x in done.stdout.splitlines()[1::2])
    assert "long.mp4 (500 frames" in done.stdout
    assert long - short < 40
