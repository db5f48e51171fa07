"""BDD100K: photos of streets, with boxes where one of its label files is there."""

import threading
from pathlib import Path

from dino_tf.datasets.bdd100k_labels import CATEGORIES, read_labels
from dino_tf.datasets.folder import EXTENSIONS, FileSource, find_images
from dino_tf.datasets.json_files import LeftOut
from dino_tf.datasets.source import classes_of, digest_of_files
from dino_tf.errors import UserError

# Below a root, in this order: as the archives unpack, and as they are mirrored.
ROOTS = ("", "bdd100k", "bdd100k_images_100k", "bdd100k_images_100k/bdd100k")
LABEL_ROOTS = (
    "",
    "bdd100k",
    "bdd100k_labels_release",
    "bdd100k_labels_release/bdd100k",
)
PHOTOS = ("images/100k", "100k", "images", "")
FOLDERS = {"train": ("train",), "test": ("val", "valid")}
# `{}` is train or val: boxes of 2020, those before in one file, and a file each photo.
LABELS = (
    "labels/det_20/det_{}.json",
    "det_20/det_{}.json",
    "labels/bdd100k_labels_images_{}.json",
    "bdd100k_labels_images_{}.json",
    "labels/100k/{}",
    "labels/{}",
)


class BDD100K(FileSource):
    """The photos of one folder; labels are read when they are first asked for.

    Args:
        name: Name of the source.
        photos: Folder of the photos, looked through with all that is below it.
        labels: File or folder of labels; see `read_labels`. None is without: then
            there are no classes.

    Raises:
        UserError: There is no photo.
    """

    def __init__(self, name, photos, labels=None):
        files = find_images(Path(photos), EXTENSIONS)
        if not files:
            raise UserError(f"{photos} has no photos; allowed: {' '.join(EXTENSIONS)}")
        names = [file.relative_to(photos).as_posix() for file in files]
        classes = CATEGORIES if labels else ()
        super().__init__(name, files, names, [None] * len(files), classes)
        self._labels_at, self._found = labels, None
        self.left_out, self._reading = LeftOut(), threading.Lock()

    def stamp(self):
        labels = [self._labels_at] if self._labels_at else []
        names = [*self._ids, *("labels" for _ in labels)]
        return digest_of_files([*self._files, *labels], names)

    def labels(self, index):
        """The classes of all boxes."""
        return classes_of(self.boxes(index))

    def boxes(self, index):
        """Boxes, or None where the labels do not name the photo.

        Raises:
            UserError: The labels are no labels of BDD100K.
        """
        if self._labels_at is None:
            return None
        with self._reading:
            if self._found is None:
                found = read_labels(self._labels_at, self.left_out)
                self._found = dict(found)
        return self._found.get(self._files[index].stem)

    def about(self):
        """Where the labels are, how many photos they name, and what was left out."""
        if self._labels_at is None:
            return ["no labels found: photos without boxes"]
        boxes = [self.boxes(i) for i in range(len(self))]
        named = [found for found in boxes if found is not None]
        count = sum(map(len, named))
        lines = [f"{count:,} boxes; {len(named):,} photos named in {self._labels_at}"]
        return lines + self.left_out.lines("labels")


def open_bdd100k(root, split="train"):
    """Opens the photos of a split of BDD100K.

    Args:
        root: Folder that holds `images/100k/train`, `100k/train` or `train`, itself or
            as `bdd100k`; labels are looked for in `LABELS` beside them.
        split: "train", "test" (`val`, or `valid`), or the name of a folder beside
            them; the folder `test` of the data set, whose labels are not public, is
            "unlabelled".

    Returns:
        The source, or None when `split` is "test" and there is neither folder.

    Raises:
        UserError: No such folder, or a split that is not there.
    """
    root = Path(root).expanduser()
    found = next(filter(None, (_splits(root / name) for name in ROOTS)), None)
    if found is None:
        raise UserError(
            f"no BDD100K in {root}; allowed: a folder with images/100k/train, "
            "100k/train or train, of photos"
        )
    names = {"unlabelled": ("test",)} | FOLDERS
    names = names.get(split, (split,) if split != "test" else ())
    folder = next((name for name in names if name in found), None)
    if folder is not None:
        labels = _labels(root, "val" if folder == "valid" else folder)
        return BDD100K(f"bdd100k/{folder}", found[folder], labels)
    if split == "test":
        return None
    known = [name for name in found if name not in ("train", "test")]
    known += ["unlabelled"] if "test" in found else []
    allowed = ", ".join(["train", *known])
    raise UserError(f"{root} has no split {split!r}; allowed: {allowed}")


def _splits(root):
    """{name: folder of photos} below a root; None without `train` or `val`."""
    for name in PHOTOS:
        folder = root / name
        if any((folder / one).is_dir() for one in ("train", "val", "valid")):
            there = sorted(path for path in folder.iterdir() if path.is_dir())
            return {path.name: path for path in there if path.name[0] != "."}
    return None


def _labels(root, name):
    """File or folder of the labels of train or val, or None."""
    for place in LABEL_ROOTS:
        for form in LABELS:
            path = root / place / form.format(name)
            if path.is_file() or (path.is_dir() and any(path.glob("*.json"))):
                return path
    return None
