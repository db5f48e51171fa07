"""One shard while it is written, its part of the index, and all parts joined."""

import json
import os
import zipfile

import numpy as np
import tensorflow as tf

from dino_tf.checksums import sha256_of
from dino_tf.datasets import shards as files


class Part:
    """One shard and its part of the index.

    Args:
        folder: Folder of the split.
        number: Number of the shard.

    Attributes:
        facts: Plain values of it: "visited" is the number of photos that were asked
            for, "left_out" and "not_smaller" are lists of [place among them, id,
            reason]; after `close` also "rows", "bytes" and "sha256".
    """

    def __init__(self, folder, number):
        self.number, self.file = number, folder / files.shard_name(number)
        self.part = part_file(folder, number)
        self.facts = {"visited": 0, "left_out": [], "not_smaller": []}
        self._size, self._rows, self._names, self._labels = 0, [], bytearray(), []
        self._writer = tf.io.TFRecordWriter(str(beside(self.file)))

    def fits(self, record, limit):
        """Whether a record may follow the others in a shard of `limit` bytes."""
        if record.data is None or not self._rows:
            return True
        return self._size + len(record.data) + files.BEFORE + files.AFTER <= limit

    def add(self, record):
        """Writes a record, or notes why it is left out."""
        for what in ("left_out", "not_smaller"):
            if (reason := getattr(record, what)) is not None:
                place = self.facts["visited"]
                self.facts[what].append([place, record.name, reason])
        self.facts["visited"] += 1
        if record.data is None:
            return
        self._writer.write(record.data)
        self._names += record.name.encode("utf-8", "replace")
        self._labels += record.labels
        place = (self.number, self._size, len(record.data), record.crc, *record.image)
        self._rows.append((*place, len(self._names), len(self._labels)))
        self._size += len(record.data) + files.BEFORE + files.AFTER

    def close(self):
        """Puts the shard, and then its part of the index, in place; the facts."""
        self._writer.close()
        to_disk(beside(self.file))
        self.facts |= {
            "rows": len(self._rows),
            "bytes": self._size,
            "sha256": sha256_of(beside(self.file)),
        }
        arrays = {
            "records": np.array(self._rows, files.ROW),
            "names": np.frombuffer(self._names, files.ARRAYS["names"]),
            "labels": np.array(self._labels, files.ARRAYS["labels"]),
            "facts": np.frombuffer(json.dumps(self.facts).encode(), np.uint8),
        }
        with open(beside(self.part), "wb") as file:
            np.savez(file, **arrays)
        to_disk(beside(self.part))
        beside(self.file).replace(self.file)
        beside(self.part).replace(self.part)
        return self.facts


def part_file(folder, number):
    """File that holds a shard's part of the index until all are there."""
    return folder / f"{number:05d}.npz"


def read_facts(folder, number):
    """`Part.facts` of a finished shard, or None where it is not there and whole."""
    try:
        with np.load(part_file(folder, number), allow_pickle=False) as part:
            facts = json.loads(part["facts"].tobytes())
        size = (folder / files.shard_name(number)).stat().st_size
    except (OSError, ValueError, LookupError, zipfile.BadZipFile):
        return None
    return facts if size == facts["bytes"] else None


def join(folder, count):
    """Joins the parts of `count` shards to the arrays of the index.

    One part after the other is in memory.

    Returns:
        Dictionary from the names of the arrays to the SHA-256 of their files.
    """
    sizes = dict.fromkeys(files.ARRAYS, 0)
    for number in range(count):
        with np.load(part_file(folder, number), allow_pickle=False) as part:
            sizes = {name: size + len(part[name]) for name, size in sizes.items()}
    temporary = {name: beside(folder / f"{name}.npy") for name in files.ARRAYS}
    whole = {
        name: np.lib.format.open_memmap(
            file, "w+", files.ARRAYS[name], (sizes[name],), version=(1, 0)
        )
        for name, file in temporary.items()
    }
    at = dict.fromkeys(files.ARRAYS, 0)
    for number in range(count):
        with np.load(part_file(folder, number), allow_pickle=False) as part:
            arrays = {name: part[name] for name in files.ARRAYS}
        arrays["records"]["name_end"] += at["names"]
        arrays["records"]["label_end"] += at["labels"]
        for name, array in arrays.items():
            whole[name][at[name] : at[name] + len(array)] = array
            at[name] += len(array)
    sums = {}
    for name, file in temporary.items():
        whole.pop(name).flush()
        to_disk(file)
        sums[name] = sha256_of(file)
        file.replace(folder / f"{name}.npy")
    return sums


def write_json(file, values):
    """Writes plain values, beside the place first."""
    text = json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False)
    with open(beside(file), "w", encoding="utf-8", errors="replace") as stream:
        stream.write(text + "\n")
    to_disk(beside(file))
    beside(file).replace(file)


def beside(file):
    """Where a file is written before it is renamed."""
    return file.with_name(f"{file.name}.{os.getpid()}.tmp")


def to_disk(file):
    """Waits until a file is on the disk, so that a rename never is before it."""
    with open(file, "rb+") as stream:
        os.fsync(stream.fileno())
