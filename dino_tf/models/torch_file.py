"""Files of `torch.save`, read without PyTorch and without executing anything in them.

Three formats: a zip archive with the pickled object and a record per storage (PyTorch
1.6 and later), one stream of pickles with the storages behind them (0.1.10 to 1.5, and
`_use_new_zipfile_serialization=False` since), and a tar archive (earlier).

Reference: `torch/serialization.py` of PyTorch, functions `_load` and `_legacy_load`.
"""

import io
import mmap
import pathlib
import struct
import zipfile
import zlib

import numpy as np

from dino_tf.errors import UserError
from dino_tf.models.torch_legacy import MAGIC, read_stream, read_tar, tar_members
from dino_tf.models.torch_objects import storage_claim
from dino_tf.models.torch_tensors import Budget, Damaged, Refused, bytes_view, short
from dino_tf.models.torch_unpickler import WRONG, unpickle

# How files given by mistake begin: what they are, and what helps.
_OTHERS = {
    b"\x89HDF": ("an HDF5 file, as Keras writes to .h5", ""),
    b"\x93NUMPY": ("a NumPy array", ""),
    b"PK\x05\x06": ("an empty zip archive", ""),
    b"\x1f\x8b": ("packed by gzip", "unpack it first"),
    b"\xfd7zXZ": ("packed by xz", "unpack it first"),
    b"BZh": ("packed by bzip2", "unpack it first"),
    b"\x28\xb5\x2f\xfd": ("packed by zstd", "unpack it first"),
    b"version https://git-lfs": (
        "a pointer of Git LFS",
        "fetch the file itself with 'git lfs pull'",
    ),
}
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml")


class _Foreign(ValueError):
    """A file of another kind: (what it is, what helps)."""


def read_torch_file(path):
    """The object that `torch.save` wrote to a file, as plain Python objects.

    Tensors, parameters and storages become NumPy arrays (bfloat16 and the eight-bit
    floats by `ml_dtypes`), on whatever device they were. They cannot be written to and
    are views of the file, read when used: parts that nobody uses cost nothing, and the
    file must not be changed meanwhile. Tensors of one storage share their memory.
    Dictionaries, lists, tuples, sets, numbers, text, `argparse.Namespace` and NumPy
    values stay what they are; `torch.Size` becomes a tuple, `torch.device` and types
    of elements become text ("cuda:0", "torch.float32").

    Args:
        path: File of any version of PyTorch.

    Returns:
        The object.

    Raises:
        UserError: When there is no such file, it is of another kind, is damaged, or
            names anything else than the above. Nothing is executed in any case.
    """
    path = pathlib.Path(path)
    data = _map(path)
    try:
        return _READERS[_kind(data)](data, Budget(len(data)))
    except _Foreign as error:
        what, help_ = error.args
        words = f"{path} is {what}, not a file of torch.save"
        raise UserError(f"{words}; {help_}" if help_ else words) from error
    except Damaged as error:
        words = f"{path} is damaged or incomplete: {error}; copy or download it again"
        raise UserError(words) from error
    except Refused as error:
        raise UserError(
            f"{path} is refused, nothing in it was executed: {error}; if you trust it, "
            "write it again with PyTorch: torch.save(model.state_dict(), path)"
        ) from error
    except WRONG as error:
        words = f"{path} is damaged: its contents make no sense; download it again"
        raise UserError(words) from error


def is_torch_file(path):
    """Whether a file looks like one of `torch.save`, by its content.

    Args:
        path: Any path.

    Returns:
        True for every format that `read_torch_file` knows; for streams and zip archives
        also where they break off.
    """
    try:
        data = _map(pathlib.Path(path))
        if _kind(data) == "zip":
            _folder(_records(data))
    except Damaged:
        # Half a zip archive has no list of its records; PyTorch writes this one first.
        return b"/data.pkl" in data[:512]
    except (UserError, _Foreign):
        return False
    return True


def _map(path):
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file of torch.save")
    if not path.is_file():
        raise UserError(f"no file {path}: expected a file of torch.save")
    try:
        with open(path, "rb") as file:
            if not file.seek(0, 2):
                raise UserError(f"{path} is empty; copy or download it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _kind(data):
    """Which format a file has: "zip", "stream" or "tar"."""
    if data[:4] == b"PK\x03\x04":
        return "zip"
    if data[257:262] == b"ustar":
        if tar_members(data).keys().isdisjoint((b"pickle", b"storages", b"tensors")):
            raise _Foreign("a tar archive of other things", "unpack it first")
        return "tar"
    if data[:1] != b"\x80":
        raise _Foreign(*_other(data))
    magic = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little") + b"."
    if magic.startswith(data[: len(magic)]):
        return "stream"
    try:
        is_ours = unpickle(io.BytesIO(data[:64]), Budget(0)) == MAGIC
    except (Damaged, Refused):
        is_ours = False
    if not is_ours:
        raise _Foreign("a pickle of another program", "")
    return "stream"


def _other(data):
    """What a file of no format of PyTorch is, and what helps."""
    start = data[:512]
    for sign, words in _OTHERS.items():
        if start.startswith(sign):
            return words
    header = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and 8 < header < len(data):
        return "a safetensors file", ""
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        return "a web page", "download the file that the page shows or links to"
    if not any(byte < 9 or 13 < byte < 32 for byte in start):
        return "text", ""
    return f"of an unknown kind (first bytes {start[:8].hex(' ')})", ""


def _records(data):
    """{name: ZipInfo} of an archive."""
    try:
        with zipfile.ZipFile(data) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, *WRONG) as error:
        words = "the table at the end of its zip archive is missing or wrong"
        raise Damaged(words) from error
    records = {info.filename: info for info in listed}
    if len(records) != len(listed):
        raise Damaged("its zip archive has two records of one name")
    return records


def _folder(records):
    """Name of the folder in the archive with PyTorch's records."""
    if {"metadata.json", "model.weights.h5"} <= set(records):
        raise _Foreign("a Keras file", "")
    if records and all(name.endswith(".npy") for name in records):
        raise _Foreign("a NumPy archive (.npz)", "")
    tops = {name.partition("/")[0] for name in records}
    found = [top for top in tops if f"{top}/data.pkl" in records]
    if not found:
        raise _Foreign("a zip archive of other things (no record 'data.pkl')", "")
    if len(found) > 1:
        raise Damaged("its zip archive has several records 'data.pkl'")
    return found[0]


def _contents(data, info, budget):
    """Bytes of a record: a view of the file, or inflated where it is deflated."""
    at = info.header_offset
    header = bytes_view(data, at, 30).tobytes()
    if header[:4] != b"PK\x03\x04":
        raise Damaged(f"no record of its zip archive where {short(info.filename)} is")
    if info.flag_bits & 1:
        raise Refused("its zip archive is encrypted")
    name, extra = struct.unpack("<HH", header[26:])
    packed = bytes_view(data, at + 30 + name + extra, info.compress_size)
    if info.compress_type == zipfile.ZIP_STORED:
        return packed
    if info.compress_type != zipfile.ZIP_DEFLATED:
        raise Refused("a record of its zip archive is neither stored nor deflated")
    budget.spend(info.file_size)
    try:
        whole = zlib.decompressobj(-15).decompress(packed, info.file_size + 1)
    except zlib.error as error:
        raise Damaged(f"{short(info.filename)} cannot be inflated") from error
    if len(whole) != info.file_size:
        raise Damaged(f"{short(info.filename)} has not the length that it should have")
    return np.frombuffer(whole, np.uint8)


def _read_zip(data, budget):
    records = _records(data)
    folder = _folder(records)
    if f"{folder}/constants.pkl" in records:
        raise Refused("it is a TorchScript archive, a program")
    order = records.get(f"{folder}/byteorder")
    if order and _contents(data, order, budget).tobytes() != b"little":
        raise Refused("its numbers are big-endian")
    storages = {}

    def load(saved):
        dtype, key, count, _ = storage_claim(saved, 5)
        if key not in storages:
            info = records.get(f"{folder}/data/{key}")
            if info is None:
                raise Damaged(f"the record of the storage {short(key)} is missing")
            storages[key] = _contents(data, info, budget)
        if len(storages[key]) != count * dtype.itemsize:
            raise Damaged(f"the storage {short(key)} has not the length it should have")
        return storages[key].view(dtype)

    pickled = _contents(data, records[f"{folder}/data.pkl"], budget)
    return unpickle(io.BytesIO(pickled), budget, load)


_READERS = {"zip": _read_zip, "stream": read_stream, "tar": read_tar}
