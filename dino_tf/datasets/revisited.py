"""Photos to be searched for, with ground truth: revisited Oxford and Paris."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dino_tf.datasets.folder import EXTENSIONS, FileSource
from dino_tf.errors import UserError, first_line, plain
from dino_tf.models.torch_tensors import Budget, Damaged, Refused
from dino_tf.models.torch_unpickler import unpickle
from dino_tf.photo_files import read_photo_file

LISTS = ("easy", "hard", "junk")


@dataclass(frozen=True)
class Query:
    """A photo that is searched for.

    Attributes:
        photo: its index in the source.
        box: (left, top, right, bottom) of what is searched for, in pixels, as the
            ground truth tells it; None where it tells none.
        easy: int64, indices of photos that show it well.
        hard: int64, of photos that show it badly.
        junk: int64, of photos that are not judged, such as those that show too little.
    """

    photo: int
    box: tuple | None
    easy: np.ndarray
    hard: np.ndarray
    junk: np.ndarray


class Revisited(FileSource):
    """A gallery of photos, queries, and what of the gallery shows what they show.

    Args:
        truth: file of the ground truth: a dictionary of "imlist" and "qimlist", names
            of the photos of the gallery and of the queries, with or without extension,
            and "gnd", for each query {"bbx", "easy", "hard", "junk"}; see `Query`. A
            pickle, of which nothing is executed, or the same as JSON.

    Attributes:
        gallery: number of photos that are searched, which come first.
        queries: a `Query` for each photo after them.

    Raises:
        UserError: The file is missing, damaged or no such ground truth, or no photo
            is in the folder `jpg` beside it.

    Reference:
        Radenović et al. 2018, arXiv 1803.11285; filipradenovic/revisitop.
    """

    def __init__(self, truth):
        truth = Path(truth)
        found = read_ground_truth(truth)
        names = _names(truth, found, "imlist") + _names(truth, found, "qimlist")
        self.gallery = len(found["imlist"])
        files = [_file(truth.parent / "jpg", name) for name in names]
        if not any(file.is_file() for file in files):
            raise UserError(
                f"none of the {len(files)} photos of {truth.name} is in "
                f"{truth.parent / 'jpg'}, such as {files[0].name}"
            )
        ids = [n if i < self.gallery else f"query/{n}" for i, n in enumerate(names)]
        self.queries = _queries(truth, found, self.gallery)
        name = plain(truth.parent.absolute().name)
        super().__init__(f"revisited/{name}", files, ids, [None] * len(files))


def open_revisited(argument: str, split: str = "train") -> Revisited | None:
    """Opens photos with ground truth; all of them are the split "train".

    Args:
        argument: folder with `gnd_NAME.pkl` (or `.json`) and `jpg/`, or the file.
        split: "train".

    Returns:
        The source, or None when `split` is "test".

    Raises:
        UserError: For missing or damaged files, or another split.
    """
    if split not in ("train", "test"):
        raise UserError(f"revisited:{argument} has no split {split!r}; allowed: train")
    return None if split == "test" else Revisited(_truth_file(argument))


def read_ground_truth(file: Path):
    """The dictionary in a file of ground truth; see `Revisited`.

    Only numbers, texts, lists, dictionaries and arrays are made of a pickle; whatever
    else it names, calls or sets makes the whole file be refused.

    Raises:
        UserError: The file cannot be read or is refused, or has other parts.
    """
    try:
        data = read_photo_file(file)
        if file.suffix.lower() == ".json":
            found = json.loads(data)
        else:
            found = unpickle(io.BytesIO(data), Budget(len(data)))
    except (OSError, Damaged, Refused, ValueError, RecursionError) as error:
        raise UserError(f"ground truth {file}: {first_line(error)}") from error
    parts = ("imlist", "qimlist", "gnd")
    if not isinstance(found, dict) or any(part not in found for part in parts):
        raise UserError(f"ground truth {file} lacks a part; allowed: all of {parts}")
    if not isinstance(found["gnd"], list | tuple):
        raise _wrong(file, "gnd is no list")
    if len(found["gnd"]) != len(_names(file, found, "qimlist")) or not found["gnd"]:
        raise _wrong(file, "gnd has not an entry for each of the queries, at least one")
    return found


def _wrong(file, words):
    return UserError(f"ground truth {file}: {words}")


def _truth_file(argument):
    root = Path(argument).expanduser()
    if root.is_file():
        return root
    if not root.is_dir():
        raise UserError(f"revisited:{argument}: no such folder")
    found = sorted([*root.glob("gnd_*.pkl"), *root.glob("gnd_*.json")])
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UserError(
            f"revisited:{argument}: files of ground truth: {names}; allowed: one "
            "gnd_NAME.pkl or gnd_NAME.json, or revisited:FILE"
        )
    return found[0]


def _names(file, found, part):
    names = found[part]
    names = names.tolist() if isinstance(names, np.ndarray) else names
    if not isinstance(names, list | tuple) or not names:
        raise _wrong(file, f"{part} is no list of names")
    for name in names:
        safe = isinstance(name, str) and name and "\0" not in name
        if not safe or Path(name).is_absolute() or ".." in Path(name).parts:
            raise _wrong(file, f"{part} has {name!r:.80}; allowed: names below jpg/")
    return list(names)


def _file(folder, name):
    """Path of a photo by its name, which may lack the extension."""
    whole, ends = folder / name, (*EXTENSIONS, ".JPG", ".JPEG", ".PNG")
    if name.lower().endswith(EXTENSIONS) and whole.exists():
        return whole
    files = [folder / f"{name}{end}" for end in ends]
    return next((file for file in files if file.exists()), files[0])


def _queries(file, found, gallery):
    queries = []
    for row, entry in enumerate(found["gnd"]):
        what = f"query {row + 1} ({found['qimlist'][row]})"
        if not isinstance(entry, dict):
            raise _wrong(file, f"{what} has no dictionary")
        lists = [_places(file, what, entry, key, gallery) for key in LISTS]
        queries.append(Query(gallery + row, _box(file, what, entry), *lists))
    return tuple(queries)


def _places(file, what, entry, key, gallery):
    if key not in entry:
        raise _wrong(file, f"{what} lacks {key}; allowed: all of {LISTS}")
    values = _numbers(file, what, entry[key])
    known = np.isfinite(values) & (values == np.floor(values))
    if not (known & (values >= 0) & (values < gallery)).all():
        raise _wrong(file, f"{what}: {key} is not all of 0 to {gallery - 1}")
    return values.astype(np.int64)


def _box(file, what, entry):
    if entry.get("bbx") is None:
        return None
    values = _numbers(file, what, entry["bbx"])
    if values.shape != (4,) or not np.isfinite(values).all():
        raise _wrong(file, f"{what}: bbx is not of four numbers")
    return tuple(values.tolist())


def _numbers(file, what, values):
    """float64 (n,) of a list or array of numbers."""
    try:
        return np.asarray(values, np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError) as error:
        raise _wrong(file, f"{what} has other than numbers") from error
