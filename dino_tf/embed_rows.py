"""Rows of features on the disk while they come, so that a run can go on later."""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dino_tf.errors import UserError
from dino_tf.run_folder import write_text

# Bytes of a column that are in memory at once.
CHUNK = 1 << 25
STATE = "state.json"
INDEX = "index"


@dataclass(frozen=True)
class Column:
    """One kind of numbers that every photo has.

    Attributes:
        name: Of the column and its file.
        dtype: Of the numbers.
        shape: Of one photo's, () for a single number.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()

    @property
    def row_bytes(self):
        """Bytes of one photo."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape)


class Rows:
    """A folder with one file a column, to which batches are appended.

    What was appended counts once `state.json` says so: after a kill in the middle of a
    batch its torn rows are cut off, and the batch is done again.

    Args:
        folder: The folder; made where it is missing.
        columns: List of `Column`.
        settings: {name: value} that JSON can write, of all that rows depend on.

    Attributes:
        count: Rows that are there.
        next: Place in the data of the first photo that was not looked at.

    Raises:
        UserError: The folder holds rows of other settings, damaged ones, or no rows.
    """

    def __init__(self, folder, columns, settings):
        self.folder = Path(folder)
        self.columns = {c.name: c for c in (Column(INDEX, "<i8"), *columns)}
        self._settings = json.loads(json.dumps(settings))
        self.count, self.next = 0, 0
        if self.folder.exists():
            self._take_up()
        else:
            self.folder.mkdir(parents=True)
            self._save()
        self._files = {n: open(self._file(n), "ab") for n in self.columns}

    def _take_up(self):
        """Goes on where another run stopped."""
        try:
            state = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
            settings, count = state["settings"], state["rows"]
            self.next = state["next"]
        except (OSError, ValueError, LookupError) as error:
            raise UserError(
                f"{self.folder} is no unfinished run of embed; allowed: another --out"
            ) from error
        mine, keys = self._settings, self._settings.keys() | settings.keys()
        differ = sorted(k for k in keys if mine.get(k) != settings.get(k))
        if differ:
            told = ", ".join(_change(k, settings.get(k), mine.get(k)) for k in differ)
            raise UserError(
                f"{self.folder} was begun with other settings ({told}); allowed: the "
                "same, another --out, or removing it"
            )
        for name, column in self.columns.items():
            self._cut(self._file(name), count * column.row_bytes)
        self.count = count

    def _cut(self, file, size):
        file.touch()
        if file.stat().st_size < size:
            raise UserError(f"{file} has lost its end; allowed: removing {self.folder}")
        with open(file, "rb+") as opened:
            opened.truncate(size)

    def _file(self, name):
        return self.folder / f"{name}.rows"

    def append(self, index, arrays, following):
        """Adds the rows of a batch.

        Args:
            index: int64 (b,), places of the photos.
            arrays: {name: (b, ...)} of the other columns.
            following: Place of the first photo after the batch.
        """
        for name, values in {INDEX: index, **arrays}.items():
            values = np.ascontiguousarray(values, self.columns[name].dtype)
            self._files[name].write(values.data)
            self._files[name].flush()
        self.count, self.next = self.count + len(index), following
        self._save()

    def _save(self):
        state = {"rows": self.count, "next": self.next, "settings": self._settings}
        write_text(self.folder / STATE, json.dumps(state))

    def chunk_rows(self, names=None):
        """How many rows of some columns, None for all, are read at once."""
        names = self.columns if names is None else names
        widest = sum(self.columns[name].row_bytes for name in names)
        return max(1, CHUNK // widest)

    def chunks(self, names):
        """Rows of some columns, from the first on.

        Yields:
            {name: array (b, ...)}.
        """
        step = self.chunk_rows(names)
        for start in range(0, self.count, step):
            rows = min(step, self.count - start)
            yield {name: self._read(name, start, rows) for name in names}

    def _read(self, name, start, rows):
        column = self.columns[name]
        with open(self._file(name), "rb") as file:
            file.seek(start * column.row_bytes)
            values = np.fromfile(file, column.dtype, rows * math.prod(column.shape))
        return values.reshape(rows, *column.shape)

    def close(self):
        """Ends the writing; what is there stays."""
        for file in self._files.values():
            file.close()

    def remove(self):
        """Removes the folder, of which nothing is needed any more."""
        self.close()
        shutil.rmtree(self.folder)


def _change(key, old, new):
    """What changed, but for digests, which say nothing to a person."""
    texts = [str(old), str(new)]
    return key if max(map(len, texts)) > 40 else f"{key} {' -> '.join(texts)}"
