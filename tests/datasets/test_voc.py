import os

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import open_source
from dino_tf.datasets.voc import read_annotation
from dino_tf.errors import UserError
from dino_tf.pipeline import BadImages, unreadable

OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin>"
    "<ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
    "<part><name>head</name></part></object>"
)


def annotation(*objects):
    size = "<size><width>40</width><height>30</height><depth>3</depth></size>"
    body = "".join(OBJECT.format(*values) for values in objects)
    return f"<annotation>{size}{body}</annotation>"


@pytest.fixture
def devkit(tmp_path):
    """A VOCdevkit with three photos; the third has no annotation and no mask."""
    root = tmp_path / "VOCdevkit" / "VOC2007"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main", "SegmentationClass"):
        (root / name).mkdir(parents=True)
    for name in ("000001", "000002", "000003"):
        photo = Image.fromarray(np.full((30, 40, 3), 90, np.uint8))
        photo.save(root / "JPEGImages" / f"{name}.jpg")
    (root / "Annotations/000001.xml").write_text(
        annotation(("dog", 0, 1, 1, 40, 30), ("cat", 1, 11, 6, 20, 15))
    )
    (root / "Annotations/000002.xml").write_text(
        annotation(("person", 0, 20, 3, 10, 9), ("train", 0, 5.5, 2, 99, 31))
    )
    mask = Image.fromarray(np.array([[0, 12], [255, 8]], np.uint8), "P")
    mask.putpalette(list(range(256)) * 3)
    mask.save(root / "SegmentationClass/000001.png")
    (root / "ImageSets/Main/trainval.txt").write_bytes(b"000001\r\n\r\n000002\r\n")
    (root / "ImageSets/Main/test.txt").write_text("000003\n\n")
    (root / "ImageSets/Main/dog_trainval.txt").write_text("000001 1\n")
    return tmp_path


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_root_may_be_given_at_three_levels(devkit, below):
    source = open_source(f"voc2007:{devkit / below}")
    assert [source.id(i) for i in range(len(source))] == ["000001", "000002"]
    assert source.name == "voc2007/trainval"
    assert len(source.class_names) == 20
    assert (
        source.class_names[0] == "aeroplane" and source.class_names[19] == "tvmonitor"
    )


def test_data_dir_is_the_default_root(devkit):
    assert len(open_source("voc2007", "test", data_dir=str(devkit))) == 1


def test_labels_boxes_and_mask(devkit):
    source = open_source(f"voc2007:{devkit}")
    assert source.labels(0) == (7, 11)
    boxes = source.boxes(0)
    np.testing.assert_array_equal(boxes.xyxy, [[0, 0, 40, 30], [10, 5, 20, 15]])
    np.testing.assert_array_equal(boxes.classes, [11, 7])
    np.testing.assert_array_equal(boxes.difficult, [False, True])
    np.testing.assert_array_equal(source.mask(0), [[0, 12], [255, 8]])
    assert source.image_bytes(0)[:2] == b"\xff\xd8"


def test_reversed_box_is_left_out_and_large_one_clipped(devkit):
    source = open_source(f"voc2007:{devkit}")
    assert source.labels(1) == (14, 18)
    np.testing.assert_array_equal(source.boxes(1).xyxy, [[4.5, 1, 40, 30]])


def test_photo_without_annotation(devkit):
    record = open_source(f"voc2007:{devkit}", "test").record(0)
    assert record.labels == () and record.boxes is None and record.mask is None


def test_objects_and_sets_of_photos_with_masks(devkit):
    folder = devkit / "VOCdevkit/VOC2007"
    for name in ("SegmentationObject", "ImageSets/Segmentation"):
        (folder / name).mkdir()
    (folder / "ImageSets/Segmentation/val.txt").write_text("000001\n")
    before = open_source(f"voc2007:{devkit}", "segmentation/val")
    assert before.name == "voc2007/segmentation/val"
    assert before.objects(0) is None
    stamp = before.stamp()
    objects = Image.fromarray(np.array([[0, 2], [255, 1]], np.uint8), "P")
    objects.putpalette(list(range(256)) * 3)
    objects.save(folder / "SegmentationObject/000001.png")
    source = open_source(f"voc2007:{devkit}", "segmentation/val")
    assert [source.id(i) for i in range(len(source))] == ["000001"]
    np.testing.assert_array_equal(source.objects(0), [[0, 2], [255, 1]])
    assert source.stamp() != stamp
    with pytest.raises(UserError, match="allowed: test, trainval, segmentation/val"):
        open_source(f"voc2007:{devkit}", "segmentation/test")


def test_missing_test_set_is_none_and_unknown_set_an_error(devkit):
    (devkit / "VOCdevkit/VOC2007/ImageSets/Main/test.txt").unlink()
    assert open_source(f"voc2007:{devkit}", "test") is None
    with pytest.raises(UserError, match="no image set 'val' in .*; allowed: trainval"):
        open_source(f"voc2007:{devkit}", "val")


def test_2012_trains_on_train_and_tests_on_val(devkit):
    folder = devkit / "VOCdevkit/VOC2007"
    main = folder / "ImageSets/Main"
    (main / "trainval.txt").rename(main / "train.txt")
    (main / "test.txt").rename(main / "val.txt")
    folder.rename(folder.with_name("VOC2012"))
    assert len(open_source(f"voc2012:{devkit}")) == 2
    assert open_source(f"voc2012:{devkit}", "test").id(0) == "000003"


def test_no_devkit_says_how_to_get_it(tmp_path, devkit):
    with pytest.raises(UserError, match="main.py data get voc2012"):
        open_source("voc2012", data_dir=str(devkit))
    with pytest.raises(UserError, match="no VOC2012"):
        open_source(f"voc2012:{devkit}/VOCdevkit/VOC2007")


@pytest.mark.parametrize(
    "text", ["", " \n", "../../etc/passwd\n", "/etc/passwd\n", "..\n", "a\0b\n"]
)
def test_bad_image_set_is_refused(devkit, text):
    (devkit / "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt").write_text(text)
    with pytest.raises(UserError, match="it lists photo names"):
        open_source(f"voc2007:{devkit}")


@pytest.mark.parametrize(
    "data, message",
    [
        (b"<annotation>", "no element found"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "entities are not allowed"),
        (
            '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'.encode("utf-16"),
            "entities are not allowed",
        ),
        (annotation(("unicorn", 0, 1, 1, 2, 2)).encode(), "class 'unicorn'"),
        (annotation(("cat", 0, "left", 1, 2, 2)).encode(), "left"),
        (b"", "no element found"),
        (b"\xff\xd8\xff photo", "not well-formed"),
        (b"<annotation>\xff</annotation>", "not well-formed"),
        (b"<?xml version='1.0' encoding='none-such'?><a/>", "unknown encoding"),
        (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "not allowed"),
        (b"<!DOCTYPE a [<!ENTITY % x SYSTEM 'http://127.0.0.1/'> %x;]><a/>", "not al"),
        (b"<a>&outside;</a>", "undefined entity"),
    ],
)
def test_bad_annotation_is_one_line(tmp_path, data, message):
    file = tmp_path / "a.xml"
    file.write_bytes(data)
    with pytest.raises(UserError) as error:
        read_annotation(file)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_entities_are_refused_before_they_grow(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("12")
    outside = f'<!DOCTYPE a [<!ENTITY x SYSTEM "{secret}">]><a>&x;</a>'
    laughs = "".join(
        f'<!ENTITY l{i} "{f"&l{i - 1};" * 10 if i else "ha" * 50}">' for i in range(12)
    )
    for text in (outside, f"<!DOCTYPE a [{laughs}]><a>&l11;</a>"):
        (tmp_path / "a.xml").write_text(text)
        with pytest.raises(UserError, match="document types and entities"):
            read_annotation(tmp_path / "a.xml")


@pytest.mark.parametrize(
    "corners, kept",
    [
        ((1, 1, 40, 30), [0, 0, 40, 30]),
        ((-9, -9, 99, 99), [0, 0, 40, 30]),
        (("-inf", "-inf", "inf", "inf"), [0, 0, 40, 30]),
        ((" 3 ", "\n4", 7, 9), [2, 3, 7, 9]),
        ((20, 3, 10, 9), None),  # reversed
        ((41, 1, 60, 30), None),  # outside
        ((-9, 1, -3, 30), None),
        (("nan", 1, 40, 30), None),
        ((1, 1, "nan", 30), None),
        ((1, "", 40, 30), None),
    ],
)
def test_boxes_of_any_kind(tmp_path, corners, kept):
    (tmp_path / "a.xml").write_text(annotation(("cat", 0, *corners)))
    found = read_annotation(tmp_path / "a.xml")
    assert found.labels == (7,)
    assert found.boxes.xyxy.tolist() == ([] if kept is None else [kept])


@pytest.mark.parametrize("width", ["0", "-5", "nan", "", "inf"])
def test_a_size_that_is_none_clips_nothing(tmp_path, width):
    text = annotation(("cat", 0, 5, 6, 70, 80), ("cat", 0, 5, 6, "inf", 9))
    text = text.replace("<width>40<", f"<width>{width}<")
    (tmp_path / "a.xml").write_text(text.replace("<height>30</height>", ""))
    assert read_annotation(tmp_path / "a.xml").boxes.xyxy.tolist() == [[4, 5, 70, 80]]


def test_objects_without_a_box_keep_their_label(tmp_path):
    (tmp_path / "a.xml").write_text("<a><object><name> dog </name></object></a>")
    found = read_annotation(tmp_path / "a.xml")
    assert found.labels == (11,) and len(found.boxes) == 0


def test_what_is_no_file_is_never_opened(devkit):
    folder = devkit / "VOCdevkit/VOC2007"
    files = ("JPEGImages/000001.jpg", "Annotations/000001.xml")
    for name in files:
        (folder / name).unlink()
        os.mkfifo(folder / name)
    source = open_source(f"voc2007:{devkit}")
    with pytest.raises(OSError, match="a FIFO, which is not opened"):
        source.image_bytes(0)
    with pytest.raises(UserError, match="000001.xml is not valid: a FIFO"):
        source.labels(0)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf000001\r\n000002\r\n",
        b"000001 \t\n  000002\t\n \n",
        b"000001\n000001\n000002",
        b"000001  1\n000002 -1\n",
    ],
)
def test_lines_of_an_image_set(devkit, data):
    (devkit / "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt").write_bytes(data)
    source = open_source(f"voc2007:{devkit}")
    assert [source.id(i) for i in range(len(source))] == ["000001", "000002"]
    assert source.image_bytes(1)[:2] == b"\xff\xd8"


def test_photos_that_are_listed_and_not_there_are_bad_photos(devkit):
    file = devkit / "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt"
    file.write_text("000001\n999999\n000002\n")
    source, bad = open_source(f"voc2007:{devkit}"), BadImages()
    assert unreadable(source, bad) == ["999999"]
    assert bad.names["999999"].startswith("No such file")
    record = source.labels(1), source.boxes(1), source.mask(1)
    assert record == ((), None, None)


@pytest.mark.parametrize("data", [b"\xff\xfe0\x000\x00", b"caf\xe9\n"])
def test_an_image_set_of_another_encoding(devkit, data):
    (devkit / "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt").write_bytes(data)
    with pytest.raises(UserError, match="trainval.txt is no UTF-8 text"):
        open_source(f"voc2007:{devkit}")


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "no whole PNG file .empty file"),
        (b"GIF89a", "no whole PNG file .truncated header"),
        (None, "has the number 77; allowed: 0 to 20, and 255 for void"),
    ],
)
def test_damaged_masks_are_one_line(devkit, data, message):
    file = devkit / "VOCdevkit/VOC2007/SegmentationClass/000001.png"
    if data is None:
        Image.fromarray(np.full((2, 2), 77, np.uint8)).save(file)
    else:
        file.write_bytes(data)
    with pytest.raises(UserError, match=message) as error:
        open_source(f"voc2007:{devkit}").mask(0)
    assert "\n" not in str(error.value)


def test_true_colour_mask_is_refused(devkit):
    file = devkit / "VOCdevkit/VOC2007/SegmentationClass/000001.png"
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(file)
    with pytest.raises(UserError, match="mode RGB; allowed: palette or grey"):
        open_source(f"voc2007:{devkit}").mask(0)


def test_real_photos(shared_dir):
    source = open_source(f"voc2007:{shared_dir}/VOCdevkit")
    test = open_source(f"voc2007:{shared_dir}/VOCdevkit", "test")
    assert (len(source), len(test)) == (1792, 300)
    found = [source.labels(i) for i in range(len(source))]
    assert {name for label in found for name in label} == {7, 9, 11, 12, 16}
    assert all(len(label) == 1 for label in found)
    index = [source.id(i) for i in range(len(source))].index("2007_000528")
    record = source.record(index)
    assert record.boxes.xyxy.tolist() == [[78, 43, 204, 198]]
    assert record.mask.shape == (240, 320)
    assert set(np.unique(record.mask)) <= {0, 8, 255} and 8 in record.mask
