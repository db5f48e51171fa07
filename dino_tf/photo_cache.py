"""Decoded photos, kept within a stated budget so that each is decoded once.

What does not fit is decoded again. Nothing here changes the data: a kept photo has
the very pixels that decoding gives.
"""

import contextlib
import os
import tempfile
import threading
from pathlib import Path

import numpy as np

from .errors import UserError

_HEADER = 8  # bytes: height and width, 32 bits each
_UNIT = 4096  # bytes that one byte of the file of reservations stands for


class MemoryCache:
    """Photos in main memory; may be used by several threads.

    Args:
        gigabytes: The most that the pixels of all photos take, in 1e9 bytes.
    """

    def __init__(self, gigabytes):
        self._left = int(gigabytes * 1e9)
        self._photos = {}
        self._lock = threading.Lock()

    def get(self, index):
        """The photo uint8 (H, W, 3) kept under an index, or None."""
        return self._photos.get(index)

    def put(self, index, image):
        """Keep a photo, if it fits."""
        with self._lock:
            if image.nbytes <= self._left and index not in self._photos:
                self._left -= image.nbytes
                self._photos[index] = image


class DiskCache:
    """Photos as files of plain pixels; may be used by several threads and processes.

    Each data set has a folder of its own, named by its photos and the way that they
    are decoded; it may be deleted at any moment. Space is reserved before a photo is
    written, by lengthening a file that all processes share, so that together they
    keep to the budget.

    Args:
        folder: Folder of the caches of all data sets.
        key: Text that changes when photos or decoding do; letters and digits.
        gigabytes: The most that the files of this data set take, in 1e9 bytes.

    Raises:
        UserError: The folder cannot be made.
    """

    def __init__(self, folder, key, gigabytes):
        self._folder = Path(folder) / key
        self._units = int(gigabytes * 1e9) // _UNIT
        self._full = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"the cache {str(self._folder)!r} cannot be made "
                f"({error.strerror or error}); allowed: a folder that may be written, "
                "or pipeline.cache none"
            ) from error

    def get(self, index):
        """The photo uint8 (H, W, 3) kept under an index, or None."""
        try:
            data = np.fromfile(self._file(index), np.uint8)
        except OSError:
            return None
        if len(data) < _HEADER:
            return None
        height, width = (int(n) for n in data[:_HEADER].view("<u4"))
        if len(data) != _HEADER + 3 * height * width:
            return None
        return data[_HEADER:].reshape(height, width, 3)

    def put(self, index, image):
        """Keep a photo, if it fits; a disk that is full keeps no more."""
        if self._full:
            return
        try:
            # Deleted meanwhile, it begins anew.
            file = self._file(index)
            file.parent.mkdir(parents=True, exist_ok=True)
            if self._reserve(image.nbytes):
                _write(file, image)
        except OSError:
            self._full = True

    def _file(self, index):
        # A folder holds a thousand photos, as some file systems slow down with more.
        return self._folder / f"{index // 1000:06d}" / f"{index:09d}.rgb"

    def _reserve(self, size):
        units = -(-(size + _HEADER) // _UNIT)
        with open(self._folder / "reserved", "ab", buffering=0) as file:
            if os.fstat(file.fileno()).st_size + units > self._units:
                self._full = True
                return False
            # Appending is one indivisible act, whichever process does it.
            file.write(bytes(units))
        return True


def _write(file, image):
    height, width, _ = image.shape
    descriptor, unfinished = tempfile.mkstemp(dir=file.parent, suffix=".unfinished")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(np.array([height, width], "<u4").tobytes())
            opened.write(np.ascontiguousarray(image).data)
        os.replace(unfinished, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise
