"""Propagated masks: a network of colours, films of all sorts, files, the task."""

import csv
import types

import keras
import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets.davis import open_davis
from dino_tf.datasets.film_scenes import FilmScenes
from dino_tf.datasets.scenes import Scenes
from dino_tf.errors import UserError
from dino_tf.evaluate import video_files
from dino_tf.evaluate.label_propagation import (
    Propagation,
    Propagator,
    network_shape,
    resize_nearest,
)
from dino_tf.evaluate.published import figures_for
from dino_tf.evaluate.store import Store
from dino_tf.evaluate.subject import Data, Subject
from dino_tf.evaluate.video import evaluate_video, lacks, run_task
from dino_tf.models.vit import VisionTransformer
from dino_tf.transforms.image import IMAGENET_MEAN

COLOURS = np.array([(20, 20, 20), (230, 40, 40), (40, 60, 230)], np.uint8)
NUMBERS = ("jf_mean", "j_mean", "j_recall", "j_decay", "f_mean", "f_recall", "f_decay")


class Means(keras.layers.Layer):
    """A patch is its mean colour; CLS comes first and is nothing."""

    patch_size = 8
    num_prefix_tokens = 1
    result_names = ("cls", "tokens")
    seen = 0

    def extract(self, images, names):
        """{"tokens": (B, 1 + N, 3)}."""
        self.seen += 1
        pooled = keras.ops.average_pool(images, self.patch_size, self.patch_size)
        tokens = keras.ops.reshape(pooled, (len(images), -1, 3))
        return {"tokens": keras.ops.pad(tokens, ((0, 0), (1, 0), (0, 0)))}


@pytest.fixture(autouse=True)
def untraced(monkeypatch):
    """Networks run as they are: tracing them would take longer than the tests."""
    monkeypatch.setattr("dino_tf.evaluate.patch_pass.WORTH_A_TRACE", -1)
    monkeypatch.setattr("dino_tf.evaluate.patch_pass.WORTH_ONE_FOR_ALL", 10**9)


def objects_at(left, other=None, shape=(64, 64)):
    """A square of two by two patches, and a second one at a height of its own."""
    mask = np.zeros(shape, np.uint8)
    mask[16:32, left : left + 16] = 1
    if other is not None:
        mask[40:56, other : other + 16] = 2
    return mask


def write(root, film, masks, annotated=None, shapes=None):
    """Frames that look like their masks; `annotated` are those that have one."""
    for number, mask in enumerate(masks):
        frame = root / "JPEGImages" / "480p" / film / f"{number:05d}.png"
        frame.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(COLOURS[mask])
        shape = (shapes or {}).get(number, mask.shape)
        image.resize(shape[::-1], Image.Resampling.NEAREST).save(frame)
        if annotated is None or number in annotated:
            path = root / "Annotations" / "480p" / film / f"{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(mask)
            image.putpalette(COLOURS.tobytes())
            image.save(path)
    return frame.parent


def judge(root, **options):
    """The task on the films below a folder, as (Outcome, details of the films)."""
    source = open_davis(2017, root)
    subject = Subject(Means(), store=options.pop("store", Store()))
    options.setdefault("size", 64)
    defaults = {"memory": 7, "neighbourhood": 12, "topk": 5, "temperature": 0.1}
    outcome = run_task(subject, Data.of(source), **(defaults | options))
    return outcome, outcome.details["films"]


MOVING = [objects_at(8 * i, 40 - 8 * i) for i in range(5)]


def test_objects_of_distinct_colours_are_followed(tmp_path):
    write(tmp_path, "pair", MOVING)
    outcome, films = judge(tmp_path)
    assert list(outcome.numbers) == [f"video/{name}" for name in NUMBERS]
    # Corners are rounded off by the enlargement, and one pixel is all that F allows.
    assert 88 < outcome.numbers["video/j_mean"] < 93
    assert 84 < outcome.numbers["video/f_mean"] < 90
    assert outcome.numbers["video/j_recall"] == 100
    assert abs(outcome.numbers["video/j_decay"]) < 2
    assert films["pair"]["judged"] == 3 and set(films["pair"]["objects"]) == {"1", "2"}
    assert films["pair"]["objects"]["1"]["f_recall"] == 100
    both = (outcome.numbers["video/j_mean"] + outcome.numbers["video/f_mean"]) / 2
    assert films["pair"]["jf_mean"] == outcome.numbers["video/jf_mean"] == both
    same = evaluate_video(Means(), open_davis(2017, tmp_path), size=64)
    assert same == pytest.approx(outcome.numbers)
    # In 2016 both are one.
    once = evaluate_video(Means(), open_davis(2016, tmp_path), size=64)
    assert once["video/j_mean"] > 85


def test_objects_that_vanish_and_objects_that_come_late(tmp_path):
    empty = np.zeros((64, 64), np.uint8)
    write(tmp_path, "gone", [MOVING[0], MOVING[1], empty, empty])
    write(tmp_path, "late", [objects_at(8), objects_at(8, 16), objects_at(8, 16)])
    outcome, films = judge(tmp_path)
    # Frame 2 has neither object, and none is found, which is right: 1 each.
    gone = films["gone"]["objects"]
    assert 95 < gone["1"]["j_mean"] < 97 and 92 < gone["1"]["f_mean"] < 95
    assert list(films["late"]["objects"]) == ["1"]
    assert outcome.notes == []


def test_films_that_cannot_be_judged_are_named(tmp_path):
    empty = np.zeros((64, 64), np.uint8)
    write(tmp_path, "fine", MOVING)
    write(tmp_path, "empty", [empty, objects_at(8), objects_at(8)])
    write(tmp_path, "one", MOVING[:1])
    write(tmp_path, "two", MOVING[:2])
    write(tmp_path, "first", MOVING[:3], annotated=[0])
    write(tmp_path, "never", MOVING[:3], annotated=[1, 2])
    folder = write(tmp_path, "broken", MOVING[:3])
    (folder / "00000.png").write_bytes(b"no photo")
    outcome, films = judge(tmp_path)
    alone, _ = judge(tmp_path, sequences=["fine"])
    assert outcome.numbers == alone.numbers
    assert set(films) == {"fine", "empty", "one", "two", "first"}
    assert films["one"] == {"frames": 1, "judged": 0, "jf_mean": None} | {
        "objects": {"1": {}, "2": {}}
    }
    assert outcome.notes == [
        "2 films left out, as their first frame or its mask is missing: broken, never",
        "1 films not judged: no object in the first frame: empty",
        "3 films not judged: no frame between first and last has a mask: first, one, "
        "two",
    ]
    outcome, _ = judge(tmp_path, sequences=["first"])
    assert outcome.numbers == {}
    paths = outcome.write(tmp_path / "out")
    assert len(list((tmp_path / "out" / "masks" / "first").iterdir())) == 3
    assert paths[-1] == tmp_path / "out" / "masks"


def test_masks_that_are_missing_and_frames_that_cannot_be_read(tmp_path):
    folder = write(tmp_path, "film", MOVING, annotated=[0, 2, 4])
    whole, films = judge(tmp_path)
    assert films["film"]["judged"] == 1
    (folder / "00002.png").write_bytes(b"no photo")
    outcome, films = judge(tmp_path)
    # It has the mask of the frame before, 8 of 16 pixels away.
    assert films["film"]["judged"] == 1
    assert 25 < outcome.numbers["video/j_mean"] < 40 < whole.numbers["video/j_mean"]
    assert outcome.notes == [
        "1 frames cannot be read and have the mask of the frame before: film/00002"
    ]


def test_frames_and_masks_of_other_sizes(tmp_path):
    write(tmp_path, "film", MOVING, shapes={1: (128, 128), 2: (32, 32)})
    outcome, _ = judge(tmp_path)
    assert outcome.numbers["video/j_mean"] > 85
    outcome.write(tmp_path / "out")
    sizes = [
        Image.open(tmp_path / "out" / "masks" / "film" / f"{i:05d}.png").size
        for i in range(3)
    ]
    assert sizes == [(64, 64), (128, 128), (32, 32)]
    write(tmp_path, "film", [MOVING[0], MOVING[1][:32], MOVING[2]])
    Image.new("RGB", (64, 64)).save(
        tmp_path / "JPEGImages" / "480p" / "film" / "00001.png"
    )
    with pytest.raises(UserError, match="64 x 32 pixels, its photo 64 x 64"):
        judge(tmp_path)


def test_files_of_a_result(tmp_path):
    write(tmp_path, "pair", MOVING)
    outcome, _ = judge(tmp_path)
    paths = outcome.write(tmp_path / "out")
    names = [str(path.relative_to(tmp_path / "out")) for path in paths]
    expected = ["masks-1.png", "frames.csv", "films/pair.mp4", "masks"]
    if video_files.missing_ffmpeg():
        expected.remove("films/pair.mp4")
    assert names == expected and all(path.exists() for path in paths)
    with Image.open(tmp_path / "out" / "masks" / "pair" / "00002.png") as mask:
        assert mask.mode == "P" and mask.size == (64, 64)
        assert mask.getpalette()[:9] == COLOURS.reshape(-1).tolist()
        numbers = np.array(mask)
    assert np.unique(numbers).tolist() == [0, 1, 2]
    assert numbers[24, 24] == 1 and numbers[48, 32] == 2
    with Image.open(tmp_path / "out" / "masks" / "pair" / "00000.png") as first:
        np.testing.assert_array_equal(np.array(first), MOVING[0])
    with (tmp_path / "out" / "frames.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["frame", "object", "j", "f"] and len(rows) == 1 + 2 * 3
    assert rows[1][:2] == ["pair/00001", "1"] and 0.88 < float(rows[1][2]) < 0.93


def test_without_ffmpeg_a_line_names_the_package(tmp_path, monkeypatch):
    def missing():
        raise UserError("films need ffmpeg: pip install imageio-ffmpeg")

    monkeypatch.setattr(video_files, "ffmpeg_program", missing)
    write(tmp_path, "pair", MOVING[:3])
    outcome, _ = judge(tmp_path)
    note = "no film: films need ffmpeg: pip install imageio-ffmpeg"
    assert outcome.notes == [note]
    paths = outcome.write(tmp_path / "out")
    assert [path.name for path in paths] == ["masks-1.png", "frames.csv", "masks"]


def test_numbers_are_kept_and_masks_made_when_they_are_needed(tmp_path, monkeypatch):
    write(tmp_path, "pair", MOVING[:3])
    store = Store(tmp_path / "cache")
    network = Means()
    subject = Subject(network, store=store)
    data = Data.of(open_davis(2017, tmp_path))
    first = run_task(subject, data, size=64)
    seen = network.seen
    again = run_task(subject, data, size=64)
    assert again.numbers == first.numbers and network.seen == seen == 3
    again.write(tmp_path / "out")
    assert network.seen == 2 * seen
    assert (
        run_task(subject, data, size=64, memory=0).numbers and network.seen > 2 * seen
    )


def test_memory_and_neighbourhood_matter(tmp_path):
    # The object jumps by 40 pixels, 5 patches; only a patch that looks so far finds it.
    write(tmp_path, "jump", [objects_at(0), objects_at(40), objects_at(40)])
    near, _ = judge(tmp_path, neighbourhood=2)
    far, _ = judge(tmp_path, neighbourhood=5)
    everything, _ = judge(tmp_path, neighbourhood=0)
    assert near.numbers["video/j_mean"] == 0
    assert far.numbers["video/j_mean"] > 85
    assert everything.numbers["video/j_mean"] > 85
    # In steps of one patch the last frames lead there; the first alone does not.
    write(tmp_path, "jump", [objects_at(8 * i) for i in range(6)])
    led, _ = judge(tmp_path, neighbourhood=2)
    lost, _ = judge(tmp_path, neighbourhood=2, memory=0)
    assert led.numbers["video/j_mean"] > 85 > 60 > lost.numbers["video/j_mean"]


def test_published_pixels(tmp_path):
    write(tmp_path, "pair", MOVING[:2])
    own = Propagator(Means(), Propagation(64))
    other = Propagator(Means(), Propagation(64), IMAGENET_MEAN, (0.5, 0.5, 0.5))
    assert own._statistics[1] == (0.228, 0.224, 0.225)
    assert other._statistics[1] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("shape", "size", "patch", "expected"),
    [
        ((480, 854), 480, 16, (480, 832)),
        ((480, 910), 480, 8, (480, 896)),
        ((854, 480), 480, 16, (832, 480)),
        ((1080, 1920), 480, 16, (480, 832)),
        # As there, the width of a square is rounded.
        ((500, 500), 480, 16, (480, 448)),
        ((480, 854), 480, 14, (476, 840)),
        ((96, 128), 96, 4, (96, 128)),
    ],
)
def test_shape_for_the_network(shape, size, patch, expected):
    assert network_shape(shape, size, patch) == expected


@pytest.mark.parametrize(("size", "patch"), [(32, 8), (10, 16), (0, 8)])
def test_size_too_small(size, patch):
    with pytest.raises(UserError, match="size: got .* from 64"):
        network_shape((100, 120), size, patch)


@pytest.mark.parametrize(
    "option",
    [{"memory": -1}, {"neighbourhood": -1}, {"topk": 0}, {"temperature": 0.0}],
)
def test_numbers_out_of_range(tmp_path, option):
    write(tmp_path, "pair", MOVING[:2])
    with pytest.raises(UserError, match=next(iter(option))):
        judge(tmp_path, **option)


def test_what_is_missing(tmp_path):
    films, scenes = Data.of(FilmScenes(count=1)), Data.of(Scenes(count=2))
    subject = Subject(Means())
    assert lacks(subject, films) is None
    assert "films with masks" in lacks(subject, scenes)
    keys = Subject(types.SimpleNamespace(result_names=("cls",)))
    assert lacks(keys, films) == "a network with patch tokens"
    with pytest.raises(UserError, match="allowed: films, davis2016, davis2017"):
        run_task(subject, scenes)
    with pytest.raises(UserError, match="got 'bear'; allowed: film_000"):
        run_task(subject, films, sequences=["bear"])
    with pytest.raises(UserError, match="no split 'val'"):
        run_task(subject, Data("x", lambda name: None), split="val")
    write(tmp_path, "one", MOVING[:1])
    with pytest.raises(UserError, match="can be judged in any frame"):
        evaluate_video(Means(), open_davis(2017, tmp_path), size=64)


def test_films_are_judged_on_the_test_split_with_a_real_network():
    network = VisionTransformer(
        patch_size=8, embed_dim=16, depth=1, num_heads=2, image_size=16
    )
    network.build(None)
    splits = {"train": FilmScenes(count=1, frames=3), "test": FilmScenes("test", 1, 4)}
    outcome = run_task(Subject(network), Data("films", splits.get))
    assert outcome.details["split"] == "films/test"
    assert outcome.details["settings"]["size"] == 96
    assert 0 < outcome.numbers["video/jf_mean"] < 100
    assert outcome.details["films"]["film_000"]["judged"] == 2


def test_features_that_are_no_numbers(tmp_path):
    class Broken(Means):
        def extract(self, images, names):
            return {"tokens": super().extract(images, names)["tokens"] * np.nan}

    write(tmp_path, "pair", MOVING[:3])
    with pytest.raises(UserError, match="not finite"):
        evaluate_video(Broken(), open_davis(2017, tmp_path), size=64)


def test_a_network_of_one_shape(tmp_path):
    class Fixed(Means):
        def grid_of(self, size):
            raise ValueError("allowed: (32, 32)")

    write(tmp_path, "pair", MOVING[:3])
    with pytest.raises(UserError, match="size: got 64; allowed"):
        evaluate_video(Fixed(), open_davis(2017, tmp_path), size=64)


@pytest.mark.slow
def test_sequences_of_davis_2016(shared_dir, tmp_path):
    source = open_davis(2016, shared_dir / "davis")
    assert [(f.name, len(f)) for f in source.films] == [("blackswan", 50), ("dog", 60)]
    for kind in ("JPEGImages", "Annotations"):
        (tmp_path / kind / "480p" / "blackswan").mkdir(parents=True)
        there = shared_dir / "davis" / kind / "480p" / "blackswan"
        for file in sorted(there.iterdir())[:8]:
            (tmp_path / kind / "480p" / "blackswan" / file.name).symlink_to(file)
    found = evaluate_video(Means(), open_davis(2016, tmp_path), size=192)
    # The swan is black and the water is not: colours alone follow it.
    assert 50 < found["video/j_mean"] < 90


def test_nearest():
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert resize_nearest(mask, (2, 3)) is mask
    assert resize_nearest(mask, (1, 3)).tolist() == [[3, 4, 5]]
    assert resize_nearest(mask, (2, 1)).tolist() == [[1], [4]]


def test_published_figures():
    found = figures_for("davis2017:data/DAVIS", [f"video/{name}" for name in NUMBERS])
    values = {f.network: f.value for f in found}
    assert {f.name for f in found} == {"video/jf_mean"}
    assert values["DINO ViT-S/16"] == 61.8 and values["DINO ViT-B/8"] == 71.4
    assert figures_for("davis2016", ["video/jf_mean"]) == []
