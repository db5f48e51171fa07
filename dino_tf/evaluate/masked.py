"""Photos with masks: which are judged, and what their masks show."""

import csv
from functools import partial

import numpy as np

from dino_tf.analysis.overlap import VOID
from dino_tf.errors import UserError
from dino_tf.spreadsheets import harmless
from dino_tf.transforms.image import try_decode

KINDS = ("instance", "class")
# Masks and photos are scaled alike, but for rounding.
MOST_STRETCH = 1.05


def has_masks(source):
    """Whether any photo of a `Source` has a mask; stops at the first."""
    return any(source.mask(index) is not None for index in range(len(source)))


def is_binary(source):
    """Whether the masks tell no more than object and background."""
    return len(source.class_names) < 2


def judged_source(data, split=None):
    """The photos of `dino_tf.evaluate.subject.Data` whose masks are predicted.

    Args:
        data: `Data`.
        split: Name of a split; None takes "test" where its photos have masks, else
            "train".

    Returns:
        `Source`, or None where no photo has a mask.

    Raises:
        UserError: There is no such split.
    """
    if split is None:
        sources = (data.split(name) for name in ("test", "train"))
        return next((s for s in sources if s is not None and has_masks(s)), None)
    source = data.split(split)
    if source is None:
        raise UserError(f"{data.spec} has no split {split!r}; allowed: train")
    return source if has_masks(source) else None


def required_source(data, split=None):
    """`judged_source`; UserError where no photo has a mask."""
    source = judged_source(data, split)
    if source is None:
        where = f"split {split!r} of {data.spec}" if split else data.spec
        raise UserError(f"no photo of {where} has a mask; allowed: photos with masks")
    return source


def kind_of_objects(source, kind=None):
    """ "instance" or "class": what counts as one object.

    Args:
        source: `Source`.
        kind: "instance", "class", or None: instances where the source has them.

    Raises:
        UserError: Another word, or instances that the source does not have.
    """
    if kind not in (None, *KINDS):
        raise UserError(f"objects: got {kind!r}, allowed: {', '.join(KINDS)}")
    if kind == "class":
        return kind
    if any(source.objects(index) is not None for index in range(len(source))):
        return "instance"
    if kind == "instance":
        raise UserError(
            f"objects: got 'instance', allowed: class; {source.name!r} does not tell "
            "objects of a class apart"
        )
    return "class"


def objects_of(source, index, kind):
    """What a photo's objects are.

    Returns:
        Integers (H, W): 0 background, 255 void, other numbers an object each; None
        where the photo has no mask or the mask no object.
    """
    objects = source.objects(index) if kind == "instance" else source.mask(index)
    if objects is None or not np.any((objects != 0) & (objects != VOID)):
        return None
    return objects


def read_photo(source, index):
    """A photo as uint8 (H, W, 3), None where it cannot be read."""
    return try_decode(partial(source.image_bytes, index))[0]


def left_out(source, found, what):
    """Notes on the photos that were not judged.

    Args:
        source: `Source`.
        found: {"index": places of the judged photos, "unread": places of those that
            cannot be read}.
        what: Name of the part, which begins each line.
    """
    notes, unread = [], found["unread"].tolist()
    without = len(source) - len(found["index"]) - len(unread)
    if without:
        notes.append(f"{what}: {without} photos of {source.name} show no object")
    if unread:
        names = ", ".join(source.id(index) for index in unread[:5])
        more = ", ..." if len(unread) > 5 else ""
        notes.append(f"{what}: {len(unread)} photos cannot be read: {names}{more}")
    return notes


def check_shapes(image, mask, name):
    """Refuses a mask that is no scaled picture of its photo.

    Args:
        image: (H, W, 3).
        mask: (h, w), of any size, but of the same shape within 5 %.
        name: Of the photo.

    Raises:
        UserError: The shapes differ by more.
    """
    (rows, columns), (high, wide) = np.shape(image)[:2], np.shape(mask)
    stretch = (high * columns) / (wide * rows)
    if max(stretch, 1 / stretch) > MOST_STRETCH:
        raise UserError(
            f"mask of {name!r} has {wide} x {high} pixels, its photo {columns} x "
            f"{rows}; allowed: the same shape, within 5 %"
        )


def write_per_photo(path, source, index, columns):
    """Writes numbers of single photos as a table for spreadsheets.

    Args:
        path: Of the new .csv file.
        source: `Source`.
        index: Places of the photos in it.
        columns: {name: a number for each photo}.

    Returns:
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["photo", *columns])
        for place, row in zip(index, zip(*columns.values(), strict=True), strict=True):
            name = harmless(source.id(int(place)))
            table.writerow([name, *(f"{value:.4f}" for value in row)])
    return path
