"""Photos on disk: any tree of image files, or a text file that lists them."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from dino_tf.datasets.source import Source, digest_of_files, unique_names
from dino_tf.errors import UserError, first_line, plain
from dino_tf.photo_files import read_photo_file
from dino_tf.photo_headers import photo_header
from dino_tf.pillow_errors import UNREADABLE

EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".gif",
    ".bmp",
    ".webp",
)
# Of photos that are not read: they are counted among the bad ones, not passed over in
# silence.
OTHER_EXTENSIONS = (".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2")
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
# `train/` beside one of these means a data set with splits; the first that has class
# folders is the test split.
TEST_FOLDERS = ("test", "val", "validation", "valid")


class FileSource(Source):
    """Image files, each with at most one class.

    Args:
        name: name of the source.
        files: paths of the images.
        ids: one name per file; made unique and safe here.
        classes: class name of each file, None where unknown.
        class_names: all classes in order; the sorted set of `classes` by default.
    """

    def __init__(
        self,
        name: str,
        files: Sequence[Path],
        ids: Sequence[str],
        classes: Sequence[str | None],
        class_names: Sequence[str] = (),
    ):
        self.name = name
        self.class_names = tuple(class_names) or tuple(sorted(set(classes) - {None}))
        position = {c: i for i, c in enumerate(self.class_names)}
        self._files = list(files)
        self._ids = unique_names(ids)
        self._labels = [() if c is None else (position[c],) for c in classes]

    def __len__(self):
        return len(self._files)

    def id(self, index):
        return self._ids[index]

    def image_bytes(self, index):
        return read_photo_file(self._files[index])

    def labels(self, index):
        return self._labels[index]

    def stamp(self):
        return digest_of_files(self._files, self._ids)


def open_folder(path: str, split: str = "train") -> FileSource | None:
    """Images below a folder, sorted by path; hidden files and folders are skipped.

    Where `train/` lies beside `test/` or `val/` the splits are those folders,
    otherwise every image belongs to "train". Class folders give labels when every
    image of the split lies in a first-level folder and there are at least two; the
    class order is shared by all splits.

    Args:
        path: the folder.
        split: "train", "test", or the name of a subfolder.

    Returns:
        The source, or None when `split` is "test" and the folder has no such split.

    Raises:
        UserError: The folder or split is missing or holds no readable image.
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise UserError(f"data folder {str(root)!r} does not exist")
    if not root.is_dir():
        raise UserError(
            f"{str(root)!r} is a file; give a folder, or list:{root} for a text file "
            "with one image path per line"
        )
    folder = _split_folder(root, split)
    if folder is None:
        return None
    files = find_images(folder)
    _require_readable(files, f"folder {str(folder)!r}", looked_for=EXTENSIONS)
    parts = [file.relative_to(folder).parts for file in files]
    found = {p[0] for p in parts if len(p) > 1}
    if len(found) < 2 or any(len(p) == 1 for p in parts):
        classes, names = [None] * len(files), ()
    else:
        classes = [plain(p[0]) for p in parts]
        found |= _sibling_classes(root, folder)
        names = sorted(map(plain, found))
    ids = ["/".join(p) for p in parts]
    return FileSource(plain(root.name), files, ids, classes, names)


def open_list(path: str, split: str = "train") -> FileSource | None:
    """Images named in a text file, one path per line, in the order of the file.

    Paths are relative to the list's folder. A tab and a class name may follow.
    Blank lines are skipped.

    Args:
        path: the text file, UTF-8.
        split: "train"; a list has no other split.

    Returns:
        The source, or None when `split` is "test".

    Raises:
        UserError: The file is missing or empty or names no readable image.
    """
    file = Path(path).expanduser()
    if split != "train":
        return _no_split(split, f"list:{path}", "train")
    if not file.is_file():
        raise UserError(f"list file {str(file)!r} does not exist")
    try:
        text = read_photo_file(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"list file {str(file)!r} is not UTF-8 text") from error
    except OSError as error:
        raise UserError(f"list file {str(file)!r}: {first_line(error)}") from error
    # `splitlines` would break names at other characters, too.
    entries = [line.partition("\t") for line in text.split("\n") if line.strip()]
    names = [name.strip() for name, _, _ in entries]
    classes = [label.strip() or None for _, _, label in entries]
    files = [file.parent / name for name in names]
    _require_readable(files, f"list {str(file)!r}", looked_for=FORMATS)
    return FileSource(plain(file.stem), files, names, classes)


def find_images(
    folder: Path, endings: Sequence[str] = EXTENSIONS + OTHER_EXTENSIONS
) -> list[Path]:
    """Files below `folder` that are photos by their extension, sorted.

    Links to files and folders are followed, wherever they lead, each folder once and
    by the path without a link where it has one. What is called by a dot at the
    beginning is hidden.

    Args:
        folder: Where to look.
        endings: Extensions, lower case.

    Raises:
        UserError: A folder may not be read.
    """
    images, seen = [], set()
    pending, linked = [Path(folder)], []
    while pending or linked:
        # Links come last, and all in one order: what is found hangs on no file system.
        if not pending:
            linked.sort(reverse=True)
            pending.append(linked.pop())
        current = pending.pop()
        real = os.path.realpath(current)
        if real in seen:
            continue
        seen.add(real)
        for entry in _entries(current):
            path = current / entry.name
            if _is_folder(entry):
                (linked if entry.is_symlink() else pending).append(path)
            elif entry.name.lower().endswith(tuple(endings)):
                images.append(path)
    return sorted(images)


def _entries(folder):
    """What is in a folder and not hidden; nothing where the folder is gone."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(
            f"folder {str(folder)!r} may not be read ({error.strerror or error})"
        ) from error


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself
        return False


def why_unreadable(file: Path) -> str | None:
    """Why a file holds no whole image in one of `FORMATS`; None where it does."""
    try:
        data = read_photo_file(file)
        header = photo_header(data)
        if header.scale > 1:  # too large to be tried here
            return None
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.load()
    except UNREADABLE as error:
        return first_line(error)
    return None


def _require_readable(files: Sequence[Path], where: str, looked_for) -> None:
    """Stops at the first good file, so a healthy data set costs one decoding."""
    kinds, first = " ".join(looked_for), None
    for file in files:
        reason = why_unreadable(file)
        if reason is None:
            return
        first = first or f"{plain(file.name)}: {reason}"
    if not files:
        raise UserError(f"{where} has no images; looked for {kinds}")
    raise UserError(
        f"{where} names {len(files)} images and none can be read (first {first}); "
        f"allowed: {kinds}"
    )


def _split_folder(root: Path, split: str) -> Path | None:
    visible = _subfolders(root)
    tests = [name for name in TEST_FOLDERS if name in visible]
    has_splits = "train" in visible and (tests or visible == {"train"})
    if split == "train":
        return root / "train" if has_splits else root
    if split == "test" and has_splits and tests:
        labelled = [name for name in tests if len(_subfolders(root / name)) > 1]
        return root / (labelled or tests)[0]
    if split != "test" and split in visible:
        return root / split
    allowed = ", ".join(["train", "test", *sorted(visible)][:8])
    return _no_split(split, f"folder:{root}", allowed)


def _no_split(split: str, source: str, allowed: str) -> None:
    if split != "test":
        raise UserError(f"{source} has no split {split!r}; allowed: {allowed}")
    return None


def _subfolders(folder: Path) -> set[str]:
    return {entry.name for entry in _entries(folder) if _is_folder(entry)}


def _sibling_classes(root: Path, folder: Path) -> set[str]:
    """Class folders of the other splits, so that an index means one class in all."""
    if folder == root:
        return set()
    splits = {"train", folder.name, *TEST_FOLDERS}
    siblings = [root / name for name in splits if (root / name).is_dir()]
    return set().union(*(_subfolders(sibling) for sibling in siblings))
