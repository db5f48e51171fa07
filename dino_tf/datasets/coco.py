"""Photos with boxes in COCO's form: a folder of photos and a JSON file of instances."""

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dino_tf.datasets.folder import FileSource
from dino_tf.datasets.json_files import LeftOut, is_number, load_json, stays_within
from dino_tf.datasets.source import Boxes, classes_of, digest_of_files
from dino_tf.errors import UserError, plain

# Long, and of no use here: outlines of objects and of persons.
NOT_READ = ("segmentation", "keypoints", "segments_info")
SPLITS = {"train": "train", "test": "val"}


class CocoPhotos(FileSource):
    """The photos that a JSON file of instances lists, in its order.

    Boxes keep the fractions of the file and are cut off at the photo. Crowds and
    objects marked `ignore` count as difficult. Masks are not read.

    Args:
        images: Folder below which the photos lie.
        file: JSON file with `images`, `annotations` and `categories`; without
            `annotations` (as for test photos) there are no boxes.

    Attributes:
        file_names: Of each photo, as in the file.
        category_ids: Of each class, as in the file; classes are in their order.

    Raises:
        UserError: The file is no such file, a photo's entry has no id or file name,
            an id comes twice, a name leads out of the folder, or no photo is there.

    Reference:
        cocodataset.org, "Data format", object detection.
    """

    def __init__(self, images, file):
        self._folder, self._json = Path(images), Path(file)
        found = read_instances(self._json)
        self.category_ids, self.left_out = found.category_ids, found.left_out
        self.file_names, self._rows = found.file_names, found.rows
        super().__init__(
            f"coco/{plain(self._json.stem)}",
            [self._folder / name for name in self.file_names],
            self.file_names,
            [None] * len(self.file_names),
            found.class_names,
        )
        if not any(map(os.path.isfile, self._files)):
            raise UserError(
                f"none of the {len(self._files):,} photos of {file} is in {images}; "
                f"first {plain(self.file_names[0])}"
            )

    def stamp(self):
        return digest_of_files([*self._files, self._json], [*self._ids, "boxes"])

    def labels(self, index):
        """The classes of all boxes, crowds included."""
        return classes_of(self.boxes(index))

    def boxes(self, index):
        return boxes_at(self._rows, index)

    def about(self):
        """Counts of boxes, and what was left out."""
        if self._rows is None:
            return ["no boxes: the file has no annotations"]
        count, crowds = len(self._rows["box"]), int(self._rows["difficult"].sum())
        photos = len(np.unique(self._rows["photo"]))
        lines = [f"{count:,} boxes in {photos:,} photos, {crowds:,} of them crowds"]
        return lines + self.left_out.lines("annotations")


@dataclass(frozen=True)
class Instances:
    """What a JSON file of instances says.

    Attributes:
        file_names: Of the photos.
        category_ids: Of the classes, in order.
        class_names: Of the classes.
        rows: {"photo" (place), "box" (edges), "class", "difficult": (n, ...)} of the
            boxes, in the order of the photos; None without annotations.
        left_out: `LeftOut` of the annotations that are not taken.
    """

    file_names: list
    category_ids: tuple
    class_names: tuple
    rows: dict | None
    left_out: LeftOut


def read_instances(file):
    """`Instances` of a file.

    Raises:
        UserError: The file is none, a photo's or category's entry has no id or name,
            an id comes twice, or a name leads out of the folder.
    """
    content = _content(file)
    ids, names = _categories(content, file)
    file_names, places, sizes = _photos(content["images"], file)
    left_out, rows = LeftOut(), None
    if "annotations" in content:
        classes = {name: place for place, name in enumerate(ids)}
        rows = _rows(content["annotations"], places, classes, left_out)
        rows = _within(rows, sizes, left_out)
    return Instances(file_names, ids, names, rows, left_out)


def boxes_at(rows, place):
    """`Boxes` of the photo at a place; None where `rows` is None."""
    if rows is None:
        return None
    start, stop = np.searchsorted(rows["photo"], [place, place + 1])
    return Boxes.of(*(rows[k][start:stop] for k in ("box", "class", "difficult")))


def open_coco(argument, split="train"):
    """Opens photos with boxes in COCO's form.

    Args:
        argument: `IMAGES:JSON`, a folder and a file, which are the split "train";
            `IMAGES:JSON:JSON`, of which the second is the split "test"; or the root of
            a data set laid out as COCO: `annotations/instances_train2017.json` with
            photos in `train2017` or `images/train2017`, and the same with `val`.
        split: "train", "test", or a name such as "val2014" of the layout.

    Returns:
        The source, or None when `split` is "test" and there is no such split.

    Raises:
        UserError: For missing folders, files or splits, or a wrong file.
    """
    root = Path(argument).expanduser()
    if root.is_dir():
        found = _layout(root)
        # The newest year, where there are several.
        named = {k: max(n for n in found if n.startswith(k)) for k in _begun(found)}
        name = named.get(SPLITS.get(split), split)
        if name in found:
            return CocoPhotos(*found[name])
    else:
        images, *files = _parts(argument)
        found = dict(zip(("train", "test"), files, strict=False))
        if split in found:
            return CocoPhotos(images, found[split])
    if split == "test":
        return None
    allowed = ", ".join(dict.fromkeys(["train", *found]))
    raise UserError(f"coco:{argument} has no split {split!r}; allowed: {allowed}")


def _begun(found):
    return [k for k in SPLITS.values() if any(name.startswith(k) for name in found)]


def _layout(root):
    """{split: (folder of photos, file)} of a root that is laid out as COCO."""
    found = {}
    for file in sorted((root / "annotations").glob("instances_*.json")):
        name = file.stem.removeprefix("instances_")
        for folder in (root / name, root / "images" / name):
            if folder.is_dir():
                found.setdefault(name, (folder, file))
    if not found:
        raise UserError(
            f"no annotations/instances_NAME.json with a folder NAME in {root}; allowed:"
            " coco:IMAGES:JSON, or a root with these"
        )
    return found


def _parts(argument):
    """[folder, file or two]; a colon within a name is one as long as it is clear."""
    colons = [match.start() for match in re.finditer(":", argument)]
    found = []
    for cuts in itertools.chain.from_iterable(
        itertools.combinations(colons, number) for number in (1, 2)
    ):
        edges = [-1, *cuts, len(argument)]
        parts = [argument[a + 1 : b] for a, b in itertools.pairwise(edges)]
        paths = [Path(part).expanduser() for part in parts]
        if paths[0].is_dir() and all(path.is_file() for path in paths[1:]):
            found.append(paths)
    if len(found) == 1:
        return found[0]
    words = f"can be read in {len(found)} ways" if found else "names no folder and file"
    raise UserError(
        f"coco:{argument} {words}; allowed: coco:IMAGES:JSON, a folder that is there "
        "and a file that is there, or coco:ROOT"
    )


def _content(file):
    content = load_json(file, NOT_READ)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise UserError(
            f"{file} is no file of COCO: allowed: an object with the lists images, "
            "annotations and categories"
        )
    for key in ("annotations", "categories"):
        if not isinstance(content.get(key, []), list):
            kind = type(content[key]).__name__
            raise UserError(f"{file}: {key} is of the type {kind}; allowed: a list")
    if content.get("annotations") and not content.get("categories"):
        raise UserError(f"{file} has annotations and no categories")
    if not content["images"]:
        raise UserError(f"{file} lists no photo")
    return content


def _categories(content, file):
    """(ids, names) of the classes, in the order of their ids."""
    found = {}
    for entry in content.get("categories", ()):
        entry = entry if isinstance(entry, dict) else {}
        number, name = entry.get("id"), entry.get("name")
        if not _is_id(number) or not isinstance(name, str) or number in found:
            raise UserError(
                f"{file} has the category {plain(str(entry)[:80])}; allowed: an id "
                "that comes once, and a name"
            )
        found[number] = plain(name)
    ids = sorted(found, key=lambda one: (isinstance(one, str), one))
    return tuple(ids), tuple(found[one] for one in ids)


def _photos(entries, file):
    """(file names, {id: place}, float64 (N, 2) width and height) of the photos."""
    names, places, sizes = [], {}, []
    for entry in entries:
        entry = entry if isinstance(entry, dict) else {}
        number, name = entry.get("id"), entry.get("file_name")
        if not _is_id(number) or number in places or not stays_within(name):
            raise UserError(
                f"{file} has the photo {plain(str(entry)[:80])}; allowed: an id that "
                "comes once, and a file_name within the folder of photos"
            )
        places[number] = len(names)
        names.append(name)
        sizes.append([_side(entry, side, file) for side in ("width", "height")])
    return names, places, np.array(sizes)


def _side(entry, side, file):
    """Width or height; infinite where the file does not tell it."""
    value = entry.get(side)
    if value is not None and not is_number(value):
        number = plain(str(entry["id"]))
        raise UserError(
            f"{file}: {side} of the photo {number} is {value!r}; allowed: a number"
        )
    return value if value and value > 0 else np.inf


def _rows(entries, places, classes, left_out):
    """Arrays of the annotations that are of a photo and a class and have a box."""
    photos, boxes, chosen, difficult, seen = [], [], [], [], set()
    for row, entry in enumerate(entries):
        if not isinstance(entry, dict):
            left_out.add("of no such form", f"the one at {row}")
            continue
        number, name = entry.get("id"), str(entry.get("id", f"the one at {row}"))[:40]
        photo, kind = entry.get("image_id"), entry.get("category_id")
        box = entry.get("bbox")
        if _is_id(number):
            if number in seen:
                left_out.add("with an id that came before", name)
                continue
            seen.add(number)
        if not _is_id(photo) or photo not in places:
            left_out.add("of a photo that is not listed", name)
        elif not _is_id(kind) or kind not in classes:
            left_out.add("of a category that is not listed", name)
        elif not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            left_out.add("whose bbox is not four numbers", name)
        else:
            photos.append(places[photo])
            boxes.append(box)
            chosen.append(classes[kind])
            marks = entry.get("iscrowd"), entry.get("ignore")
            difficult.append(any(mark in (1, True) for mark in marks))
    return {
        "photo": np.array(photos, np.int64),
        "box": np.array(boxes, np.float64).reshape(-1, 4),
        "class": np.array(chosen, np.int64),
        "difficult": np.array(difficult, bool),
    }


def _within(rows, sizes, left_out):
    """The rows in the order of the photos, boxes as edges and cut off at the photo."""
    start, extent = rows["box"][:, :2], rows["box"][:, 2:]
    edges = np.concatenate([start, start + extent], axis=1).astype(np.float32)
    limits = np.tile(sizes[rows["photo"]], 2).reshape(-1, 4)
    cut = np.clip(edges, 0, limits).astype(np.float32)
    has_size = (extent > 0).all(1) & (edges[:, 2:] > edges[:, :2]).all(1)
    inside = (cut[:, 2:] > cut[:, :2]).all(1)
    for good, reason in ((has_size, "of no size"), (inside, "outside of the photo")):
        taken = has_size if good is inside else np.ones(len(cut), bool)
        for row in np.flatnonzero(taken & ~good):
            left_out.add(reason, f"{rows['box'][row].tolist()}")
    kept = np.flatnonzero(has_size & inside)
    kept = kept[np.argsort(rows["photo"][kept], kind="stable")]
    return {name: column[kept] for name, column in (rows | {"box": cut}).items()}


def _is_id(value):
    return isinstance(value, int | str) and not isinstance(value, bool)
