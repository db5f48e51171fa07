"""Photos and the boxes a detector learns from, or is judged by."""

from dataclasses import dataclass, field

import numpy as np

from dino_tf.datasets.coco import boxes_at, read_instances
from dino_tf.datasets.source import Boxes
from dino_tf.errors import UserError
from dino_tf.evaluate.splits import every_fifth, spread
from dino_tf.photo_headers import photo_header

LOOKED_AT = 500
OBJECT = ("object",)  # the one class of boxes without names


@dataclass
class BoxedPhotos:
    """Readable photos with annotated boxes, which may be none in some of them.

    Attributes:
        source: `Source`.
        class_names: Of the classes of `boxes`.
        boxes: {place in the source: `Boxes` in pixels of the photo}.
        sizes: {place: (height, width)}.
        notes: Lines for a person.
    """

    source: object
    class_names: tuple
    boxes: dict
    sizes: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)

    def __post_init__(self):
        unread, missing = [], len(self.source) - len(self.boxes)
        if missing:
            self.notes.append(
                f"{missing:,} photos of {self.source.name} without an annotation of "
                "boxes are left out"
            )
        for place in list(self.boxes):
            try:
                header = photo_header(self.source.image_bytes(place))
                self.sizes[place] = (header.height, header.width)
            except OSError:
                unread.append(self.source.id(place))
                del self.boxes[place]
        if unread:
            shown = ", ".join(unread[:5]) + (", ..." if len(unread) > 5 else "")
            name = self.source.name
            self.notes.append(f"{len(unread)} photos of {name} cannot be read: {shown}")

    @property
    def places(self):
        """int64 (N,) places in the source, in order."""
        return np.array(sorted(self.boxes), np.int64)

    @property
    def counted(self):
        """Number of boxes that count, the difficult ones not."""
        return sum(int((~found.difficult).sum()) for found in self.boxes.values())

    def squeezed(self, place, size):
        """(n, 4) boxes of a photo that is squeezed into a square of `size` pixels."""
        height, width = self.sizes[place]
        scale = np.array([size / width, size / height] * 2, np.float32)
        return self.boxes[place].xyxy * scale


def boxed(source, merged=False):
    """`BoxedPhotos` of a source.

    Args:
        source: `Source`.
        merged: Whether all classes become one, "object".
    """
    found = {i: source.boxes(i) for i in range(len(source))}
    found = {i: boxes for i, boxes in found.items() if boxes is not None}
    if merged:
        found = {i: _merged(boxes) for i, boxes in found.items()}
    return BoxedPhotos(source, OBJECT if merged else tuple(source.class_names), found)


def boxed_by(source, file):
    """`BoxedPhotos` with the boxes of a JSON file, such as `discover` writes.

    Photos are found by the names in the file, with or without extension. Categories
    are not looked at: all boxes are of one class.

    Args:
        source: `Source`.
        file: Path of a file of instances in COCO's form.

    Raises:
        UserError: The file is none, or names no photo of the source.
    """
    instances, places = read_instances(file), {}
    for index in range(len(source)):
        name = source.id(index)
        places[name] = index
        places.setdefault(_stem(name), index)
    found = {}
    for row, name in enumerate(instances.file_names):
        index = places.get(name, places.get(_stem(name)))
        boxes = boxes_at(instances.rows, row)
        if index is not None and boxes is not None:
            found[index] = _merged(boxes)
    if not found:
        raise UserError(
            f"--boxes: {file} has no boxes of photos of {source.name!r}, such as "
            f"{source.id(0)}; allowed: boxes of the photos that are trained on"
        )
    photos = BoxedPhotos(source, OBJECT, found)
    photos.notes += instances.left_out.lines("annotations of --boxes")
    return photos


def has_boxes(source):
    """Whether any of some hundred photos has boxes of objects."""
    return any(source.boxes(i) for i in spread(len(source), LOOKED_AT).tolist())


def opened(data, train_split=None, split=None, merged=False):
    """(photos to train on, photos that are judged, notes).

    Args:
        data: `Data`.
        train_split: Name of a split; None is "train".
        split: Name of a split; None is "test" where that has boxes of the same
            classes, else every fifth photo of the training split.
        merged: Whether classes may differ, as they become one.

    Raises:
        UserError: A split that is named is not there, or is the same twice.
    """
    train = data.split(train_split or "train")
    test = data.test if split is None else data.split(split)
    if train is None or (split is not None and test is None):
        name = split if train is not None else train_split
        raise UserError(f"{data.spec} has no split {name!r}; allowed: train")
    if split is not None and split == (train_split or "train"):
        raise UserError(f"--split: got {split}, which trains; allowed: another split")
    if split is not None:
        return train, test, []
    same = merged or (test and test.class_names) == train.class_names
    if test is not None and same and has_boxes(test):
        return train, test, []
    note = (
        "no test split with boxes of these classes: every fifth photo of the training "
        "split is judged, the others train"
    )
    return *every_fifth(train), [note]


def _merged(boxes):
    return Boxes(boxes.xyxy, np.zeros_like(boxes.classes), boxes.difficult)


def _stem(name):
    """A name without its extension."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)
