"""Boxes of any data set, or of label files of BDD100K, as a JSON file of COCO."""

import contextlib
import json
import os
from pathlib import Path, PurePosixPath

from dino_tf.datasets import KINDS, open_source
from dino_tf.datasets.bdd100k_labels import CATEGORIES, HEIGHT, WIDTH, read_labels
from dino_tf.datasets.folder import EXTENSIONS
from dino_tf.datasets.json_files import LeftOut
from dino_tf.errors import UserError
from dino_tf.photo_headers import photo_header

_EXTENSIONS = {"JPEG": "jpg"}  # of formats whose name is not their extension


def write_coco(data, out, split=None, track=None):
    """Writes the boxes of a data set in COCO's form.

    Difficult objects (of VOC), crowds and what is ignored are written with `iscrowd`
    and `ignore` 1: COCO's rule passes over crowds alone, and neither counts them as
    missed nor boxes on them as mistaken.

    Args:
        data: SPEC of photos with boxes; or the path of labels of BDD100K, which need
            no photos; see `dino_tf.datasets.bdd100k_labels.read_labels`.
        out: New `.json` file.
        split: Of the SPEC; None is "train".
        track: Function of (label, number of photos) that returns an object with
            `add(n)`, which shows progress; None shows none.

    Returns:
        Lines for a person: what was written and what was left out.

    Raises:
        UserError: The file is there already, or `data` is wrong or has no boxes.
    """
    file = Path(out)
    if file.suffix != ".json":
        raise UserError(f"--out: got {out}, allowed: a new .json file")
    left_out = LeftOut()
    names, photos, lines = _opened(data, split, left_out, track)
    with _new(file) as stream:
        content = coco_content(str(data), names, photos)
        if not content["images"]:
            raise UserError(f"{data} has no boxes of any readable photo")
        json.dump(content, stream)
        stream.write("\n")
    crowds = sum(one["iscrowd"] for one in content["annotations"])
    return [
        f"{file}: {len(content['images']):,} photos, {len(content['annotations']):,} "
        f"boxes, {crowds:,} of them crowds, in {len(names)} categories",
        *left_out.lines("photos or labels"),
        *lines(),
    ]


def coco_content(title, names, photos):
    """Ground truth of detection in COCO's form.

    Args:
        title: What it is, for people.
        names: Of the classes; ids of categories begin with 1.
        photos: Iterable of (file name, height, width, `Boxes`).

    Reference:
        cocodataset.org, "Data format", object detection.
    """
    images, annotations = [], []
    for name, height, width, boxes in photos:
        number = len(images) + 1
        image = {"id": number, "file_name": name, "width": width, "height": height}
        images.append(image)
        rows = zip(
            boxes.xyxy.tolist(),
            boxes.classes.tolist(),
            boxes.difficult.tolist(),
            strict=True,
        )
        for (left, top, right, bottom), kind, difficult in rows:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": kind + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": int(difficult),
                    "ignore": int(difficult),
                    "segmentation": [],
                }
            )
    return {
        "info": {"description": title},
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": place, "name": name, "supercategory": name}
            for place, name in enumerate(names, 1)
        ],
    }


def file_name(name, extension):
    """A photo's id with the extension of its format, unless it has one."""
    if not extension or PurePosixPath(name).suffix.lower() in EXTENSIONS:
        return name
    return f"{name}.{extension}"


def _opened(data, split, left_out, track):
    """(names of the classes, photos of `coco_content`, function of further lines)."""
    path = Path(data).expanduser()
    is_labels = path.is_file() or (path.is_dir() and any(path.glob("*.json")))
    if is_labels and data.partition(":")[0] not in KINDS:
        if split is not None:
            raise UserError(f"--split: got {split}; allowed: with a SPEC, not a file")
        return CATEGORIES, _of_labels(path, left_out), list
    source = open_source(data, split or "train")
    if source is None:
        raise UserError(f"{data}: got split {split!r}, allowed: train")
    if not source.class_names:
        raise UserError(f"{data} has no boxes of objects")
    return source.class_names, _of_source(source, left_out, track), source.about


def _of_labels(path, left_out):
    for stem, boxes in read_labels(path, left_out):
        yield f"{stem}.jpg", HEIGHT, WIDTH, boxes


def _of_source(source, left_out, track):
    bar = track(f"boxes of {source.name}", len(source)) if track else None
    for index in range(len(source)):
        if bar:
            bar.add(1)
        name, boxes = source.id(index), source.boxes(index)
        if boxes is None:
            left_out.add("without an annotation of boxes", name)
            continue
        try:
            header = photo_header(source.image_bytes(index))
        except OSError:
            left_out.add("that cannot be read", name)
            continue
        kind = _EXTENSIONS.get(header.kind, header.kind.lower())
        yield file_name(name, kind), header.height, header.width, boxes


@contextlib.contextmanager
def _new(file):
    """A new text file; it goes again where what is to be written fails."""
    try:
        stream = open(file, "x", encoding="utf-8")
    except FileExistsError as error:
        raise UserError(
            f"--out: {file} is there already; allowed: a new name"
        ) from error
    try:
        with stream:
            yield stream
    except BaseException:
        os.unlink(file)
        raise
