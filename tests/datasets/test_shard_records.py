import numpy as np
import pytest
import tensorflow as tf

from dino_tf.datasets.shard_records import DamagedRecord, array_of, boxes_of, encode
from dino_tf.datasets.source import Boxes, Record
from dino_tf.errors import UserError


def record(boxes=None, mask=None):
    return Record("a/ü.jpg", b"bytes of a photo", (2, 5), boxes, mask)


def test_others_can_read_it():
    boxes = Boxes.of([(0.5, 1, 2, 3), (4, 5, 6, 7)], [2, 5], [False, True])
    mask = np.array([[0, 1, 255], [3, 0, 0]], np.uint8)
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "id": tf.io.FixedLenFeature([], tf.string),
        "labels": tf.io.VarLenFeature(tf.int64),
        "boxes": tf.io.VarLenFeature(tf.float32),
        "box_classes": tf.io.VarLenFeature(tf.int64),
        "box_difficult": tf.io.VarLenFeature(tf.int64),
        "mask": tf.io.FixedLenFeature([], tf.string),
    }
    found = tf.io.parse_single_example(encode(record(boxes, mask)), features)
    assert found["image"] == b"bytes of a photo"
    assert found["id"].numpy().decode() == "a/ü.jpg"
    assert found["labels"].values.numpy().tolist() == [2, 5]
    assert found["boxes"].values.numpy().tolist() == [0.5, 1, 2, 3, 4, 5, 6, 7]
    assert found["box_classes"].values.numpy().tolist() == [2, 5]
    assert found["box_difficult"].values.numpy().tolist() == [0, 1]
    assert (tf.io.decode_png(found["mask"])[..., 0] == mask).numpy().all()


def test_equal_records_are_equal_bytes():
    boxes = Boxes.of([(0, 1, 2, 3)], [2], [False])
    assert encode(record(boxes)) == encode(record(boxes))


@pytest.mark.parametrize("boxes", [None, Boxes.of([], [], [])])
def test_no_annotation_is_told_from_no_object(boxes):
    found = boxes_of(encode(record(boxes)))
    assert found is None if boxes is None else len(found) == 0


@pytest.mark.parametrize("kind", ["?", "u1", "<i2", ">u2", "<i4", "<i8", "<u8"])
def test_integers_of_every_width_come_back(kind):
    mask = np.array([[0, 1, 1], [0, 1, 0]], kind)
    if mask.dtype.itemsize > 1:
        mask[1, 2] = 30_000
    data = encode(record(), mask.T)
    assert array_of(data, "mask") is None
    found = array_of(data, "objects")
    np.testing.assert_array_equal(found, mask.T)
    assert found.dtype == mask.dtype.newbyteorder("<")


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 1), np.uint8)]
)
def test_other_arrays_are_no_masks(mask):
    with pytest.raises(UserError, match="a mask is .*allowed: integers"):
        encode(record(mask=mask))


def changed(**features):
    example = tf.train.Example.FromString(
        encode(record(Boxes.of([(0, 1, 2, 3)], [2], [False]), np.zeros((2, 3), "i4")))
    )
    for name, value in features.items():
        example.features.feature[name].bytes_list.value[0] = value
    return example


@pytest.mark.parametrize("kind", [b"O", b"<f4", b"|V8", b"<i8"])
def test_other_types_are_refused(kind):
    # 12 bytes in a row are no whole number of the last one's 8.
    data = changed(mask_type=kind).SerializeToString()
    with pytest.raises(DamagedRecord, match="mask is damaged"):
        array_of(data, "mask")


def test_damage_is_one_kind_of_error():
    example = changed(mask=b"no picture")
    with pytest.raises(DamagedRecord, match="mask is damaged"):
        array_of(example.SerializeToString(), "mask")
    del example.features.feature["box_classes"]
    example.features.feature["boxes"].float_list.value.append(1)
    with pytest.raises(DamagedRecord, match="boxes are damaged"):
        boxes_of(example.SerializeToString())
    with pytest.raises(DamagedRecord, match="no tf.train.Example"):
        boxes_of(b"\xff\xff\xff")
    assert issubclass(DamagedRecord, OSError) and issubclass(DamagedRecord, UserError)
