"""A photo made ready for a shard, smaller where that is asked for."""

import dataclasses
import zlib

import tensorflow as tf

from dino_tf.datasets.shard_records import encode
from dino_tf.datasets.source import Boxes, Record
from dino_tf.transforms.shrink import resize_nearest, shrink

MOST_BYTES = 2**31 - 1  # of a protocol buffer


@dataclasses.dataclass(frozen=True)
class Ready:
    """A record that waits to be written, or the reason why it is left out.

    Attributes:
        name: Id of the photo.
        labels: Its class indices.
        data: The record; None for a photo that is left out.
        crc: CRC-32 of `data`.
        image: (first byte, length) of the photo in `data`.
        left_out: Why there is no `data`.
        not_smaller: Why the photo is as large as it was.
    """

    name: str
    labels: tuple = ()
    data: bytes | None = None
    crc: int = 0
    image: tuple = (0, 0)
    left_out: str | None = None
    not_smaller: str | None = None


def prepare(source, index, max_side=None, quality=None):
    """`Ready` of one photo; the arguments are those of `write_shards`."""
    name = source.id(index)
    image, reason = read(source, index)
    if image is None:
        return Ready(name, left_out=reason)
    labels, boxes = source.labels(index), source.boxes(index)
    record = Record(name, image, labels, boxes, source.mask(index))
    objects, not_smaller = source.objects(index), None
    if max_side is not None:
        try:
            record, objects = _smaller(record, objects, max_side, quality)
        except OSError as error:
            not_smaller = reason_of(error)
    data = encode(record, objects)
    if len(data) > MOST_BYTES:
        return Ready(name, left_out=f"{len(data)} bytes are too many for a record")
    # Of several places with these bytes any will do.
    place = data.index(record.image), len(record.image)
    crc = zlib.crc32(data)
    return Ready(name, labels, data, crc, place, not_smaller=not_smaller)


def read(source, index):
    """(bytes of the photo, None), or (None, reason) where they cannot be had."""
    try:
        return source.image_bytes(index), None
    except OSError as error:
        return None, reason_of(error)


def reason_of(error):
    """An error in one short line."""
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def _smaller(record, objects, max_side, quality):
    """The record and its instance mask with at most `max_side` pixels a side."""
    image, before, after = shrink(record.image, max_side, quality)
    if before is None:
        return record, objects
    boxes = record.boxes
    if boxes is not None:
        factors = [new / old for old, new in zip(before, after, strict=True)]
        boxes = Boxes.of(boxes.xyxy * (factors * 2), boxes.classes, boxes.difficult)

    def fit(mask):
        return mask if mask is None else resize_nearest(mask, after)

    record = dataclasses.replace(
        record, image=image, boxes=boxes, mask=fit(record.mask)
    )
    return record, fit(objects)
