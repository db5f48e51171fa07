"""One record of a shard: all that a source knows of a photo, as `tf.train.Example`.

Features, each present only where the source knows it:

    image          bytes, the encoded file as the source gave it
    id             bytes, UTF-8
    labels         int64, class indices
    boxes          float, left, top, right, bottom of every object in pixels
    box_classes    int64, one for every box; box_difficult: 0 or 1
    mask, objects  bytes, grey PNG of 8 bits; the bytes of wider integers lie side by
                   side in a row, and mask_type, objects_type name them as NumPy does
"""

import io

import numpy as np
from PIL import Image

from dino_tf.datasets.source import Boxes
from dino_tf.errors import UserError
from dino_tf.pillow_errors import UNREADABLE

# Types of masks that are read back; a record of others is damaged.
_TYPES = {np.dtype(kind).newbyteorder("<").str for kind in "?bBhHiIqQ"}


class DamagedRecord(UserError, OSError):
    """A record that is not as it was written.

    As an `OSError` it makes a bad photo, as `image_bytes` of any source does; where a
    box or a mask is asked for, it ends the program in one line.
    """


def encode(record, objects=None):
    """A record as bytes, equal for equal records.

    Args:
        record: `Record`.
        objects: Instance mask (H, W) of integers, or None.

    Returns:
        Serialized `tf.train.Example`; `record.image` is a part of it, unchanged.
    """
    import tensorflow as tf

    def _bytes(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def _integers(values):
        values = [int(value) for value in values]
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    features = {
        "image": _bytes(record.image),
        "id": _bytes(record.id.encode("utf-8", "replace")),
        "labels": _integers(record.labels),
    }
    if record.boxes is not None:
        corners = tf.train.FloatList(value=record.boxes.xyxy.ravel())
        features["boxes"] = tf.train.Feature(float_list=corners)
        features["box_classes"] = _integers(record.boxes.classes)
        features["box_difficult"] = _integers(record.boxes.difficult)
    for name, array in (("mask", record.mask), ("objects", objects)):
        if array is not None:
            data, kind = _to_png(np.asarray(array))
            features |= {name: _bytes(data), f"{name}_type": _bytes(kind.encode())}
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def boxes_of(data):
    """`Boxes` in a serialized record, or None where it has no annotation of boxes.

    Raises:
        DamagedRecord: It is no such record.
    """
    features = _features(data)
    if "boxes" not in features:
        return None
    try:
        return Boxes.of(
            features["boxes"].float_list.value,
            features["box_classes"].int64_list.value,
            features["box_difficult"].int64_list.value,
        )
    except ValueError as error:
        raise DamagedRecord(f"boxes are damaged ({error})") from error


def array_of(data, name):
    """The array "mask" or "objects" in a serialized record, or None.

    Raises:
        DamagedRecord: It is no such record.
    """
    features = _features(data)
    if name not in features:
        return None
    try:
        kind = features[f"{name}_type"].bytes_list.value[0].decode()
        if kind not in _TYPES:
            raise ValueError(f"type {kind!r}")
        png = io.BytesIO(features[name].bytes_list.value[0])
        with Image.open(png, formats=["PNG"]) as image:
            return np.array(image.convert("L")).view(kind)
    except (*UNREADABLE, LookupError) as error:
        raise DamagedRecord(f"{name} is damaged ({error})") from error


def _features(data):
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return tf.train.Example.FromString(data).features.feature
    except DecodeError as error:
        raise DamagedRecord("no tf.train.Example") from error


def _to_png(array):
    """(PNG file, name of the type) of an array (H, W) of integers or truth values."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    kind = array.dtype.str
    if array.ndim != 2 or kind not in _TYPES:
        raise UserError(
            f"a mask is {array.dtype} {array.shape}; allowed: integers (H, W)"
        )
    file = io.BytesIO()
    Image.fromarray(array.view(np.uint8)).save(file, "PNG")
    return file.getvalue(), kind
