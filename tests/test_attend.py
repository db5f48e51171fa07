"""`attend`: pictures of any photos, with a tiny untrained network."""

import shutil

import numpy as np
import pytest
from PIL import Image

from dino_tf.attend import attend, find_inputs
from dino_tf.errors import UserError
from dino_tf.models.backbones import create_backbone
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run folder that holds nothing but a tiny backbone."""
    folder = tmp_path_factory.mktemp("run")
    sizes = {"embed_dim": 12, "depth": 1, "num_heads": 2}
    create_backbone("vit_tiny", 8, 32, **sizes).save(folder / "backbone.keras")
    return folder


@pytest.fixture
def photos(tmp_path):
    """Folder of two photos of different shapes, a broken one and a text file."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for name, shape in (("a.png", (40, 60, 3)), ("more/a.jpg", (64, 32, 3))):
        Image.fromarray(draw.integers(0, 255, shape).astype("uint8")).save(
            folder / name
        )
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (folder / "notes.txt").write_text("no photo either")
    return folder


def test_sheets_and_single_pictures(run, photos, tmp_path):
    said = []
    out = tmp_path / "out"
    sheets = attend([photos], run, out, size=32, say=said.append)
    assert sheets == [out / "a.png", out / "a-2.png"]
    assert sorted(p.name for p in (out / "a").iterdir()) == [
        "attention_head0.png",
        "attention_head1.png",
        "attention_mean.png",
        "mask.png",
        "masked.png",
        "original.png",
    ]
    with Image.open(out / "a" / "original.png") as picture:
        assert picture.size == (60, 40)
    with Image.open(out / "a-2" / "masked.png") as picture:
        assert picture.size == (32, 64)
    assert said[0] == f"1/3 {sheets[0]}"
    assert said[-1].startswith("1 unreadable, passed over: ")
    assert "broken.jpg" in said[-1]


def test_pictures_go_into_the_run_by_default(run, photos):
    sheets = attend([photos / "a.png"], run, size=16, say=lambda line: None)
    assert sheets == [run / "attend" / "a.png"]
    assert sheets[0].is_file()


def test_features_of_any_network(run, photos, tmp_path):
    quiet = {"size": 32, "say": lambda line: None, "kind": "features"}
    for weights in (run, "random:keras:MobileNetV3Small"):
        out = tmp_path / str(weights).rpartition(":")[2].rpartition("/")[2]
        sheets = attend([photos / "a.png"], weights, out, **quiet)
        assert sheets == [out / "a.png"]
        names = {p.stem for p in (out / "a").iterdir()}
        assert {"component1", "components", "mask", "masked"} <= names
    with pytest.raises(UserError, match="keep_mass: got 0.5, allowed: with attention"):
        attend([photos / "a.png"], run, out, keep_mass=0.5, **quiet)


def test_network_without_attention_is_offered_features(photos):
    with pytest.raises(UserError, match="keras:MobileNet.* no attention.*--kind feat"):
        attend([photos / "a.png"], "random:keras:MobileNetV3Small", size=32)


def test_originals_are_never_overwritten(run, photos, tmp_path):
    before = (photos / "a.png").read_bytes()
    with pytest.raises(UserError, match="holds photos that the pictures of 'a'"):
        attend([photos], run, photos, size=16, say=lambda line: None)
    inside = tmp_path / "a"
    inside.mkdir()
    (inside / "mask.png").write_bytes(before)
    (tmp_path / "a.png").write_bytes(before)
    with pytest.raises(UserError, match="allowed: another folder"):
        attend([inside, photos], run, tmp_path, size=16, say=lambda line: None)
    assert (photos / "a.png").read_bytes() == before
    assert (inside / "mask.png").read_bytes() == before


def test_pictures_that_are_there_stay(run, photos, tmp_path):
    out, quiet = tmp_path / "out", {"size": 16, "say": lambda line: None}
    (out / "A-2").mkdir(parents=True)
    first = attend([photos / "a.png"], run, out, **quiet)
    before = first[0].read_bytes()
    again = attend([photos], run, out, keep_mass=0.1, **quiet)
    assert [path.name for path in first + again] == ["a.png", "a-3.png", "a-4.png"]
    assert first[0].read_bytes() == before
    assert (out / "a-4" / "mask.png").is_file()
    assert not any((out / "A-2").iterdir())


def test_pixels_are_normalised_as_in_the_run(run, photos, tmp_path, monkeypatch):
    seen = []

    def spy(*arguments, size, mean, std):
        seen.append((mean, std))
        return [tmp_path / "a.png"]

    monkeypatch.setattr("dino_tf.attend.write_attention", spy)
    attend([photos / "a.png"], run, tmp_path / "out", say=lambda line: None)
    own = tmp_path / "own"
    shutil.copytree(run, own)
    (own / "config.yaml").write_text("views: {mean: [0, 0, 0], std: [1, 1, 1]}")
    attend([photos / "a.png"], own, tmp_path / "out", say=lambda line: None)
    assert seen == [(IMAGENET_MEAN, IMAGENET_STD), ((0, 0, 0), (1, 1, 1))]


def test_without_a_run_folder_they_go_into_result(run, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = run / "backbone.keras"
    sheets = attend([photos / "a.png"], weights, size=16, say=lambda line: None)
    assert [str(sheet) for sheet in sheets] == ["result/attend/a.png"]


def test_keep_mass_reaches_the_mask(run, photos, tmp_path):
    shares = []
    for mass in (0.2, 0.9):
        out = tmp_path / str(mass)
        attend([photos / "a.png"], run, out, 32, mass, say=lambda line: None)
        with Image.open(out / "a" / "mask.png") as mask:
            shares.append(np.mean(np.asarray(mask) > 0))
    assert 0 < shares[0] < 0.2 + 0.05 < shares[1]


def test_stems_stay_apart(tmp_path):
    for name in ("x/p.png", "y/p.png", "y/q.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    found, _ = find_inputs([tmp_path / "x", tmp_path / "y", tmp_path / "y" / "q.png"])
    assert [stem for _, stem in found] == ["p", "p-2", "q", "q-2"]
    assert [path.parent.name for path, _ in found] == ["x", "y", "y", "y"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "no photos given"),
        (["missing.jpg"], "no such photo, film or folder: .*missing.jpg"),
        (["empty"], "no photos in the folder .*empty"),
    ],
)
def test_paths_without_photos(tmp_path, paths, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        find_inputs([tmp_path / path for path in paths])


def test_nothing_readable(run, photos, tmp_path):
    with pytest.raises(UserError, match="none of 1 files is a readable photo"):
        attend([photos / "broken.jpg"], run, tmp_path / "out", say=lambda line: None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "size is 4"),
        ({"keep_mass": 0.0}, "keep_mass is 0"),
        ({"keep_mass": 1.5}, "keep_mass is 1.5"),
    ],
)
def test_wrong_numbers(run, photos, tmp_path, options, message):
    arguments = {"size": 32, "say": lambda line: None, **options}
    with pytest.raises(UserError, match=message):
        attend([photos / "a.png"], run, tmp_path / "out", **arguments)


def test_unknown_weights(photos, tmp_path):
    with pytest.raises(UserError, match="no weights at"):
        attend([photos], tmp_path / "missing")
