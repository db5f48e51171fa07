"""Photos and copies of them that were cropped, compressed, painted over: Copydays."""

import re
from pathlib import Path

from dino_tf.datasets.folder import EXTENSIONS, FileSource, find_images
from dino_tf.errors import UserError, plain

ORIGINAL, STRONG = "original", "strong"
# The first characters of a name, which a photo and its copies share.
BLOCK = 4


class Copydays(FileSource):
    """Originals, and copies of them by attack.

    Every folder of photos beside `original` is an attack: in INRIA's own layout
    `jpegqual/3` to `75`, `crops/10` to `80` and `strong`. A copy belongs to the
    original whose name begins with the same four characters (200301.jpg is a copy of
    200300.jpg). Where that is no one original, apart from strong attacks, it is the one
    of the same name, or that of the same place in the sorted folder.

    Args:
        root: folder of the data set.

    Attributes:
        originals: tuple of indices.
        attacks: {name of the folder: tuple of (index of a copy, tuple of the indices of
            its originals)}, strong attacks first. Copies without an original have an
            empty tuple.

    Raises:
        UserError: There is no such folder, or it has no originals or no copies.

    Reference:
        Douze et al. 2009, "Evaluation of GIST descriptors for web-scale image search";
        facebookresearch/dino, eval_copy_detection.py (what is a copy of what).
    """

    def __init__(self, root):
        root = Path(root).expanduser()
        if not root.is_dir():
            raise UserError(f"copydays:{root}: no such folder")
        folders = {}
        for file in find_images(root, EXTENSIONS):
            folder = file.parent.relative_to(root).as_posix()
            folders.setdefault(folder, []).append(file)
        if len(folders) < 2 or ORIGINAL not in folders or "." in folders:
            found = ", ".join(sorted(folders)) or "none"
            raise UserError(
                f"copydays:{root}: folders of photos: {found:.200}; allowed: "
                f"{ORIGINAL} and folders of copies, such as {STRONG} and jpegqual/10"
            )
        originals = folders.pop(ORIGINAL)
        files = list(originals)
        self.originals, self.attacks = tuple(range(len(originals))), {}
        for folder in sorted(folders, key=attack_order):
            copies = folders[folder]
            indices = range(len(files), len(files) + len(copies))
            found = sources_of_copies(copies, originals, folder == STRONG)
            self.attacks[folder] = tuple(zip(indices, found, strict=True))
            files += copies
        ids = [file.relative_to(root).as_posix() for file in files]
        name = f"copydays/{plain(root.absolute().name)}"
        super().__init__(name, files, ids, [None] * len(files))


def open_copydays(argument: str, split: str = "train") -> Copydays | None:
    """Opens a folder in the layout of Copydays; all photos are the split "train".

    Args:
        argument: the folder.
        split: "train".

    Returns:
        The source, or None when `split` is "test".

    Raises:
        UserError: For a folder of another layout, or another split.
    """
    if split not in ("train", "test"):
        raise UserError(f"copydays:{argument} has no split {split!r}; allowed: train")
    return None if split == "test" else Copydays(argument)


def sources_of_copies(copies, originals, strong=False):
    """For each copy a tuple of places among the originals; see `Copydays`.

    Args:
        copies: paths of one attack, sorted.
        originals: paths, sorted.
        strong: whether the first characters of the names alone tell.
    """
    blocks, stems = {}, {}
    for place, file in enumerate(originals):
        blocks.setdefault(file.name[:BLOCK], []).append(place)
        stems.setdefault(file.stem, []).append(place)
    by_block = [tuple(blocks.get(file.name[:BLOCK], ())) for file in copies]
    if strong or all(len(found) == 1 for found in by_block):
        return by_block
    by_name = [tuple(stems.get(file.stem, ())) for file in copies]
    if all(by_name):
        return by_name
    if len(copies) == len(originals):
        return [(place,) for place in range(len(copies))]
    named = [one if one else two for one, two in zip(by_name, by_block, strict=True)]
    return [found if len(found) == 1 else () for found in named]


def attack_order(name):
    """Key that sorts strong attacks first and numbers by their value."""
    parts = re.split(r"(\d+)", name)
    return name != STRONG, [
        (0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts
    ]
