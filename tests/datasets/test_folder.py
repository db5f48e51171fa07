import io
import os

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import open_source
from dino_tf.datasets.folder import find_images
from dino_tf.errors import UserError
from dino_tf.pipeline import BadImages, unreadable


def save(path, value=100, kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), value, np.uint8)).save(path, kind)
    return path


def ids(source):
    return [source.id(i) for i in range(len(source))]


def labels(source):
    return [source.labels(i) for i in range(len(source))]


def test_flat_folder_sorted_without_labels(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.gif", "d.bmp", "e.webp", "sub/f.JPEG"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    save(tmp_path / ".hidden.png")
    save(tmp_path / ".cache" / "x.png")
    source = open_source(f"folder:{tmp_path}")
    assert ids(source) == ["a.jpg", "b.PNG", "c.gif", "d.bmp", "e.webp", "sub/f.JPEG"]
    assert source.class_names == () and source.labels(0) == ()
    assert Image.open(io.BytesIO(source.image_bytes(5))).size == (8, 6)


def test_class_folders_give_labels(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "dog/deep/3.png"):
        save(tmp_path / name)
    source = open_source(str(tmp_path))
    assert source.class_names == ("cat", "dog")
    assert ids(source) == ["cat/2.png", "dog/1.png", "dog/deep/3.png"]
    assert labels(source) == [(0,), (1,), (1,)]


def test_one_image_outside_class_folders_removes_labels(tmp_path):
    for name in ("dog/1.png", "cat/2.png", "3.png"):
        save(tmp_path / name)
    assert open_source(str(tmp_path)).class_names == ()


def test_splits_share_the_class_order(tmp_path):
    for name in (
        "train/cat/1.png",
        "train/dog/2.png",
        "val/dog/3.png",
        "val/emu/4.png",
    ):
        save(tmp_path / name)
    train = open_source(str(tmp_path))
    test = open_source(str(tmp_path), "test")
    assert train.class_names == test.class_names == ("cat", "dog", "emu")
    assert labels(train) == [(0,), (1,)] and labels(test) == [(1,), (2,)]
    assert ids(open_source(str(tmp_path), "val")) == ids(test)


def test_labelled_val_goes_before_unlabelled_test(tmp_path):
    for name in ("train/a/1.png", "train/b/2.png", "val/a/3.png", "val/b/4.png"):
        save(tmp_path / name)
    save(tmp_path / "test" / "5.png")
    assert ids(open_source(str(tmp_path), "test")) == ["a/3.png", "b/4.png"]


def test_a_class_called_train_is_no_split(tmp_path):
    for name in ("train/1.png", "car/2.png"):
        save(tmp_path / name)
    assert open_source(str(tmp_path)).class_names == ("car", "train")
    assert open_source(str(tmp_path), "test") is None


def test_symlink_loop_ends(tmp_path):
    save(tmp_path / "a" / "1.png")
    os.symlink(tmp_path, tmp_path / "a" / "loop")
    os.symlink(tmp_path / "nowhere", tmp_path / "broken.png")
    assert len(open_source(str(tmp_path))) == 2  # the broken link counts, unreadable
    with pytest.raises(OSError):
        open_source(str(tmp_path)).image_bytes(1)


@pytest.mark.parametrize(
    "spec, message",
    [
        ("folder:{}/none", "does not exist"),
        ("folder:{}/empty", "has no images"),
        ("folder:{}/bad", "names 2 images and none can be read"),
        ("folder:{}/file.txt", "is a file; give a folder"),
        ("folder:", "lacks a folder: folder:PATH"),
        ("list:{}/none.txt", "does not exist"),
        ("list:{}/file.txt", "none can be read"),
        ("foldr:{}", "nearest: folder:PATH"),
        ("sceens", "nearest: scenes"),
        ("voc07", "nearest: voc2007"),
        ("zzz:1", "allowed: voc2007"),
    ],
)
def test_wrong_data_is_one_line(tmp_path, spec, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.jpg").write_bytes(b"")
    whole = save(tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "bad" / "2.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "file.txt").write_text("missing.jpg\n")
    with pytest.raises(UserError) as error:
        open_source(spec.format(tmp_path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_split_names_the_allowed(tmp_path):
    save(tmp_path / "1.png")
    with pytest.raises(UserError, match="no split 'vla'; allowed: train, test"):
        open_source(str(tmp_path), "vla")


def test_list_with_classes_windows_lines_and_duplicates(tmp_path):
    save(tmp_path / "photos" / "1.png", 1)
    save(tmp_path / "2.png", 2)
    file = tmp_path / "lists" / "all.txt"
    file.parent.mkdir()
    text = f"../photos/1.png\tdog\r\n\r\n{tmp_path}/2.png\tcat\r\n../photos/1.png\r\n"
    file.write_bytes(text.encode("utf-8-sig"))
    source = open_source(f"list:{file}")
    assert source.class_names == ("cat", "dog")
    assert labels(source) == [(1,), (0,), ()]
    assert ids(source)[0] == "photos/1.png" and ids(source)[2] == "photos/1~2.png"
    assert Image.open(io.BytesIO(source.image_bytes(1))).getpixel((0, 0))[0] == 2
    assert open_source(f"list:{file}", "test") is None


def test_list_of_odd_names(tmp_path):
    names = [
        "good.png",
        "line\u2028break \x0b.png",
        "zero\0byte.png",
        "dir",
        "gone.png",
    ]
    save(tmp_path / names[0])
    save(tmp_path / names[1])
    (tmp_path / "dir").mkdir()
    (tmp_path / "all.txt").write_text("\n".join(names), encoding="utf-8")
    source, bad = open_source(f"list:{tmp_path}/all.txt"), BadImages()
    assert unreadable(source, bad) == ["zero_byte.png", "dir", "gone.png"]
    assert bad.names["zero_byte.png"].startswith("no name of a file")
    assert bad.names["dir"].startswith("a folder, which is not opened")


@pytest.mark.parametrize("data", [b"\xff\xfe1\0", b"caf\xe9.jpg\n"])
def test_list_of_another_encoding(tmp_path, data):
    (tmp_path / "all.txt").write_bytes(data)
    with pytest.raises(UserError, match="is not UTF-8 text"):
        open_source(f"list:{tmp_path}/all.txt")


def test_the_folder_may_vanish_while_it_is_looked_through(tmp_path, monkeypatch):
    save(tmp_path / "a" / "1.png")
    save(tmp_path / "b" / "2.png")
    real = os.path.realpath

    def vanish(path):
        if str(path).endswith("a"):
            (tmp_path / "a" / "1.png").unlink()
            (tmp_path / "a").rmdir()
        return real(path)

    monkeypatch.setattr(os.path, "realpath", vanish)
    assert [f.name for f in find_images(tmp_path)] == ["2.png"]


def test_photos_that_may_not_be_read_are_counted(tmp_path, permissions_hold):
    for name in ("1.png", "2.png"):
        save(tmp_path / name)
    (tmp_path / "1.png").chmod(0)
    source, bad = open_source(f"folder:{tmp_path}"), BadImages()
    assert unreadable(source, bad) == ["1.png"]
    assert bad.names["1.png"] == "Permission denied"


def test_folders_that_may_not_be_read(tmp_path, permissions_hold):
    for name in ("a/1.png", "b/2.png"):
        save(tmp_path / name)
    (tmp_path / "a").chmod(0)
    with pytest.raises(UserError, match="a.*Permission denied"):
        open_source(f"folder:{tmp_path}")
    (tmp_path / "a").chmod(0o700)
