"""PASCAL VOC 2007 and 2012 in the layout of the VOCdevkit."""

import functools
import io
import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dino_tf.datasets.source import Boxes, Source, digest_of_files
from dino_tf.errors import UserError, first_line
from dino_tf.photo_files import read_photo_file
from dino_tf.photo_headers import photo_header
from dino_tf.pillow_errors import UNREADABLE

CLASS_NAMES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
VOID = 255  # in masks: borders, and what is hard to tell
_CLASS_INDEX = {name: index for index, name in enumerate(CLASS_NAMES)}

# Image set per split. The test annotations of 2012 are not public: "train" and "val"
# keep training and test photos apart. Any image set can be asked for by its own name.
IMAGE_SETS = {
    2007: {"train": "trainval", "test": "test"},
    2012: {"train": "train", "test": "val"},
}


@dataclass(frozen=True)
class Annotation:
    """What one XML file says: `labels` of all objects, `boxes` of the valid ones."""

    labels: tuple[int, ...]
    boxes: Boxes | None


class VOC(Source):
    """One image set of a VOC year.

    Labels are the classes of all annotated objects, difficult ones included.
    Annotations are read when first asked for and kept.

    Args:
        folder: the folder `VOC2007` or `VOC2012`, see `find_voc`.
        image_set: name of a file in `ImageSets/Main`, without `.txt`, or
            `segmentation/NAME` of one in `ImageSets/Segmentation`.

    Raises:
        UserError: The image set is missing or empty.
    """

    class_names = CLASS_NAMES

    def __init__(self, folder: Path, image_set: str):
        self.folder = Path(folder)
        self.name = f"{self.folder.name.lower()}/{image_set}"
        self._ids = _image_set(self.folder, image_set)
        self._annotations: dict[int, Annotation] = {}

    def __len__(self):
        return len(self._ids)

    def id(self, index):
        return self._ids[index]

    def image_bytes(self, index):
        return read_photo_file(self._file(index))

    def stamp(self):
        folders = ("JPEGImages", "SegmentationClass", "SegmentationObject")
        kinds = zip(folders, (".jpg", ".png", ".png"), strict=True)
        files = [
            self.folder / folder / (name + ending)
            for folder, ending in kinds
            for name in self._ids
        ]
        return digest_of_files(files, self._ids * len(folders))

    def labels(self, index):
        return self._annotation(index).labels

    def boxes(self, index):
        return self._annotation(index).boxes

    def mask(self, index):
        """Class mask from `SegmentationClass`, or None where there is none.

        Raises:
            UserError: The file is no whole palette or grey image, or has a number
                that is no class.
        """
        file = self.folder / "SegmentationClass" / f"{self._ids[index]}.png"
        mask = _read_mask(file)
        if mask is not None:
            wrong = mask[(mask > len(CLASS_NAMES)) & (mask < VOID)]
            if wrong.size:
                raise UserError(
                    f"mask {file} has the number {wrong[0]}; allowed: 0 to "
                    f"{len(CLASS_NAMES)}, and {VOID} for void"
                )
        return mask

    def objects(self, index):
        """Instance mask from `SegmentationObject`, or None where there is none.

        Raises:
            UserError: The file is no whole palette or grey image.
        """
        name = f"{self._ids[index]}.png"
        return _read_mask(self.folder / "SegmentationObject" / name)

    def _file(self, index):
        return self.folder / "JPEGImages" / f"{self._ids[index]}.jpg"

    def _annotation(self, index):
        if index not in self._annotations:
            file = self.folder / "Annotations" / f"{self._ids[index]}.xml"
            self._annotations[index] = read_annotation(file)
        return self._annotations[index]


def open_voc(year: int, root: str, split: str = "train") -> VOC | None:
    """Opens a split of VOC `year`.

    Args:
        year: 2007 or 2012.
        root: the VOCdevkit folder, its parent, or the year's folder itself.
        split: "train" (2007: trainval, 2012: train), "test" (2007: test, 2012: val),
            or the name of an image set; those of `ImageSets/Segmentation`, whose
            photos all have masks, as in "segmentation/val".

    Returns:
        The source, or None when `split` is "test" and its image set is not there.

    Raises:
        UserError: The data set or the image set is not there.
    """
    folder = find_voc(year, root)
    if folder is None:
        raise UserError(
            f"no VOC{year} in {str(root)!r} (looked for VOCdevkit/VOC{year}/JPEGImages)"
            f"; get it with: main.py data get voc{year}"
        )
    image_set = IMAGE_SETS[year].get(split, split)
    main = folder / "ImageSets" / "Main"
    if split == "test" and not (main / f"{image_set}.txt").is_file():
        return None
    return VOC(folder, image_set)


def find_voc(year: int, root: str | Path) -> Path | None:
    """The folder of a year in or below `root`, or None."""
    root, name = Path(root).expanduser(), f"VOC{year}"
    # A folder of any name may be the data set itself, but not one of another year.
    other = {f"VOC{y}" for y in IMAGE_SETS if y != year}
    itself = [] if root.resolve().name in other else [root]
    for folder in (root / "VOCdevkit" / name, root / name, *itself):
        if (folder / "JPEGImages").is_dir() and (folder / "ImageSets").is_dir():
            return folder
    return None


def read_annotation(file: Path) -> Annotation:
    """Labels and boxes from one XML file.

    Coordinates in the files count pixels from 1 and include the last one; they are
    turned into pixel edges from 0. Boxes are clipped to the photo; those that are
    missing, reversed, empty, outside, or no finite numbers are left out. A size of the
    photo that is missing or not positive clips nothing.

    Returns:
        The annotation; without labels and boxes when the file does not exist.

    Raises:
        UserError: The file is not plain XML, has a document type (so no entities, its
            own or those of other files), or names a class that VOC does not have.
    """
    try:
        data = read_photo_file(file)
        root = ET.fromstring(data, ET.XMLParser(target=_PlainTree()))
        size = [_side(root, key) for key in ("width", "height")]
        objects = [_read_object(obj, size) for obj in root.findall("object")]
    except FileNotFoundError:
        return Annotation((), None)
    except (ET.ParseError, ValueError, LookupError, OSError) as error:
        reason = first_line(error)
        raise UserError(f"annotation {file} is not valid: {reason}") from error
    valid = [o for o in objects if _is_box(*o[0])]
    labels = tuple(sorted({label for _, label, _ in objects}))
    columns = zip(*valid, strict=True) if valid else ([], [], [])
    return Annotation(labels, Boxes.of(*columns))


def _side(root: ET.Element, key: str) -> float:
    """Width or height of the photo; infinite where the file does not tell it."""
    side = float(root.findtext(f"size/{key}") or "inf")
    return side if side > 0 else math.inf


def _is_box(left, top, right, bottom):
    return left < right < math.inf and top < bottom < math.inf


def _read_object(obj: ET.Element, size: list[float]):
    name = (obj.findtext("name") or "").strip()
    if name not in _CLASS_INDEX:
        raise ValueError(f"class {name!r} is not one of {', '.join(CLASS_NAMES)}")
    corners = [
        float(obj.findtext(f"bndbox/{k}") or "nan")
        for k in ("xmin", "ymin", "xmax", "ymax")
    ]
    left, top, right, bottom = corners
    box = (max(left - 1, 0), max(top - 1, 0), min(right, size[0]), min(bottom, size[1]))
    return box, _CLASS_INDEX[name], (obj.findtext("difficult") or "0").strip() == "1"


class _PlainTree(ET.TreeBuilder):
    """Refuses document types, which is where entities would be declared."""

    def doctype(self, name, public_id, system_id):
        raise ValueError("document types and entities are not allowed")


def _read_mask(file: Path) -> np.ndarray | None:
    """uint8 (H, W) of a PNG file, or None where it is not there."""
    if not file.is_file():
        return None
    try:
        data = read_photo_file(file)
        photo_header(data)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            mode, pixels = image.mode, np.array(image)
    except UNREADABLE as error:
        reason = first_line(error)
        raise UserError(f"mask {file} is no whole PNG file ({reason})") from error
    if mode not in ("P", "L"):
        raise UserError(f"mask {file} has mode {mode}; allowed: palette or grey PNG")
    return pixels


def _image_set(folder: Path, image_set: str) -> list[str]:
    sets = folder / "ImageSets"
    # Class lists such as cat_train.txt have a second column and are not offered.
    allowed = {
        f"{prefix}{file.stem}": file
        for prefix, name in (("", "Main"), ("segmentation/", "Segmentation"))
        for file in sorted((sets / name).glob("*.txt"))
        if "_" not in file.stem
    }
    if image_set not in allowed:
        names = ", ".join(allowed) or "none found"
        raise UserError(f"no image set {image_set!r} in {sets}; allowed: {names}")
    file = allowed[image_set]
    try:
        lines = read_photo_file(file).decode("utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{file} is no UTF-8 text: {first_line(error)}") from error
    ids = list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    unsafe = [i for i in ids if not _is_name(i)]
    if not ids or unsafe:
        found = f"the name {unsafe[0]!r}" if unsafe else "no lines"
        raise UserError(f"{file} has {found}; it lists photo names")
    return ids


def _is_name(text):
    return Path(text).name == text and text != ".." and text.isprintable()


open_voc2007 = functools.partial(open_voc, 2007)
open_voc2012 = functools.partial(open_voc, 2012)
