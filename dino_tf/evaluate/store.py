"""Arrays that were computed before, kept by what they depend on."""

import hashlib
import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from dino_tf.errors import UserError

# A damaged directory of the archive may seem encrypted (RuntimeError) or packed in
# another way (NotImplementedError, a kind of it).
DAMAGED = (OSError, ValueError, EOFError, KeyError, RuntimeError)
DAMAGED += (zipfile.BadZipFile, zlib.error)


class Store:
    """A folder of arrays, each under a key made of everything they depend on.

    Nothing in it is of any worth but time: it may be deleted at any moment.

    Args:
        folder: Where the arrays lie; made when the first ones are kept. None keeps
            nothing.
    """

    def __init__(self, folder=None):
        self.folder = None if folder is None else Path(folder)

    def arrays(self, what, depends, compute):
        """What `compute()` returned for equal `depends`, now or earlier.

        Args:
            what: A short name, which begins the file's name.
            depends: Anything that JSON can write: weights, data, sizes, options and
                the version of the rule that computes the arrays.
            compute: Function without arguments that returns a dictionary from names
                to arrays.

        Returns:
            Dictionary from names to arrays.

        Raises:
            UserError: They cannot be written, as on a full disk.
        """
        if self.folder is None:
            return compute()
        file, kept = self._file(what, depends), self.kept(what, depends)
        if kept is None:
            kept = compute()
            try:
                _write(file, kept)
            except OSError as error:
                raise UserError(
                    f"{file} cannot be written ({error.strerror or error}); allowed: a "
                    "cache with room in it, or none"
                ) from error
        return kept

    def kept(self, what, depends):
        """The arrays that were kept under a key; None where there are none.

        For the arguments see `arrays`.
        """
        return None if self.folder is None else _read(self._file(what, depends))

    def _file(self, what, depends):
        return self.folder / f"{what}-{fingerprint(depends)[:24]}.npz"


def fingerprint(value):
    """SHA-256 of anything that JSON can write, in hexadecimal."""
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value):
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is nothing that arrays may depend on")


def _read(file):
    """The arrays of a file, None where it is missing or damaged."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except DAMAGED:
        return None


def _write(file, arrays):
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=file.parent, suffix=".unfinished")
    try:
        with os.fdopen(descriptor, "wb") as opened:
            np.savez(opened, **arrays)
        os.replace(unfinished, file)
    except BaseException:
        os.unlink(unfinished)
        raise
