"""TFRecord shards with an index, for data sets of any size: `shards:PATH`.

A folder of shards has a folder for each split, and that

    00000.tfrecord ...   the records, in the order of the source; `shard_records`
    records.npy          one `ROW` for each record: where it lies, and its checksum
    names.npy            uint8, the ids in UTF-8, one after the other
    labels.npy           int32, the class indices of all records, one after the other
    index.json           shards, classes and checksums; written last

Nothing is listed and nothing is read at the opening but `index.json`: the arrays are
mapped, so that an open source costs the pages that are looked at. No file is named
in the index, so that it leads nowhere but into its own folder.
"""

import json
import os
import stat
import threading
import weakref
import zlib
from collections import OrderedDict
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np

from dino_tf.checksums import sha256_of
from dino_tf.datasets.shard_records import DamagedRecord, array_of, boxes_of
from dino_tf.datasets.source import Source, digest, unique_names
from dino_tf.errors import UserError, first_line

FORMAT = "dino_tf shards 1"
INDEX, UNFINISHED = "index.json", "writing.json"
# Where a record lies (shard, first byte and length of the serialized Example, CRC-32
# of it, first byte and length of the photo in it) and where its id and labels end.
ROW = np.dtype(
    [
        ("shard", "<u4"),
        ("offset", "<u8"),
        ("length", "<u4"),
        ("crc", "<u4"),
        ("image", "<u4"),
        ("image_length", "<u4"),
        ("name_end", "<u8"),
        ("label_end", "<u8"),
    ]
)
ARRAYS = {"records": ROW, "names": np.dtype("u1"), "labels": np.dtype("<i4")}
# A TFRecord is 8 bytes of length, 4 of its checksum, the record, 4 of its checksum.
BEFORE, AFTER = 12, 4
# Files open at once; others are opened again when they are needed.
MOST_OPEN = 256
LONGEST_NAME = 4096  # bytes


def shard_name(number):
    """File name of a shard."""
    return f"{number:05d}.tfrecord"


def split_folder(root, split):
    """Folder of a split; a name that holds `/` and the like is quoted.

    Raises:
        UserError: The name is empty or begins with a dot.
    """
    if not split or split.startswith("."):
        raise UserError(f"split is {split!r}; allowed: a name such as train")
    return Path(root).expanduser() / quote(split, safe="")


class ShardSource(Source):
    """One split of a folder of shards.

    Args:
        folder: The folder of the split.

    Raises:
        UserError: The index is no such index, or a file is missing or has another
            length than when it was written.
    """

    def __init__(self, folder):
        self._folder = Path(folder)
        self._index = read_index(self._folder)
        self.name = self._index["name"]
        self.class_names = tuple(self._index["class_names"])
        self._sizes = [shard["bytes"] for shard in self._index["shards"]]
        for number, size in enumerate(self._sizes):
            _require_size(self._folder / shard_name(number), size)
        arrays = {name: _mapped(self._folder, name) for name in ARRAYS}
        self._rows, self._names, self._labels = arrays.values()
        if len(self._rows) != self._index["records"] or not len(self._rows):
            raise UserError(
                f"{self._folder} has {len(self._rows)} records in records.npy; "
                f"allowed: {self._index['records']}, as {INDEX} says, and 1 or more"
            )
        self._name_ends, self._label_ends = (
            self._rows[field] for field in ("name_end", "label_end")
        )
        numbers = range(len(self._sizes))
        self._files = OpenFiles(self._folder / shard_name(k) for k in numbers)

    def __len__(self):
        return len(self._rows)

    def id(self, index):
        start, end = _span(self._name_ends, index)
        end = min(end, start + LONGEST_NAME)
        return _safe(self._names[start:end].tobytes().decode("utf-8", "replace"))

    def image_bytes(self, index):
        """The encoded file as the first source gave it.

        Raises:
            DamagedRecord: An `OSError`: the record is not as it was written.
        """
        data, (start, length) = self._read(index)
        return data[start : start + length]

    def labels(self, index):
        start, end = _span(self._label_ends, index)
        labels = self._labels[start : min(end, start + len(self.class_names))]
        self._require_classes(index, labels)
        return tuple(labels.tolist())

    def boxes(self, index):
        boxes = boxes_of(self._read(index)[0])
        if boxes is not None:
            self._require_classes(index, boxes.classes)
        return boxes

    def mask(self, index):
        return array_of(self._read(index)[0], "mask")

    def objects(self, index):
        return array_of(self._read(index)[0], "objects")

    def stamp(self):
        files = [shard["sha256"] for shard in self._index["shards"]]
        return digest([FORMAT, *files, self._index["arrays"], self.class_names])

    def damage(self):
        """Reads every file whole and compares it with its SHA-256 in the index."""
        wanted = {
            shard_name(number): shard["sha256"]
            for number, shard in enumerate(self._index["shards"])
        }
        wanted |= {f"{name}.npy": sha for name, sha in self._index["arrays"].items()}
        files = ((self._folder / name, sha) for name, sha in wanted.items())
        return [line for file, sha in files if (line := _difference(file, sha))]

    def _require_classes(self, index, classes):
        if np.any((classes < 0) | (classes >= len(self.class_names))):
            raise DamagedRecord(
                f"record {index} of {self._folder} has a class that is none of the "
                f"{len(self.class_names)}"
            )

    def _read(self, index):
        """(serialized record, (first byte, length) of the photo in it)."""
        place = range(len(self))[index]
        shard, offset, length, crc, *image = self._rows[place].item()[:6]
        inside = shard < len(self._sizes) and sum(image) <= length
        if not inside or offset + length + BEFORE + AFTER > self._sizes[shard]:
            raise DamagedRecord(
                f"record {place} of {self._folder} is damaged (the index says that it "
                "lies outside its shard)"
            )
        data = self._files.read(shard, offset + BEFORE, length)
        if len(data) != length or zlib.crc32(data) != crc:
            raise DamagedRecord(
                f"record {place} is damaged ({shard_name(shard)}: wrong checksum)"
            )
        return data, image


class OpenFiles:
    """Files by number for reads at any place, from any thread, few open at a time.

    Args:
        paths: The files.
        most: How many stay open.
    """

    def __init__(self, paths, most=MOST_OPEN):
        self._paths, self._most = list(paths), most
        self._open = OrderedDict()  # number: [descriptor, reads under way]
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._open)

    def read(self, number, offset, length):
        """At most `length` bytes from `offset`; fewer at the end of the file.

        Raises:
            OSError: The file cannot be read.
        """
        entry = self._take(number)
        try:
            parts = []
            while length and (part := _pread(entry[0], length, offset, self._lock)):
                parts.append(part)
                offset, length = offset + len(part), length - len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            with self._lock:
                entry[1] -= 1

    def _take(self, number):
        with self._lock:
            if number not in self._open:
                self._make_room()
                flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
                self._open[number] = [os.open(self._paths[number], flags), 0]
            self._open.move_to_end(number)
            self._open[number][1] += 1
            return self._open[number]

    def _make_room(self):
        """Closes the longest unused file, unless all are being read."""
        if len(self._open) >= self._most:
            idle = (k for k, (_, reads) in self._open.items() if not reads)
            oldest = next(idle, None)
            if oldest is not None:
                os.close(self._open.pop(oldest)[0])


def open_shards(path, split="train"):
    """Opens a split of a folder that `main.py data shards` wrote.

    Args:
        path: The folder.
        split: "train", "test", or another split that was written.

    Returns:
        `ShardSource`, or None when `split` is "test" and there is none.

    Raises:
        UserError: The folder, the split or one of its files is not there.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"folder of shards {str(root)!r} does not exist")
    folder = split_folder(root, split)
    if (folder / INDEX).is_file():
        return ShardSource(folder)
    if (folder / UNFINISHED).is_file():
        raise UserError(
            f"the shards in {folder} are not finished; the same command, main.py data "
            "shards ..., goes on with them"
        )
    there = sorted(unquote(file.parent.name) for file in root.glob(f"*/{INDEX}"))
    if split == "test" and there:
        return None
    raise UserError(
        f"shards:{path} has no split {split!r}; allowed: "
        f"{', '.join(there) or 'a folder that main.py data shards wrote'}"
    )


def read_index(folder):
    """Contents of `index.json`, as dictionary.

    Raises:
        UserError: It is not there, or no such index.
    """
    file = Path(folder) / INDEX
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            raise ValueError(f"format {index['format']!r}")
        _check_types(index)
        return index
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{file} is no index of shards ({reason}); allowed: {FORMAT!r}"
        ) from error


def _difference(file, sha256):
    """What is wrong with a file in one line, or None."""
    try:
        found = sha256_of(file)
    except OSError as error:
        return f"{file} cannot be read ({error.strerror})"
    if found == sha256:
        return None
    return f"{file} is damaged (SHA-256 {found[:12]}..., {sha256[:12]}... expected)"


def _check_types(index):
    numbers = [index["records"], *(shard["bytes"] for shard in index["shards"])]
    sums = [index["arrays"][name] for name in ARRAYS]
    texts = [index["name"], *sums, *(shard["sha256"] for shard in index["shards"])]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a size is no number")
    if not all(isinstance(text, str) for text in [*texts, *index["class_names"]]):
        raise ValueError("a name or checksum is no text")


def _require_size(file, size):
    try:
        facts = os.stat(file)
    except OSError as error:
        raise UserError(f"{file} is missing ({error.strerror})") from error
    if not stat.S_ISREG(facts.st_mode) or facts.st_size != size:
        raise UserError(f"{file} has {facts.st_size} bytes; allowed: {size}")


def _mapped(folder, name):
    file, dtype = folder / f"{name}.npy", ARRAYS[name]
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise OSError("no regular file")
        # Unlike `np.load` no pickles; lets errors of Python's tokenizer through.
        array = np.lib.format.open_memmap(file, "r")
    except Exception as error:
        raise UserError(f"{file} cannot be read ({first_line(error)})") from error
    if array.dtype != dtype or array.ndim != 1:
        raise UserError(f"{file} is no index of shards; allowed: 1-D {dtype.descr}")
    return array.view(np.ndarray)


def _span(ends, index):
    """First and last place + 1 of what belongs to a record."""
    place = range(len(ends))[index]
    return int(ends[place - 1]) if place else 0, int(ends[place])


def _safe(name):
    """`name`, or a safe one where an index of unknown origin has another."""
    parts = name.split("/")
    odd = {"", ".", ".."} & set(parts) or "\\" in name or ":" in parts[0]
    return unique_names([name])[0] if odd or not name.isprintable() else name


def _pread(descriptor, length, offset, lock):
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, offset)
    with lock:  # Windows has no reads that leave the position alone
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, length)


def _close_all(files):
    for descriptor, _ in files.values():
        os.close(descriptor)
    files.clear()
