"""Photos with binary masks of what stands out: ECSSD, DUTS, DUT-OMRON and the like."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from dino_tf.datasets.folder import EXTENSIONS, find_images
from dino_tf.datasets.source import Source, digest_of_files, unique_names
from dino_tf.errors import UserError, first_line
from dino_tf.photo_files import read_photo_file
from dino_tf.photo_headers import photo_header
from dino_tf.pillow_errors import UNREADABLE

# Folders of photos and of masks below a root: as the archives of DUTS-TE, DUT-OMRON
# and ECSSD unpack, as the programs that evaluate on them rename those, and usual names.
LAYOUTS = (
    ("DUTS-TE-Image", "DUTS-TE-Mask"),
    ("DUT-OMRON-image", "pixelwiseGT-new-PNG"),
    ("images", "ground_truth_mask"),
    ("img", "gt"),
    ("images", "masks"),
)


class MaskedPhotos(Source):
    """Photos in one folder, masks of the same names in another.

    Args:
        photos: Folder of photos, looked through with all that is below it.
        masks: Folder of PNG files, each of the relative path of a photo but for the
            extension. Masks of other names are passed over: one folder of masks may
            serve several folders of photos. Grey above half is the object.

    Raises:
        UserError: There is no photo, two photos differ by their extension alone, or
            a photo has no mask.
    """

    class_names = ("object",)

    def __init__(self, photos, masks):
        photos, masks = Path(photos), Path(masks)
        self.name = f"masks/{photos.name}"
        self._photos = find_images(photos, EXTENSIONS)
        if not self._photos:
            raise UserError(f"{photos} has no photos; allowed: {' '.join(EXTENSIONS)}")
        stems = [file.relative_to(photos).with_suffix("") for file in self._photos]
        self._masks = _matched(self._photos, stems, photos, masks)
        self._ids = unique_names([stem.as_posix() for stem in stems])

    def __len__(self):
        return len(self._photos)

    def id(self, index):
        return self._ids[index]

    def image_bytes(self, index):
        return read_photo_file(self._photos[index])

    def stamp(self):
        return digest_of_files([*self._photos, *self._masks], 2 * self._ids)

    def mask(self, index):
        """1 where the object is, else 0; in the size of its file.

        Raises:
            UserError: The file is no grey PNG, or its numbers are no such mask.
        """
        return read_binary_mask(self._masks[index])


def open_masks(argument: str, split: str = "train") -> MaskedPhotos | None:
    """Opens photos with binary masks; all of them are the split "train".

    Args:
        argument: `PHOTOS:MASKS`, two folders, or the root of a data set in one of
            `LAYOUTS`. Folders may have colons in their names (as after a drive's
            letter), as long as only one colon has an existing folder on either side.
        split: "train".

    Returns:
        The source, or None when `split` is "test".

    Raises:
        UserError: For missing folders, photos or masks, or another split.
    """
    if split not in ("train", "test"):
        raise UserError(f"masks:{argument} has no split {split!r}; allowed: train")
    return None if split == "test" else MaskedPhotos(*mask_folders(argument))


def mask_folders(argument: str) -> tuple[Path, Path]:
    """Folder of photos and folder of masks that a SPEC names after `masks:`.

    Raises:
        UserError: There are none, or more than one reading.
    """
    root = Path(argument).expanduser()
    if root.is_dir():
        return _by_layout(root)
    colons = [i for i, letter in enumerate(argument) if letter == ":"]
    pairs = [(argument[:i], argument[i + 1 :]) for i in colons]
    pairs = [tuple(Path(part).expanduser() for part in pair) for pair in pairs]
    found = [pair for pair in pairs if all(part.is_dir() for part in pair)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"masks:{argument} can be read in {len(found)} ways; allowed: folders "
            "whose names leave one"
        )
    parts = pairs[0] if len(pairs) == 1 else (root,)
    missing = next(str(part) for part in parts if not part.is_dir())
    raise UserError(
        f"masks:{argument}: no folder {missing!r}; allowed: masks:PHOTOS:MASKS or "
        "masks:ROOT"
    )


def read_binary_mask(file: Path) -> np.ndarray:
    """Where a mask file is above half of white.

    Args:
        file: PNG of 1 bit, grey, or colours that are all grey (as greys are kept in
            a palette).

    Returns:
        uint8 (H, W): 1 for the object, else 0.

    Raises:
        UserError: The file is damaged, has other colours, or is neither empty nor has
            anything above half, as where objects are written as 1.
    """
    try:
        data = read_photo_file(file)
        photo_header(data)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            grey = _grey(image)
    except UNREADABLE as error:
        reason = first_line(error)
        raise UserError(f"mask {file} is no whole PNG file ({reason})") from error
    if grey is None:
        raise UserError(f"mask {file} has colours; allowed: black, greys and white")
    if 0 < grey.max() <= 127:
        raise UserError(
            f"mask {file} has values from {grey.min()} to {grey.max()}; allowed: 0 for "
            "the background and 255 (above 127) for the object"
        )
    return (grey > 127).astype(np.uint8)


def _grey(image):
    """uint8 (H, W), 0 to 255, or None where it is not all grey."""
    if image.mode in ("1", "L", "LA"):
        return np.array(image.convert("L"))
    if image.mode.startswith("I"):
        return (np.array(image).astype(np.int64) // 257).astype(np.uint8)
    colours = np.array(image.convert("RGB"))
    same = (colours == colours[..., :1]).all()
    return colours[..., 0] if same else None


def _by_layout(root):
    for photos, masks in LAYOUTS:
        if (root / photos).is_dir() and (root / masks).is_dir():
            return root / photos, root / masks
    known = ", ".join(f"{photos}/ with {masks}/" for photos, masks in LAYOUTS)
    raise UserError(
        f"{root} has no folders of photos and masks that are known; allowed: {known}; "
        "or masks:PHOTOS:MASKS"
    )


def _matched(files, stems, photos, masks):
    """The mask file of each photo."""
    seen = {}
    for file, stem in zip(files, stems, strict=True):
        other = seen.setdefault(stem, file)
        if other is not file:
            raise UserError(
                f"{other.name} and {file.name} in {photos} would have one mask; "
                "allowed: photos whose names differ before the extension"
            )
    there = {
        file.relative_to(masks).with_suffix(""): file
        for file in find_images(masks, EXTENSIONS)
        if file.suffix.lower() == ".png"
    }
    missing = [stem.as_posix() for stem in stems if stem not in there]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(stems)} photos have no mask in {masks}, first "
            f"{missing[0]}.png; allowed: a PNG file for every photo"
        )
    return [there[stem] for stem in stems]
