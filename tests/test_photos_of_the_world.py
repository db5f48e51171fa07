"""Every kind of file in the place of a photo has one outcome, wherever it is read."""

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_tf import cli
from dino_tf.attend import attend
from dino_tf.datasets import open_source
from dino_tf.datasets.folder import find_images
from dino_tf.embedding import embed
from dino_tf.errors import UserError, plain
from dino_tf.models.backbones import create_backbone
from dino_tf.photo_files import MOST_BYTES, read_photo_file
from dino_tf.photo_headers import MOST_PIXELS, photo_header
from dino_tf.pipeline import (
    BadImages,
    evaluation_dataset,
    make_dataset,
    unreadable,
)
from dino_tf.shard_writer import write_shards
from dino_tf.transforms.image import try_decode
from dino_tf.transforms.jpeg import try_decode_photo
from dino_tf.transforms.multicrop import MultiCrop

# Tests are no package: what they share is found by its place.
_place = Path(__file__).with_name("photo_kinds.py")
_spec = importlib.util.spec_from_file_location("photo_kinds", _place)
photo_kinds = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(photo_kinds)
KINDS, SHAPE = photo_kinds.KINDS, photo_kinds.SHAPE
ROOT = Path(__file__).resolve().parents[1]
VIEWS = MultiCrop(global_size=16, local_size=8, num_local=1)
REFUSED = {name: why for name, (_, why) in KINDS.items() if isinstance(why, str)}


@pytest.mark.parametrize("name", KINDS)
def test_outcome(name):
    data, outcome = KINDS[name]
    ours, reason = try_decode_photo(lambda: data)
    theirs, same_reason = try_decode(lambda: data)
    np.testing.assert_array_equal(ours, theirs)
    assert reason == same_reason
    if isinstance(outcome, str):
        assert ours is None and reason.startswith(outcome), reason
        return
    assert reason is None
    assert ours.dtype == np.uint8 and ours.ndim == 3 and ours.shape[2] == 3
    if outcome is not None:
        np.testing.assert_allclose(ours[0, 0], outcome, atol=4)
        assert ours.shape in (SHAPE, (2, 4, 3), (1, 1, 3))


def test_ycck_is_that_of_pillow():
    data = KINDS["ycck.jpg"][0]
    with Image.open(io.BytesIO(data)) as picture:
        expected = np.asarray(picture.convert("RGB"))
    ours = try_decode_photo(lambda: data)[0]
    np.testing.assert_allclose(ours.astype(int), expected, atol=1)


def test_a_large_jpeg_file_is_decoded_at_half_its_sides():
    data = photo_kinds.large_jpeg()
    header = photo_header(data)
    assert (header.height, header.width, header.scale) == (9472, 9472, 2)
    assert 9472**2 > MOST_PIXELS
    for image, reason in (
        try_decode_photo(lambda: data),
        try_decode_photo(lambda: data, lambda height, width: 4),
        try_decode(lambda: data),
    ):
        assert reason is None and image.shape in (
            (4736,) * 2 + (3,),
            (2368,) * 2 + (3,),
        )
        np.testing.assert_allclose(image[::500, ::500], 77, atol=2)


def test_a_file_that_is_read_in_several_scans_is_not():
    # The number of channels in the first scan, of a colour file of one plane.
    data = bytearray(photo_kinds.large_jpeg())
    place = data.index(b"\xff\xda") + 4
    data[place] = 2
    with pytest.raises(OSError, match="9472 x 9472 pixels; allowed: 89,478,485 in all"):
        photo_header(bytes(data))


def test_a_frame_larger_than_its_picture():
    data = bytearray(KINDS["plain.gif"][0])
    frame = data.index(b",\0\0\0\0")
    data[frame + 5 : frame + 9] = b"\xff" * 4
    image, reason = try_decode(lambda: bytes(data))
    assert image is None and reason.startswith("too many pixels; allowed: 89,")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(folder of everything, {id: beginning of the reason} of the bad ones)."""
    folder = tmp_path_factory.mktemp("world")
    for name, (data, _) in KINDS.items():
        (folder / name).write_bytes(data)
    return folder, REFUSED | photo_kinds.write_special(folder)


@pytest.fixture(scope="module")
def special(tmp_path_factory):
    folder = tmp_path_factory.mktemp("special")
    return folder, photo_kinds.write_special(folder)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "backbone.keras"
    create_backbone("vit_tiny", 8, 16, embed_dim=8, depth=1, num_heads=2).save(path)
    return path


def assert_named(found, expected):
    assert set(found) == set(expected)
    wrong = {k: v for k, v in found.items() if not v.startswith(expected[k])}
    assert not wrong
    assert all(plain(f"{k} {v}") == f"{k} {v}" for k, v in found.items())


@pytest.mark.parametrize(
    "others",
    [
        [{"decode_margin": 2.0}],
        # Its processes wait for an import of TensorFlow, of which PNG is decoded.
        pytest.param([{"processes": 2}], marks=pytest.mark.slow),
    ],
)
def test_bad_photos_are_named_in_training(world, others):
    folder, expected = world
    source, streams = open_source(str(folder)), []
    for options in ({"workers": 3}, *others):
        bad = BadImages()
        data = make_dataset(
            source, VIEWS, 8, 3, repeat=False, bad_images=bad, **options
        )
        streams.append([b["global"] for b in data.as_numpy_iterator()])
        assert len(streams[-1]) == len(source) // 8
        seen = {k: expected[k] for k in bad.names}
        # The last batch is not whole and left out.
        assert len(expected) - len(seen) <= len(source) % 8
        assert_named(bad.names, seen)
    for stream in streams[1:]:
        np.testing.assert_array_equal(stream, streams[0])


def test_bad_photos_are_left_out_of_evaluations(world):
    folder, expected = world
    source, bad = open_source(str(folder)), BadImages()
    data = evaluation_dataset(source, 16, 8, bad_images=bad)
    read = np.concatenate([b["index"] for b in data.as_numpy_iterator()])
    assert_named(bad.names, expected)
    good = [source.id(i) for i in read]
    assert set(good) | set(expected) == {source.id(i) for i in range(len(source))}
    assert {"good.jpg", "to a file.jpg", "___.jpg", "new_line.jpg"} <= set(good)
    assert unreadable(source) == [
        i for i in map(source.id, range(len(source))) if i in expected
    ]


def test_data_check_names_them(special, capsys):
    folder, expected = special
    assert cli.main(["data", "check", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"{len(expected)} unreadable ({len(expected) / 16:.1%})"
    assert_named(dict(line[2:-1].split(" (", 1) for line in lines[2:]), expected)


def test_attend_draws_the_others(special, weights, tmp_path):
    folder, expected = special
    said = []
    sheets = attend([folder], weights, tmp_path, size=16, say=said.append)
    assert len(sheets) == 16 - len(expected)
    assert {"new_line.png", "byte_.png", "-rf.png"} <= {s.name for s in sheets}
    assert said[-1].startswith(f"{len(expected)} unreadable, passed over: ")
    assert all(plain(line) == line for line in said)


def test_embed_and_shards_leave_them_out(special, weights, tmp_path):
    folder, expected = special
    data, options = f"folder:{folder}", {"size": 16, "cache": None}
    for name in ("all.csv", "all.npz"):
        done = embed(weights, data, tmp_path / name, say=lambda line: None, **options)
        assert set(done.unreadable) == set(expected)
    # The empty file can be read; what is no photo is told when it is decoded.
    good = Path(folder).with_name("enough")
    shutil.copytree(folder, good, symlinks=True, ignore=_no_special)
    for number in range(60):
        shutil.copy(folder / "good.jpg", good / f"{number}.jpg")
    written = write_shards(open_source(str(good)), tmp_path / "shards")
    assert {name for name, _ in written.left_out} == {
        "to nothing.jpg",
        "to itself.jpg",
        "to zeros.jpg",
    }


def _no_special(folder, names):
    left_out = ("fifo.jpg", "socket.jpg", "sparse.jpg", "to its folder")
    return [name for name in names if name in left_out]


def test_classes_of_any_name(tmp_path, capsys):
    for name in ("new\nline", os.fsdecode(b"\xff"), "<b>", "=1+1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(KINDS["plain.jpg"][0])
    source = open_source(str(tmp_path))
    assert source.class_names == ("<b>", "=1+1", "\\udcff", "new\\nline")
    json.dumps(source.class_names).encode()
    assert cli.main(["data", "check", str(tmp_path)]) == 0
    assert "new\\nline" in capsys.readouterr().out


def test_each_folder_is_found_once_by_its_own_path(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "b" / "1.jpg").write_bytes(b"")
    (tmp_path / "b" / "deep" / "2.jpg").write_bytes(b"")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "z").symlink_to(tmp_path / "z")
    elsewhere = tmp_path.with_name(tmp_path.name + "-elsewhere")
    elsewhere.mkdir()
    (elsewhere / "3.jpg").write_bytes(b"")
    (tmp_path / "c").symlink_to(elsewhere)
    found = [str(f.relative_to(tmp_path)) for f in find_images(tmp_path)]
    assert found == ["b/1.jpg", "b/deep/2.jpg", "c/3.jpg"]


def test_photos_that_are_not_read_are_counted(tmp_path):
    (tmp_path / "1.HEIC").write_bytes(KINDS["phone.heic"][0])
    with pytest.raises(
        UserError, match="none can be read .first 1.HEIC: HEIC; allowed"
    ):
        open_source(str(tmp_path))
    (tmp_path / "2.jfif").write_bytes(KINDS["plain.jpg"][0])
    assert unreadable(open_source(str(tmp_path))) == ["1.HEIC"]


def test_files_that_vanish_and_appear(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.jpg").write_bytes(KINDS["plain.jpg"][0])
    source, bad = open_source(str(tmp_path)), BadImages()
    (tmp_path / "3.jpg").unlink()
    (tmp_path / "9.jpg").write_bytes(KINDS["plain.jpg"][0])
    data = make_dataset(source, VIEWS, 3, repeat=False, bad_images=bad)
    assert len(list(data)) == 2
    assert_named(bad.names, {"3.jpg": "No such file"})
    shutil.rmtree(tmp_path)
    with pytest.raises(Exception, match="none of the 6 images can be read"):
        list(make_dataset(source, VIEWS, 3, repeat=False))


@pytest.mark.parametrize("name", ["a\0b", "", "/proc/self/mem", "/dev/tty"])
def test_what_cannot_be_read_is_an_error_of_the_file(name):
    with pytest.raises(OSError):
        read_photo_file(name)


def test_the_most_bytes(tmp_path):
    file = tmp_path / "1.jpg"
    with open(file, "wb") as opened:
        opened.truncate(MOST_BYTES + 1)
    with pytest.raises(OSError, match="536,870,913 bytes; allowed: 536,870,912"):
        read_photo_file(file)
    file.write_bytes(b"photo")
    assert read_photo_file(file) == b"photo"


@pytest.mark.slow
def test_training_runs_through_and_counts_every_bad_file(world, tmp_path):
    folder, expected = world
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(500):
        picture = Image.effect_noise((24, 20), number / 5).convert("RGB")
        picture.save(photos / f"good {number}.jpg")
    (photos / "bad").symlink_to(folder)
    settings = {
        "pipeline": {"batch_size": 16, "workers": 2},
        "views": {"global_size": 16, "local_size": 8, "num_local": 1},
        "model": {"patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 2},
        "head": {"out_dim": 16, "hidden_dim": 16, "bottleneck_dim": 8},
        "run": {"attention_size": 16, "epochs": 2, "result_dir": str(tmp_path)},
    }
    (tmp_path / "tiny.yaml").write_text(json.dumps(settings))
    options = ["--preset", "quickstart", "--config", str(tmp_path / "tiny.yaml")]
    done = subprocess.run(
        [sys.executable, ROOT / "main.py", "--data", photos, "--run.name", "x"]
        + options,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((tmp_path / "x" / "summary.json").read_text())
    assert summary["unreadable"] == len(expected)
    log = (tmp_path / "x" / "train.log").read_text()
    told = [line for line in log.splitlines() if "unreadable, passed over" in line]
    assert len(told) == len(expected)
    for name, reason in expected.items():
        assert sum(f": bad/{name} ({reason}" in line for line in told) == 1, name
    (tmp_path / "x" / "report.html").read_bytes().decode()
