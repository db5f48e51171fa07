"""The record contract: what every data set offers to the rest of the program.

A source knows its records and how many there are, nothing about training. A new
data set is one file with a subclass of `Source` and one line in
`dino_tf.datasets.KINDS`.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Boxes:
    """Object boxes of one photo; the n objects keep the order of the annotation.

    Args:
        xyxy: float32 (n, 4): left, top, right, bottom in pixels, from the outer edge
            of the first pixel, so that a box around a whole photo is (0, 0, W, H).
        classes: int64 (n,), indices into the source's `class_names`.
        difficult: bool (n,), objects that evaluations may leave out.
    """

    xyxy: np.ndarray
    classes: np.ndarray
    difficult: np.ndarray

    @classmethod
    def of(cls, xyxy, classes, difficult) -> "Boxes":
        """Boxes from plain sequences of equal length, which may be empty."""
        return cls(
            np.asarray(xyxy, np.float32).reshape(-1, 4),
            np.asarray(classes, np.int64),
            np.asarray(difficult, bool),
        )

    def __len__(self) -> int:
        return len(self.xyxy)


@dataclass(frozen=True)
class Record:
    """Everything a source knows about one photo; see `Source` for each field."""

    id: str
    image: bytes
    labels: tuple[int, ...]
    boxes: Boxes | None
    mask: np.ndarray | None


class Source:
    """A data set with random access; subclasses give length, names and bytes.

    All methods may be called from several threads at once.

    Attributes:
        name: short name for logs and tables.
        class_names: names of the classes, empty when the data set has no labels.
    """

    name: str = ""
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        raise NotImplementedError

    def id(self, index: int) -> str:
        """Unique relative name of the photo that is safe as a file name.

        It may contain `/` but neither `..` nor a leading `/`.
        """
        raise NotImplementedError

    def image_bytes(self, index: int) -> bytes:
        """Encoded image file (JPEG, PNG, GIF, BMP or WebP).

        Raises:
            OSError: The file cannot be read.
        """
        raise NotImplementedError

    def labels(self, index: int) -> tuple[int, ...]:
        """Sorted class indices of the photo, empty when unknown; reads no pixels."""
        return ()

    def boxes(self, index: int) -> Boxes | None:
        """Object boxes, or None when the photo has no annotation of boxes."""
        return None

    def mask(self, index: int) -> np.ndarray | None:
        """Class mask uint8 (H, W): 0 background, 1 + class index, 255 void; or None."""
        return None

    def objects(self, index: int) -> np.ndarray | None:
        """Instance mask (H, W) of integers, or None where objects are not told apart.

        0 background, 1, 2, ... the objects, 255 void. Numbers may be missing.
        """
        return None

    def stamp(self) -> str:
        """Text that changes when photos or masks do, so that results are kept by it.

        Here of all names, bytes and masks; sources that know sooner say so.

        Raises:
            OSError: An image file cannot be read.
        """
        return digest(
            (
                self.id(i),
                hashlib.sha256(self.image_bytes(i)).hexdigest(),
                digest_of_array(self.mask(i)),
                digest_of_array(self.objects(i)),
            )
            for i in range(len(self))
        )

    def damage(self) -> list[str]:
        """A line for every file that is known not to be as it was written.

        Single photos are not looked at. Here nothing is known.
        """
        return []

    def about(self) -> list[str]:
        """Lines for a person who checks the data, beyond counts of photos and labels.

        Masks are read for them, so that broken ones are found.

        Raises:
            UserError: A mask is broken.
        """
        return []

    def record(self, index: int) -> Record:
        """All that is known about one photo.

        Raises:
            OSError: The image file cannot be read.
        """
        return Record(
            self.id(index),
            self.image_bytes(index),
            self.labels(index),
            self.boxes(index),
            self.mask(index),
        )

    def subset(self, indices: Iterable[int]) -> "Source":
        """The records at `indices`, in that order, as a source of its own.

        Raises:
            IndexError: An index is not in `range(len(self))`.
        """
        return Subset(self, indices)


class Subset(Source):
    """Chosen records of another source."""

    def __init__(self, parent: Source, indices: Iterable[int]):
        self.indices = tuple(int(i) for i in indices)
        for index in self.indices:
            if not 0 <= index < len(parent):
                raise IndexError(f"index {index} is not in 0..{len(parent) - 1}")
        self.parent = parent
        self.name = parent.name
        self.class_names = parent.class_names

    def __len__(self):
        return len(self.indices)

    def id(self, index):
        return self.parent.id(self.indices[index])

    def image_bytes(self, index):
        return self.parent.image_bytes(self.indices[index])

    def labels(self, index):
        return self.parent.labels(self.indices[index])

    def boxes(self, index):
        return self.parent.boxes(self.indices[index])

    def mask(self, index):
        return self.parent.mask(self.indices[index])

    def objects(self, index):
        return self.parent.objects(self.indices[index])

    def stamp(self):
        return digest([self.parent.stamp(), *self.indices])

    def damage(self):
        return self.parent.damage()


def classes_of(boxes: Boxes | None) -> tuple[int, ...]:
    """The sorted classes of all boxes, none where there are no boxes."""
    return tuple(sorted(set(boxes.classes.tolist()))) if boxes else ()


def digest(parts: Iterable) -> str:
    """SHA-256 in hexadecimal of a sequence of plain values."""
    result = hashlib.sha256()
    for part in parts:
        result.update(repr(part).encode() + b"\n")
    return result.hexdigest()


def digest_of_array(array: np.ndarray | None) -> str | None:
    """SHA-256 in hexadecimal of the form and content of an array; None of None."""
    if array is None:
        return None
    array = np.ascontiguousarray(array)
    form = repr((array.dtype.str, array.shape)).encode()
    return hashlib.sha256(form + array.tobytes()).hexdigest()


def digest_of_files(files: Iterable[Path], names: Iterable[str]) -> str:
    """Digest of names, lengths and times of files; a missing one has neither."""

    def facts(file):
        try:
            about = file.stat()
        except OSError:
            return None
        return about.st_size, about.st_mtime_ns

    return digest((n, facts(f)) for f, n in zip(files, names, strict=True))


def unique_names(names: Sequence[str]) -> list[str]:
    """Turns any names or paths into unique, filesystem-safe relative ones.

    Characters outside letters, digits and `._-+= /()[]{}&',;!@#%~` become `_`, so that
    the names of most files stay as they are; empty, `.` and `..` parts go. Names that
    then differ at most by case get `~2`, `~3`, ... before their extension, since some
    file systems ignore case.
    """
    taken: set[str] = set()
    result = []
    for name in names:
        parts = re.sub(
            r"[^\w.\-+= /()\[\]{}&',;!@#%~]", "_", name.replace("\\", "/")
        ).split("/")
        parts = [part.strip() for part in parts]
        safe = "/".join(part for part in parts if part not in ("", ".", "..")) or "_"
        result.append(_untaken(safe, taken))
        taken.add(result[-1].casefold())
    return result


def _untaken(name: str, taken: set[str]) -> str:
    folder, slash, last = name.rpartition("/")
    stem, dot, extension = last.rpartition(".")
    if not stem:
        stem, dot, extension = last, "", ""
    candidate, count = name, 1
    while candidate.casefold() in taken:
        count += 1
        candidate = f"{folder}{slash}{stem}~{count}{dot}{extension}"
    return candidate
