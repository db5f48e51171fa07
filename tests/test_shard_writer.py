"""Writing shards: everything survives, interruptions do not matter."""

import io
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dino_tf import cli, shard_parts, shard_writer
from dino_tf.datasets import open_source
from dino_tf.datasets.arrays import ArraySource
from dino_tf.datasets.source import Boxes, Source
from dino_tf.errors import UserError
from dino_tf.pipeline import make_dataset
from dino_tf.shard_writer import describe, write_shards
from dino_tf.transforms.multicrop import MultiCrop


def encoded(value, kind="PNG", size=(12, 10)):
    file = io.BytesIO()
    Image.new("RGB", size, (value, 0, 255 - value)).save(file, kind)
    return file.getvalue()


class Everything(Source):
    """A record of every sort; `broken` are places of files that cannot be read."""

    name = "every/thing"
    class_names = ("ant", "bée")

    def __init__(self, count=30, broken=(), interrupt=None):
        self.count, self.broken, self.interrupt = count, broken, interrupt

    def __len__(self):
        return self.count

    def id(self, index):
        return f"dir é/photo {index:03d}.jpg"

    def image_bytes(self, index):
        if index == self.interrupt:
            raise RuntimeError("interrupted")
        if index in self.broken:
            raise FileNotFoundError(f"no file {index}")
        if index == 3:
            return b""
        return b"no picture" if index == 4 else encoded(index) + bytes(index)

    def labels(self, index):
        return ((), (0,), (0, 1))[index % 3]

    def boxes(self, index):
        if index % 4 == 0:
            return None
        some = [(0.25, 1, 11.5, index)] * (index % 3)
        return Boxes.of(some, [1] * len(some), [True] * len(some))

    def mask(self, index):
        return np.full((10, 12), index % 3, np.uint8) if index % 2 else None

    def objects(self, index):
        return np.full((10, 12), 10 * index, np.int32) if index % 5 else None

    def stamp(self):
        return f"{self.count}"


def assert_same(found, expected, places=None):
    """`found` holds the records of `expected` at `places`, or all."""
    places = range(len(expected)) if places is None else places
    assert len(found) == len(places)
    assert found.name == expected.name
    assert found.class_names == tuple(expected.class_names)
    for mine, place in enumerate(places):
        assert found.id(mine) == expected.id(place)
        assert found.image_bytes(mine) == expected.image_bytes(place)
        assert found.labels(mine) == expected.labels(place)
        for name in ("mask", "objects"):
            one, other = getattr(found, name)(mine), getattr(expected, name)(place)
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_array_equal(one, other, strict=True)
        one, other = found.boxes(mine), expected.boxes(place)
        assert (one is None) == (other is None)
        for field in ("xyxy", "classes", "difficult") if one else ():
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def contents(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_everything_survives(tmp_path):
    written = write_shards(Everything(), tmp_path, shard_mb=0.002)
    assert (written.photos, written.was_there) == (30, False)
    assert written.shards > 3
    files = sorted(written.folder.glob("*.tfrecord"))
    assert [file.name for file in files][:2] == ["00000.tfrecord", "00001.tfrecord"]
    assert all(file.stat().st_size <= 2000 for file in files)
    assert written.bytes == sum(file.stat().st_size for file in files)
    assert_same(open_source(f"shards:{tmp_path}"), Everything())


def test_shards_of_shards(tmp_path):
    write_shards(Everything(), tmp_path / "a", shard_mb=0.002)
    write_shards(open_source(f"shards:{tmp_path / 'a'}"), tmp_path / "b")
    found = open_source(f"shards:{tmp_path / 'b'}")
    assert_same(found, Everything())
    assert len(list((tmp_path / "b" / "train").glob("*.tfrecord"))) == 1


def test_scenes_and_real_photos(tmp_path, shared_dir):
    for spec in ("scenes:20", f"voc2007:{shared_dir / 'VOCdevkit'}"):
        source = open_source(spec, "test").subset(range(5))
        write_shards(source, tmp_path / source.name)
        assert_same(open_source(f"shards:{tmp_path / source.name}"), source)


def test_scenes(tmp_path):
    shard_writer.write_splits("scenes:20", tmp_path, say=lambda _: None)
    for split in ("train", "test"):
        expected = open_source("scenes:20", split)
        assert_same(open_source(f"shards:{tmp_path}", split), expected)


def test_arrays_with_masks(tmp_path):
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    objects = [np.full((4, 5), 70_000, np.int64), None]
    boxes = [Boxes.of([], [], []), None]
    source = ArraySource(images, [0, (0, 1)], boxes=boxes, objects=objects)
    write_shards(source, tmp_path)
    assert_same(open_source(f"shards:{tmp_path}"), source)


def test_tensorflow_reads_the_files(tmp_path):
    write_shards(Everything(), tmp_path, shard_mb=0.002)
    names = sorted(str(file) for file in (tmp_path / "train").glob("*.tfrecord"))
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "id": tf.io.FixedLenFeature([], tf.string),
        "labels": tf.io.VarLenFeature(tf.int64),
    }
    data = tf.data.TFRecordDataset(names)
    found = [tf.io.parse_single_example(one, features) for one in data]
    expected = Everything()
    assert [one["image"].numpy() for one in found] == [
        expected.image_bytes(i) for i in range(30)
    ]
    assert found[7]["id"].numpy().decode() == "dir é/photo 007.jpg"
    assert found[8]["labels"].values.numpy().tolist() == [0, 1]


def test_the_stream_is_that_of_the_source(tmp_path):
    source = ArraySource([np.full((20, 24, 3), 9 * i, np.uint8) for i in range(9)])
    write_shards(source, tmp_path)
    views = MultiCrop(global_size=16, local_size=8, num_local=1)
    streams = [
        make_dataset(one, views, 4, seed=2, start_position=4).take(3)
        for one in (source, open_source(f"shards:{tmp_path}"))
    ]
    for one, other in zip(*(s.as_numpy_iterator() for s in streams), strict=True):
        np.testing.assert_array_equal(one["global"], other["global"])


@pytest.fixture
def undisturbed(tmp_path):
    write_shards(Everything(broken=(9,)), tmp_path / "whole", shard_mb=0.002)
    return contents(tmp_path / "whole")


def interrupted(folder, place, **arguments):
    with pytest.raises(RuntimeError, match="interrupted"):
        source = Everything(interrupt=place, **arguments)
        write_shards(source, folder, shard_mb=0.002, workers=1)


@pytest.mark.parametrize("place", [0, 1, 10, 20, 29])
def test_an_interrupted_writing_goes_on(tmp_path, undisturbed, place):
    interrupted(tmp_path / "parts", place, broken=(9,))
    with pytest.raises(UserError, match="are not finished"):
        open_source(f"shards:{tmp_path / 'parts'}")
    before = set((tmp_path / "parts" / "train").glob("*.tfrecord"))
    times = [file.stat().st_mtime_ns for file in before]
    assert bool(before) == (place >= 10)
    write_shards(Everything(broken=(9,)), tmp_path / "parts", shard_mb=0.002)
    assert contents(tmp_path / "parts") == undisturbed
    # What was finished was not written again.
    assert [file.stat().st_mtime_ns for file in before] == times


@pytest.mark.parametrize("when", ["shard", "part", "arrays", "index"])
def test_an_end_at_any_step_is_no_harm(tmp_path, undisturbed, monkeypatch, when):
    names = {
        "shard": "00001.tfrecord",
        "part": "00001.npz",
        "arrays": "names.npy",
        "index": "index.json",
    }

    def replace(self, target):
        if target.name == names[when]:
            raise RuntimeError("power failure")
        return os.replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "replace", replace)
        with pytest.raises(RuntimeError, match="power failure"):
            write_shards(Everything(broken=(9,)), tmp_path / "parts", shard_mb=0.002)
    assert any(".tmp" in name for name in contents(tmp_path / "parts"))
    write_shards(Everything(broken=(9,)), tmp_path / "parts", shard_mb=0.002)
    assert contents(tmp_path / "parts") == undisturbed


def test_a_damaged_unfinished_shard_is_written_again(tmp_path, undisturbed):
    interrupted(tmp_path / "parts", 25, broken=(9,))
    folder = tmp_path / "parts" / "train"
    os.truncate(folder / "00001.tfrecord", 10)
    (folder / "00002.npz").write_bytes(b"PK\3\4")
    write_shards(Everything(broken=(9,)), tmp_path / "parts", shard_mb=0.002)
    assert contents(tmp_path / "parts") == undisturbed


def test_photos_that_can_be_read_by_now_are_written(tmp_path, undisturbed):
    interrupted(tmp_path / "parts", 25, broken=(9, 13))
    write_shards(Everything(broken=(9,)), tmp_path / "parts", shard_mb=0.002)
    assert contents(tmp_path / "parts") == undisturbed


def test_a_second_time_nothing_is_done(tmp_path, undisturbed):
    written = write_shards(Everything(broken=(9,)), tmp_path / "whole", shard_mb=0.002)
    assert written.was_there and "were there already" in describe(written)
    assert contents(tmp_path / "whole") == undisturbed


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("count", "options", "words"),
    [
        (29, {}, "with photos 30; asked for: every/thing with photos 29"),
        (30, {"shard_mb": 3}, "with shard_mb 0.002; asked for: .* with shard_mb 3"),
        (30, {"max_side": 8}, "with max_side None; asked for: .* with max_side 8"),
    ],
)
def test_another_source_or_option_is_refused(tmp_path, finished, count, options, words):
    if finished:
        write_shards(Everything(), tmp_path, shard_mb=0.002)
    else:
        interrupted(tmp_path, 20)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=words) as error:
        write_shards(Everything(count), tmp_path, **{"shard_mb": 0.002, **options})
    assert "\n" not in str(error.value)
    assert contents(tmp_path) == before


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.txt").write_text("text")
    with pytest.raises(UserError, match="holds other files"):
        write_shards(Everything(), tmp_path)
    (tmp_path / "train" / "writing.json").write_text("[]")
    with pytest.raises(UserError, match="was not written by data shards"):
        write_shards(Everything(), tmp_path)


def test_photos_that_cannot_be_read_are_left_out_and_named(tmp_path):
    written = write_shards(Everything(broken=(0, 9, 29)), tmp_path)
    assert written.photos == 27 and written.counts["left_out"] == 3
    assert written.left_out[1] == ["dir é/photo 009.jpg", "no file 9"]
    lines = describe(written).splitlines()
    assert lines[1] == "3 left out, as they cannot be read:"
    assert lines[3] == "  dir é/photo 009.jpg (no file 9)"
    places = [i for i in range(30) if i not in (0, 9, 29)]
    assert_same(open_source(f"shards:{tmp_path}"), Everything(), places)


def test_too_many_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="4 of 30 photos cannot be read .such as dir"):
        write_shards(Everything(broken=range(4)), tmp_path)
    # What was missing, as a disk that was not there, may come back.
    assert write_shards(Everything(), tmp_path).photos == 30


def test_smaller_photos_with_boxes_and_masks(tmp_path):
    boxes = [Boxes.of([(0, 10, 40, 20)], [0], [False]), None, None]
    mask = np.zeros((20, 40), np.uint8)
    mask[10:] = 1
    objects = mask.astype(np.int32) * 70_000
    images = [np.full((20, 40, 3), 200, np.uint8), *np.zeros((2, 8, 10, 3), np.uint8)]
    source = ArraySource(
        images, [0, 0, 0], None, boxes, [mask, None, None], [objects, None, None]
    )
    written = write_shards(source, tmp_path, max_side=10, quality=80)
    found = open_source(f"shards:{tmp_path}")
    photo = Image.open(io.BytesIO(found.image_bytes(0)))
    assert (photo.format, photo.size) == ("JPEG", (10, 5))
    assert np.abs(np.asarray(photo).astype(int) - 200).max() <= 2
    assert found.boxes(0).xyxy.tolist() == [[0, 2.5, 10, 5]]
    assert found.mask(0).tolist() == [[0] * 10] * 2 + [[1] * 10] * 3
    assert found.objects(0).dtype == np.int32 and found.objects(0).max() == 70_000
    assert found.image_bytes(1) == source.image_bytes(1)
    assert written.counts == {"left_out": 0, "not_smaller": 0}


def test_what_cannot_be_made_smaller_is_kept_and_named(tmp_path):
    written = write_shards(Everything(), tmp_path, max_side=8)
    assert [name for name, _ in written.not_smaller] == [
        "dir é/photo 003.jpg",
        "dir é/photo 004.jpg",
    ]
    assert "2 kept as they are" in describe(written)
    found = open_source(f"shards:{tmp_path}")
    assert found.image_bytes(3) == b"" and found.image_bytes(4) == b"no picture"
    assert Image.open(io.BytesIO(found.image_bytes(5))).size == (8, 7)


def test_the_index_names_only_so_many(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "NAMED", 2)
    written = write_shards(Everything(broken=(0, 9, 29)), tmp_path)
    assert len(written.left_out) == 2 and written.counts["left_out"] == 3


@pytest.mark.parametrize(
    "options",
    [{"shard_mb": 0}, {"max_side": 0}, {"quality": 96}, {"quality": 0}, {"workers": 0}],
)
def test_options_are_checked(tmp_path, options):
    with pytest.raises(UserError, match="got .*, allowed: "):
        write_shards(Everything(), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_source_without_photos(tmp_path):
    with pytest.raises(UserError, match="has no photos"):
        write_shards(Everything(0), tmp_path)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def fail(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_parts, "to_disk", fail)
    with pytest.raises(UserError, match="train cannot be written: .*No space left"):
        write_shards(Everything(), tmp_path)


def test_few_photos_wait(tmp_path):
    class Watched(Everything):
        most = reads = 0

        def image_bytes(self, index):
            self.reads += 1
            return encoded(1)

    source, behind = Watched(100), []
    write_shards(
        source,
        tmp_path,
        workers=2,
        progress=lambda done, total: behind.append(source.reads - done),
    )
    assert max(behind) <= 8 and len(behind) == 100


def test_from_the_command_line(tmp_path, capsys, monkeypatch):
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            file = tmp_path / "photos" / split / "ab"[index % 2] / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(index))
    out = tmp_path / "out"
    argv = ["data", "shards", str(tmp_path / "photos"), "--out", str(out)]
    assert cli.main([*argv, "--shard-mb", "0.001"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{out / 'train'}: 4 photos in ")
    assert lines[1].startswith(f"{out / 'test'}: 2 photos in 1 shards, 0.0 MB, written")
    assert cli.main(["data", "check", f"shards:{out}", "--split", "test"]) == 0
    assert "2 photos" in capsys.readouterr().out
    shard = out / "test" / "00000.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert cli.main(["data", "check", f"shards:{out}", "--split", "test"]) == 2
    said = capsys.readouterr()
    assert "0 unreadable" in said.out and "is damaged (SHA-256" in said.err
    assert cli.main([*argv, "--split", "train"]) == 2
    assert "allowed: the same again" in capsys.readouterr().err
    assert cli.main(["data", "shards", "scenes:8"]) == 2
    assert "missing are out" in capsys.readouterr().err


def test_a_split_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="got split 'test', allowed: train"):
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "a.png").write_bytes(encoded(1))
        shard_writer.write_splits(str(tmp_path / "photos"), tmp_path, ["test"])


def test_the_index_is_plain(tmp_path):
    write_shards(Everything(), tmp_path)
    index = json.loads((tmp_path / "train" / "index.json").read_text("utf-8"))
    assert index["class_names"] == ["ant", "bée"]
    assert index["made_from"] == {
        "source": "every/thing",
        "photos": 30,
        "shard_mb": 256.0,
        "max_side": None,
        "quality": None,
        "stamp": "30",
    }
    assert ".tfrecord" not in json.dumps(index)
