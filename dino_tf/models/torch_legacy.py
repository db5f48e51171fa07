"""The two formats of `torch.save` before zip archives: a stream of pickles, a tar.

Reference: `torch/serialization.py` of PyTorch, function `_legacy_load`.
"""

import struct

from dino_tf.models.torch_objects import Known, storage_claim
from dino_tf.models.torch_tensors import (
    UNREAD,
    Damaged,
    Refused,
    bytes_view,
    part_of,
    short,
    tensor_view,
    whole_numbers,
)
from dino_tf.models.torch_unpickler import unpickle

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MEMBERS = (b"storages", b"tensors", b"pickle")


def read_stream(data, budget):
    """The object in a stream.

    Args:
        data: Mapped file.
        budget: Its `Budget`.

    Raises:
        Damaged, Refused: As everywhere.
    """
    data.seek(0)
    head = [unpickle(data, budget) for _ in range(3)]
    if head[1] != _PROTOCOL or type(head[2]) is not dict:
        raise Damaged("its protocol is not 1001")
    if head[2].get("little_endian") is not True:
        raise Refused("its numbers are big-endian")
    # The storages follow the object. What they are is learnt by reading it once without
    # them, and then it is read again.
    start, claims = data.tell(), {}

    def note(saved):
        dtype, key, count, _ = storage_claim(saved, 6)
        claims.setdefault(key, (dtype.itemsize, count))
        return UNREAD

    unpickle(data, budget, note)
    keys = unpickle(data, budget)
    if type(keys) is not list or sorted(keys) != sorted(claims):
        raise Damaged("the storages listed are not those that its tensors need")
    storages, at = {}, data.tell()
    for key in keys:
        itemsize, count = claims[key]
        if int.from_bytes(bytes_view(data, at, 8).tobytes(), "little") != count:
            raise Damaged(f"the storage {short(key)} has not the length it should have")
        storages[key] = bytes_view(data, at + 8, count * itemsize)
        at += 8 + count * itemsize

    def load(saved):
        dtype, key, count, (view,) = storage_claim(saved, 6)
        if len(storages[key]) != count * dtype.itemsize:
            raise Damaged(f"the storage {short(key)} has not the length it should have")
        return part_of(storages[key].view(dtype), *(view or ("", 0, count))[1:])

    data.seek(start)
    return unpickle(data, budget, load)


def tar_members(data):
    """{name in bytes: (start, end)} of the plain files in a tar archive.

    Links and the like are passed over; nothing is ever unpacked.

    Raises:
        Damaged: For a wrong header, or two files of one name.
    """
    members, at = {}, 0
    while (header := data[at : at + 512]).strip(b"\0"):
        try:
            size = int(header[124:136].strip(b"\0 ") or b"0", 8)
        except ValueError:
            size = -1
        if len(header) < 512 or size < 0 or at + 512 + size > len(data):
            raise Damaged("its tar archive ends too early or has a wrong header")
        name = header[:100].partition(b"\0")[0]
        if header[156:157] in (b"0", b"\0"):
            if name in members:
                raise Damaged("its tar archive has two members of one name")
            members[name] = at + 512, at + 512 + size
        at += 512 + (size + 511) // 512 * 512
    return members


def read_tar(data, budget):
    """The object in a tar archive.

    Args:
        data: Mapped file.
        budget: Its `Budget`.

    Raises:
        Damaged, Refused: As everywhere.
    """
    members = tar_members(data)
    if not members.keys() >= set(_MEMBERS):
        raise Damaged("its tar archive lacks a member")
    objects = {}
    spans = [members[name] for name in _MEMBERS]
    for read, (start, end) in zip((_tar_storages, _tar_tensors), spans, strict=False):
        data.seek(start)
        read(data, budget, objects)
        if data.tell() > end:
            raise Damaged("a member of its tar archive runs into the next")

    def load(saved):
        if type(saved) not in (int, str) or int(saved) not in objects:
            raise Refused("it has a persistent id that is no tensor")
        return objects[int(saved)]

    data.seek(spans[2][0])
    return unpickle(data, budget, load)


def _take(data, count):
    taken = bytes_view(data, data.tell(), count)
    data.seek(count, 1)
    return taken


def _tar_storages(data, budget, objects):
    for _ in range(unpickle(data, budget)):
        key, _, known = unpickle(data, budget)
        whole_numbers((key,))
        if type(known) is not Known or known.dtype is None:
            raise Damaged("a storage has no type")
        count = int.from_bytes(_take(data, 8).tobytes(), "little")
        objects[key] = _take(data, count * known.dtype.itemsize).view(known.dtype)
    for key, root, offset, count in unpickle(data, budget):
        whole_numbers((key, root))
        objects[key] = part_of(objects[root], offset, count)


def _tar_tensors(data, budget, objects):
    for _ in range(unpickle(data, budget)):
        key, storage, _ = unpickle(data, budget)
        whole_numbers((key, storage))
        rank, _ = struct.unpack("<ii", _take(data, 8).tobytes())
        if not 0 <= rank <= 64:
            raise Damaged("a tensor has more dimensions than can be")
        numbers = struct.unpack(f"<{2 * rank + 1}q", _take(data, 16 * rank + 8))
        size, stride, offset = numbers[:rank], numbers[rank:-1], numbers[-1]
        objects[key] = tensor_view(budget, objects[storage], offset, size, stride)
