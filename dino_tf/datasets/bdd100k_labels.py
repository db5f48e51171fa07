"""The label files of BDD100K in the forms in which they were published.

Boxes of an object are `box2d`, edges in pixels with fractions. Photos are named with or
without `.jpg`. Lanes and areas to drive on, which are `poly2d`, are no boxes.
"""

from pathlib import Path

from dino_tf.datasets.json_files import (
    LeftOut,
    array_rows,
    is_number,
    load_json,
    starts_array,
)
from dino_tf.datasets.source import Boxes
from dino_tf.errors import UserError, plain

# Of every photo; bdd100k/bdd100k, configs/det.toml, which has the names below as well.
WIDTH, HEIGHT = 1280, 720
CATEGORIES = (
    "pedestrian",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
    "traffic light",
    "traffic sign",
)
# Names of 2018 and of 2020 for one thing.
OTHER_NAMES = {
    "person": "pedestrian",
    "motor": "motorcycle",
    "bike": "bicycle",
    "caravan": "car",
    "van": "car",
}
# What the benchmark neither asks for nor counts as a mistake.
IGNORED = {"other person": "pedestrian", "other vehicle": "car", "trailer": "truck"}
THINNEST = 1e-3  # pixels, which float32 can still tell
_EDGES = ("x1", "y1", "x2", "y2")
_PLACES = {name: place for place, name in enumerate(CATEGORIES)}


def read_labels(path, left_out=None):
    """Boxes of the photos that label files name, one photo after the other.

    Args:
        path: One of the published forms: a file with a list of `{name, labels}` (the
            release of 2018, `bdd100k_labels_images_train.json`, and that of 2020,
            `det_20/det_train.json`), read row by row; a folder of files, one each
            photo, `{name, frames: [{objects}]}` (`labels/100k/train`); or one of
            those, or a list of frames under `frames`, as Scalabel writes.
        left_out: `LeftOut` that is told what is not taken.

    Yields:
        (name of a photo without extension, `Boxes`); classes are places in
        `CATEGORIES`. Boxes are cut off at `WIDTH` and `HEIGHT`; crowds and what the
        benchmark ignores are difficult. Where a name comes again, its first stands.

    Raises:
        UserError: A file is of no such form.

    Reference:
        Yu et al. 2020, "BDD100K"; doc.bdd100k.com, "Label Format"; scalabel/scalabel,
        to_coco.py, for crowds and ignored objects (its boxes hold a pixel more to the
        right and below than `box2d` says, those of the older bdd2coco.py do not; here
        they do not).
    """
    path, left_out, seen = Path(path), left_out or LeftOut(), set()
    for name, objects in _photos(path):
        stem = name.removesuffix(".jpg")
        if stem in seen:
            left_out.add("of a photo that came before", name)
            continue
        seen.add(stem)
        rows = [_box(one, name, left_out) for one in objects]
        rows = [row for row in rows if row is not None]
        yield stem, Boxes.of(*(zip(*rows, strict=True) if rows else ([], [], [])))


def _photos(path):
    """(name, objects) of every photo."""
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if not files:
            raise UserError(f"{path} has no .json files of labels")
        for file in files:
            yield from _frames(load_json(file), file)
    elif starts_array(path):
        for row in array_rows(path):
            yield _frame(row, "labels", path)
    else:
        yield from _frames(load_json(path), path)


def _frames(content, file):
    """(name, objects) in a file that is one object."""
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not all(isinstance(f, dict) for f in frames):
        _refuse(file, "no frames")
    if "name" not in content:
        for row in frames:
            yield _frame(row, "labels", file)
    elif len(frames) != 1:
        _refuse(file, f"{len(frames)} frames of one photo")
    else:
        yield _frame(frames[0] | {"name": content["name"]}, "objects", file)


def _frame(row, key, file):
    name, objects = row.get("name"), row.get(key)
    # A photo without objects has an empty list, none at all, or null.
    objects = [] if objects is None else objects
    if not isinstance(name, str) or not name or not isinstance(objects, list):
        _refuse(file, plain(f"{str(name)[:80]!r} with {key} {str(objects)[:40]}"))
    return name, objects


def _refuse(file, found):
    raise UserError(
        f"{file} has {found}; allowed: labels of BDD100K, a list of "
        "{name, labels} or {name, frames: [{objects}]}"
    )


def _box(one, photo, left_out):
    """((4,) edges, class, difficult) of an object; None for what has no box."""
    if not isinstance(one, dict):
        left_out.add("of no such form", photo)
        return None
    box = one.get("box2d")
    if box is None:
        return None
    name = str(one.get("category"))[:40]
    kind = OTHER_NAMES.get(name, IGNORED.get(name, name))
    if kind not in _PLACES:
        left_out.add("of another category", f"{name} in {photo}")
        return None
    edges = [box.get(edge) if isinstance(box, dict) else None for edge in _EDGES]
    if not all(map(is_number, edges)):
        left_out.add("whose box2d is not four numbers", photo)
        return None
    limits = (WIDTH, HEIGHT, WIDTH, HEIGHT)
    cut = [min(max(e, 0), limit) for e, limit in zip(edges, limits, strict=True)]
    if min(cut[2] - cut[0], cut[3] - cut[1]) < THINNEST:
        left_out.add("of no size or outside of the photo", photo)
        return None
    attributes = one.get("attributes")
    crowd = isinstance(attributes, dict) and attributes.get("crowd") is True
    return cut, _PLACES[kind], crowd or name in IGNORED
