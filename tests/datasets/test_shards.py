import io
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import open_source, shards
from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError
from dino_tf.pipeline import BadImages, evaluation_dataset
from dino_tf.shard_writer import write_shards

COUNT = 12


def photos(count=COUNT):
    """Noise of one size, so that every shard holds three records in `folder`."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 10, 12, 3), np.uint8)
    return ArraySource(images, [i % 3 for i in range(count)], ("a", "b", "c"))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Four shards of three records."""
    folder = tmp_path_factory.mktemp("written")
    write_shards(photos(), folder, shard_mb=0.0015)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    """A copy, to be damaged."""
    shutil.copytree(written, tmp_path / "shards")
    return tmp_path / "shards"


def change(file, change):
    index = json.loads(file.read_text())
    change(index)
    file.write_text(json.dumps(index))


def test_records_are_those_of_the_source(written):
    source, expected = open_source(f"shards:{written}"), photos()
    assert len(source) == COUNT and source.name == expected.name
    assert source.class_names == ("a", "b", "c")
    for index in range(COUNT):
        assert source.id(index) == expected.id(index)
        assert source.image_bytes(index) == expected.image_bytes(index)
        assert source.labels(index) == expected.labels(index)
        assert source.boxes(index) is None and source.mask(index) is None
    with pytest.raises(IndexError):
        source.image_bytes(COUNT)
    assert source.damage() == [] == source.subset([1]).damage()


def test_splits(written, folder):
    assert open_source(f"shards:{written}", "test") is None
    write_shards(photos(2), folder, "segmentation/val")
    assert len(open_source(f"shards:{folder}", "segmentation/val")) == 2
    with pytest.raises(UserError, match="'b'; allowed: segmentation/val, train"):
        open_source(f"shards:{folder}", "b")
    for split in ("", "..", "."):
        with pytest.raises(UserError, match="split is"):
            open_source(f"shards:{folder}", split)


def test_a_folder_without_shards(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        open_source(f"shards:{tmp_path / 'no'}")
    for split in ("train", "test"):
        with pytest.raises(UserError, match="allowed: a folder that main.py data"):
            open_source(f"shards:{tmp_path}", split)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "writing.json").write_text("{}")
    with pytest.raises(UserError, match="are not finished"):
        open_source(f"shards:{tmp_path}")


def test_few_files_are_opened_and_none_before_it_is_needed(written, monkeypatch):
    opened = []

    def count(path, *args):
        opened.append(Path(path).name)
        return os_open(path, *args)

    os_open = os.open
    listings = []
    monkeypatch.setattr(shards.os, "open", count)
    monkeypatch.setattr(shards.os, "scandir", listings.append)
    monkeypatch.setattr(shards.os, "listdir", listings.append)
    source = open_source(f"shards:{written}")
    assert [source.labels(i) for i in range(4)] == [(0,), (1,), (2,), (0,)]
    assert source.id(11) == "00000011" and opened == listings == []
    for index in [*range(COUNT), *range(COUNT)]:
        source.image_bytes(index)
    assert opened == [f"0000{k}.tfrecord" for k in range(4)]


def test_the_index_grows_by_so_many_bytes_a_record(tmp_path):
    sizes = []
    for count in (10, 20):
        write_shards(photos(count), tmp_path, str(count))
        split = tmp_path / str(count)
        sizes.append(sum(file.stat().st_size for file in split.glob("*.npy")))
        json_size = (split / "index.json").stat().st_size
    # 44 of the row, 8 of the id, 4 of one label.
    assert sizes[1] - sizes[0] == 10 * (44 + 8 + 4)
    assert json_size < 2000


def test_arrays_of_the_index_are_mapped(written):
    source = open_source(f"shards:{written}")
    for array in (source._rows, source._names, source._labels):
        while isinstance(array.base, np.ndarray) and not isinstance(array, np.memmap):
            array = array.base
        assert isinstance(array, np.memmap) and not array.flags.writeable


def test_open_files_are_bounded_also_between_threads(tmp_path, monkeypatch):
    paths = [tmp_path / str(number) for number in range(6)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 100)
    opened, closed = [], []
    os_open, os_close = os.open, os.close

    def watch_open(path, *args):
        descriptor = os_open(path, *args)
        if path in paths:
            opened.append(descriptor)
        return descriptor

    def watch_close(descriptor):
        closed.append(descriptor)
        os_close(descriptor)

    monkeypatch.setattr(shards.os, "open", watch_open)
    monkeypatch.setattr(shards.os, "close", watch_close)
    read_everywhere(shards.OpenFiles(paths, most=2))
    assert len(opened) > 6 and sorted(opened) == sorted(closed)


def read_everywhere(files):
    order = np.random.default_rng(0).integers(0, 6, 300).tolist()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: files.read(k, 10, 20), order))
    assert found == [bytes([number]) * 20 for number in order]
    # Four reads at once may need four files, no more.
    assert len(files._open) <= 4
    assert files.read(5, 90, 20) == bytes([5]) * 10


def test_reading_without_pread(written, monkeypatch):
    monkeypatch.delattr(shards.os, "pread")
    source, expected = open_source(f"shards:{written}"), photos()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(source.image_bytes, [*range(COUNT)] * 5))
    assert found == [expected.image_bytes(i) for i in range(COUNT)] * 5


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def test_a_damaged_record_is_a_bad_photo(folder):
    flip(folder / "train" / "00001.tfrecord", 700)  # of the second record
    source, bad = open_source(f"shards:{folder}"), BadImages()
    with pytest.raises(OSError, match="record 4 is damaged .00001.tfrecord: wrong che"):
        source.image_bytes(4)
    with pytest.raises(UserError, match="record 4 is damaged"):
        source.mask(4)
    data = evaluation_dataset(source, 8, 4, bad_images=bad)
    seen = np.concatenate([b["index"] for b in data.as_numpy_iterator()])
    assert seen.tolist() == [0, 1, 2, 3, *range(5, 12)]
    assert list(bad.names) == ["00000004"] and "checksum" in bad.names["00000004"]
    (line,) = source.damage()
    assert "00001.tfrecord is damaged (SHA-256 " in line
    (folder / "train" / "names.npy").unlink()
    assert "names.npy cannot be read (No such file" in source.damage()[1]


def test_a_shard_that_gets_shorter_while_open(folder):
    source = open_source(f"shards:{folder}")
    os.truncate(folder / "train" / "00003.tfrecord", 900)
    assert source.image_bytes(9)
    with pytest.raises(OSError, match="record 11 is damaged"):
        source.image_bytes(11)


@pytest.mark.parametrize("change", ["missing", "short", "folder"])
def test_shards_are_looked_at_when_opened(folder, change):
    file = folder / "train" / "00002.tfrecord"
    if change == "short":
        os.truncate(file, 900)
    else:
        file.unlink()
    if change == "folder":
        file.mkdir()
    words = "is missing" if change == "missing" else r"bytes; allowed: \d+"
    with pytest.raises(UserError, match=f"00002.tfrecord.* {words}") as error:
        open_source(f"shards:{folder}")
    assert "\n" not in str(error.value)


def replace_rows(folder, **fields):
    file = folder / "train" / "records.npy"
    rows = np.load(file)
    for name, value in fields.items():
        rows[name][5] = value
    np.save(file, rows)


@pytest.mark.parametrize(
    "fields",
    [
        {"shard": 4},
        {"offset": 2**63},
        {"length": 2**32 - 1},
        {"image": 2**31},
        {"image_length": 2**31},
        {"crc": 0},
        {"offset": 0},
    ],
)
def test_rows_that_lead_elsewhere_are_bad_photos(folder, fields):
    replace_rows(folder, **fields)
    source = open_source(f"shards:{folder}")
    with pytest.raises(OSError, match="record 5 "):
        source.image_bytes(5)
    assert source.image_bytes(6) == photos().image_bytes(6)


@pytest.mark.parametrize(
    "name", ["../../ab", "/root/ab", "a\\..\\bc", "C:/x/yz", "a\n/bcde", "././/bcd"]
)
def test_names_cannot_leave_a_folder(folder, name):
    file = folder / "train" / "names.npy"
    names = np.load(file)
    names[40:48] = np.frombuffer(name.ljust(8, "x").encode(), np.uint8)
    np.save(file, names)
    found = open_source(f"shards:{folder}").id(5)
    assert not {"", ".", ".."} & set(found.split("/"))
    assert not set("\\:\n") & set(found)
    assert open_source(f"shards:{folder}").id(4) == "00000004"


class Trap:
    """Ends a test when it is unpickled."""

    def __reduce__(self):
        return os.abort, ()


@pytest.mark.parametrize(
    "array",
    [
        np.array([Trap()], object),
        np.zeros(12, np.float32),
        np.zeros((12, 1), shards.ROW),
        np.zeros(11, shards.ROW),
        np.zeros(0, shards.ROW),
    ],
)
def test_other_arrays_are_no_index(folder, array):
    np.save(folder / "train" / "records.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match="records.npy") as error:
        open_source(f"shards:{folder}")
    assert "\n" not in str(error.value)


def test_arrays_that_nobody_writes_into_are_not_waited_for(folder):
    (folder / "train" / "labels.npy").unlink()
    os.mkfifo(folder / "train" / "labels.npy")
    with pytest.raises(UserError, match="labels.npy cannot be read .no regular file"):
        open_source(f"shards:{folder}")


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"PK\3\4" + b"0" * 50])
def test_damaged_arrays_are_told(folder, data):
    (folder / "train" / "labels.npy").write_bytes(data)
    with pytest.raises(UserError, match="labels.npy cannot be read"):
        open_source(f"shards:{folder}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": "other"}',
        "[" * 10_000,
        '{"format": "dino_tf shards 1", "shards": [{"bytes": "x"}]}',
    ],
)
def test_a_foreign_index_is_refused_in_one_line(folder, text):
    (folder / "train" / "index.json").write_text(text)
    with pytest.raises(UserError, match="index.json is no index of shards") as error:
        open_source(f"shards:{folder}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values",
    [{"bytes": -1}, {"bytes": True}, {"bytes": 1.5}, {"sha256": 3}],
)
def test_values_of_other_types_are_refused(folder, values):
    file = folder / "train" / "index.json"
    change(file, lambda index: index["shards"][0].update(values))
    with pytest.raises(UserError, match="is no index of shards"):
        open_source(f"shards:{folder}")


def test_classes_that_there_are_not(folder):
    labels = np.load(folder / "train" / "labels.npy")
    np.save(folder / "train" / "labels.npy", np.full_like(labels, 10**6))
    source = shards.open_shards(folder)
    with pytest.raises(UserError, match="has a class that is none of the"):
        source.labels(0)


def test_stamp_is_that_of_the_content(written, folder):
    stamp = open_source(f"shards:{written}").stamp()
    assert open_source(f"shards:{folder}").stamp() == stamp
    file = folder / "train" / "index.json"
    change(file, lambda index: index["shards"][2].update(sha256="0"))
    assert open_source(f"shards:{folder}").stamp() != stamp


def test_pictures_of_any_format_keep_their_bytes(tmp_path):
    for number, kind in enumerate(["JPEG", "PNG", "GIF", "BMP", "WEBP"]):
        folder = tmp_path / "photos" / ("cat" if number % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        Image.new("RGB", (8, 9), (number, 2, 3)).save(file, kind)
        (folder / f"ü {number}.{kind.lower()}").write_bytes(file.getvalue())
    folder = open_source(str(tmp_path / "photos"))
    write_shards(folder, tmp_path / "out")
    source = open_source(f"shards:{tmp_path / 'out'}")
    for index in range(5):
        assert source.record(index) == folder.record(index)
