"""Arrays over the storages of a PyTorch file, never a byte beyond them."""

import math

import numpy as np

# Takes the place of storages whose position in the file is not known yet.
UNREAD = object()


class Damaged(ValueError):
    """A file's bytes are not what its format says."""


class Refused(ValueError):
    """A file asks for something that no file of weights needs."""


# What a file may take from memory: so many times its length, and this for small ones.
LENGTHS, LEAST = 16, 2**28


class Budget:
    """Bytes that reading one file may take from memory beyond the file itself.

    A file can stand for far more than its own length: inflated records, tensors that
    repeat one number, copies of copies. Sixteen times its length, and 256 MiB for small
    files, is more than honest ones take.
    """

    def __init__(self, file_bytes):
        self.left = LENGTHS * file_bytes + LEAST

    def spend(self, count):
        """Takes `count` bytes.

        Raises:
            Refused: When more was taken than the file may have.
        """
        self.left -= count
        if self.left < 0:
            raise Refused("it would grow to many times its own length in memory")


def short(text):
    """A name from a file, fit for one line of a message."""
    return ascii(text[:80])


def whole_numbers(values):
    """A tuple of sizes, strides or the like: integers from 0 to 2**63 - 1.

    Raises:
        Damaged: For anything else.
    """
    if type(values) not in (list, tuple) or len(values) > 64:
        raise Damaged("sizes of a tensor are no short list")
    if any(type(n) is not int or not 0 <= n < 2**63 for n in values):
        raise Damaged("a size, stride or offset is negative, too large or no integer")
    return tuple(values)


def bytes_view(data, start, count):
    """View of `count` bytes of a mapped file from `start`; it cannot be written to.

    Raises:
        Damaged: When the file is shorter.
    """
    if start < 0 or start + count > len(data):
        raise Damaged("it ends before its contents do")
    return np.ndarray((count,), np.uint8, memoryview(data)[start : start + count])


def part_of(storage, offset, count):
    """Elements `offset` to `offset + count` of a storage.

    PyTorch had storages that were parts of others before 0.4.

    Raises:
        Damaged: When they are not all there.
    """
    whole_numbers((offset, count))
    if offset + count > len(storage):
        raise Damaged("part of a storage reaches beyond it")
    return storage[offset : offset + count]


def tensor_view(budget, storage, offset, size, stride, dtype=None):
    """Array over part of a storage, without a copy; it cannot be written to.

    Args:
        budget: Pays for a tensor that holds more elements than its storage.
        storage: One-dimensional array.
        offset: Of the first element, in elements like `stride`.
        size: Of each dimension.
        stride: Of each dimension.
        dtype: Type of the elements, None for the storage's own.

    Raises:
        Damaged: When any element would lie outside the storage.
    """
    if storage is UNREAD:
        return UNREAD
    is_row = type(storage) is np.ndarray and storage.ndim == 1
    if not is_row or not storage.flags.c_contiguous:
        raise Damaged("a tensor has no storage")
    dtype = dtype or storage.dtype
    (offset,), size, stride = map(whole_numbers, ((offset,), size, stride))
    if len(size) != len(stride):
        raise Damaged("a tensor has not as many strides as sizes")
    count = math.prod(size)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if count and (last + 1) * dtype.itemsize > storage.nbytes:
        raise Damaged("a tensor reaches beyond its storage")
    if count * dtype.itemsize > storage.nbytes:
        budget.spend(count * dtype.itemsize)
    try:
        if not count:
            array = np.empty(size, dtype)
            array.flags.writeable = False
            return array
        step = [s * dtype.itemsize for s in stride]
        raw = storage.view(np.uint8)
        return np.ndarray(size, dtype, raw, offset * dtype.itemsize, step)
    except (ValueError, OverflowError) as error:
        raise Damaged("a tensor's sizes are too large") from error
