"""Files of torch.save, written here by hand: PyTorch is not needed, nor installed."""

import argparse
import collections
import io
import os
import pickle
import struct
import tarfile
import zipfile

import ml_dtypes
import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.models import torch_tensors
from dino_tf.models.torch_file import is_torch_file, read_torch_file

MAGIC = 0x1950A86A20F9469CFC6C
FORMATS = ("zip", "stream", "tar")
STORAGE_NAMES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}


# ---- a small writer: every function gives operations of a pickle


def plain(value):
    """Operations that make a plain Python value."""
    return pickle.dumps(value, 2)[2:-1]


def named(name):
    module, _, name = name.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def call(name, *arguments):
    return named(name) + b"(" + b"".join(arguments) + b"tR"


def table(**items):
    return b"}(" + b"".join(plain(k) + v for k, v in items.items()) + b"u"


def whole(operations):
    return b"\x80\x02" + operations + b"."


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def stored(key, count, kind="FloatStorage", tail=b"", location="cpu"):
    """A storage by its persistent id; `tail` is b"N" in streams."""
    parts = plain(key) + plain(location) + plain(count) + tail
    return tuple_of(plain("storage"), named(f"torch.{kind}"), parts) + b"Q"


def tensor(storage, size, stride, offset=0, maker="_rebuild_tensor_v2"):
    hooks = call("collections.OrderedDict")
    parts = [storage, plain(offset), plain(size), plain(stride)]
    if maker != "_rebuild_tensor":
        parts += [plain(False), hooks]
    return call(f"torch._utils.{maker}", *parts)


def zip_bytes(operations, storages=(), folder="archive", more=(), pack=0, stop=b"."):
    """A zip archive; `storages` are arrays, their keys "0", "1" and so on."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", pack) as archive:
        archive.writestr(f"{folder}/data.pkl", b"\x80\x02" + operations + stop)
        for name, data in {"version": "3", **dict(more)}.items():
            archive.writestr(f"{folder}/{name}", data)
        for key, array in enumerate(storages):
            archive.writestr(f"{folder}/data/{key}", array.tobytes())
    return buffer.getvalue()


def stream_bytes(operations, storages=(), little=True, keys=None, counts=None):
    info = {"protocol_version": 1001, "little_endian": little, "type_sizes": {}}
    parts = [whole(plain(part)) for part in (MAGIC, 1001, info)]
    keys = [str(key) for key in range(len(storages))] if keys is None else keys
    parts += [whole(operations), whole(plain(keys))]
    for array, count in zip(storages, counts or map(len, storages), strict=True):
        parts.append(struct.pack("<q", count) + array.tobytes())
    return b"".join(parts)


def tar_of(members):
    """A tar archive of {name: bytes, or TarInfo}."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            # As torch.save did: a time with a fraction, which needs a PAX header.
            info.mtime = 1490000000.25
            if data is info:
                archive.addfile(info)
            else:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tar_members(array, size, stride, offset=0, views=()):
    kind = named(f"torch.{STORAGE_NAMES[array.dtype.name]}")
    rank = len(size)
    numbers = struct.pack(f"<ii{2 * rank + 1}q", rank, 0, *size, *stride, offset)
    key = 10 if views else 7
    return {
        "sys_info": whole(plain({"little_endian": True})),
        "pickle": whole(table(w=plain("9") + b"Q")),
        "storages": whole(plain(1))
        + whole(tuple_of(plain(7), plain("cpu"), kind))
        + struct.pack("<q", len(array))
        + array.tobytes()
        + whole(plain(list(views))),
        "tensors": whole(plain(1))
        + whole(tuple_of(plain(9), plain(key), kind))
        + numbers,
    }


def file_bytes(form, array, size, stride, offset=0):
    """{"w": a tensor over `array`} in one of the formats."""
    kind = STORAGE_NAMES[array.dtype.name]
    if form == "tar":
        return tar_of(tar_members(array, size, stride, offset))
    tail = b"N" if form == "stream" else b""
    made = tensor(stored("0", len(array), kind, tail), size, stride, offset)
    write = zip_bytes if form == "zip" else stream_bytes
    return write(table(w=made), [array])


@pytest.fixture
def read(tmp_path):
    """Function that reads bytes as a file."""

    def read(data):
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        return read_torch_file(path)

    return read


@pytest.fixture
def refused(read):
    """Function that checks that bytes are refused in one line, and returns it."""

    def refused(data):
        with pytest.raises(UserError) as caught:
            read(data)
        message = str(caught.value)
        assert "weights.pth" in message
        assert message.isprintable() and len(message) < 400
        return message

    return refused


# ---- what is read


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype", STORAGE_NAMES)
def test_types(read, form, dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    array = np.array([0, 1, 1, 0, 1, 0, 0, 1]).astype(kind)
    found = read(file_bytes(form, array, (2, 3), (3, 1), 1))["w"]
    assert found.dtype == kind and not found.flags.writeable
    np.testing.assert_array_equal(found, array[1:7].reshape(2, 3))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("size", "stride", "offset", "expected"),
    [
        ((), (), 5, 5),
        ((0,), (1,), 0, []),
        ((0, 3), (3, 1), 12, np.zeros((0, 3))),
        ((3, 2), (1, 3), 2, [[2, 5], [3, 6], [4, 7]]),
        ((2, 2), (5, 2), 1, [[1, 3], [6, 8]]),
        ((2, 3), (0, 0), 4, [[4, 4, 4], [4, 4, 4]]),
        ((12,), (1,), 0, range(12)),
        ((1, 2), (99, 1), 10, [[10, 11]]),
    ],
)
def test_views(read, form, size, stride, offset, expected):
    array = np.arange(12, dtype=np.float32)
    found = read(file_bytes(form, array, size, stride, offset))["w"]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert found.dtype == np.float32 and not found.flags.writeable


@pytest.mark.parametrize("pack", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("folder", ["archive", "my weights", "größe"])
def test_zip_archives_of_any_folder_packed_or_not(read, pack, folder):
    array = np.arange(1000, dtype=np.float32)
    made = table(w=tensor(stored("0", 1000), (10, 100), (100, 1)))
    more = {"byteorder": "little", ".data/serialization_id": "1"}
    found = read(zip_bytes(made, [array], folder, more, pack))["w"]
    np.testing.assert_array_equal(found, array.reshape(10, 100))


def test_zip64(read, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 20)
    data = file_bytes("zip", np.arange(12, dtype=np.float32), (12,), (1,))
    assert b"PK\x06\x06" in data
    np.testing.assert_array_equal(read(data)["w"], np.arange(12))


@pytest.mark.parametrize("form", ["zip", "stream"])
def test_tensors_of_one_storage_share_memory(read, form):
    tail = b"N" if form == "stream" else b""
    one = tensor(stored("0", 6, tail=tail), (6,), (1,))
    two = tensor(stored("0", 6, tail=tail, location="cuda:3"), (2,), (1,), 4)
    write = zip_bytes if form == "zip" else stream_bytes
    found = read(write(table(a=one, b=two), [np.arange(6, dtype=np.float32)]))
    assert np.shares_memory(found["a"], found["b"])
    assert found["b"].tolist() == [4, 5]


def test_storages_of_a_stream_that_are_parts_of_others(read):
    view = tuple_of(plain("v"), plain(2), plain(3))
    made = table(w=tensor(stored("0", 6, tail=view), (2,), (1,), 1))
    found = read(stream_bytes(made, [np.arange(6, dtype=np.float32)]))
    assert found["w"].tolist() == [3, 4]


def test_storages_of_a_tar_archive_that_are_parts_of_others(read):
    array = np.arange(6, dtype=np.float32)
    members = tar_members(array, (2,), (1,), 1, views=[(10, 7, 2, 3)])
    assert read(tar_of(members))["w"].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (tensor(stored("0", 4), (4,), (1,), 0, "_rebuild_tensor"), [0, 1, 2, 3]),
        (
            call(
                "torch._utils._rebuild_parameter",
                tensor(stored("0", 4), (2,), (2,)),
                plain(True),
                call("collections.OrderedDict"),
            ),
            [0, 2],
        ),
        (stored("0", 4), [0, 1, 2, 3]),
        (
            call(
                "torch._utils._rebuild_tensor_v3",
                stored("0", 16, "storage.UntypedStorage"),
                plain(2),
                plain((2,)),
                plain((1,)),
                plain(False),
                b"N",
                named("torch.uint16"),
            ),
            [0, 16256],
        ),
        (
            call(
                "torch._utils._rebuild_tensor_v2",
                stored("0", 2, "ComplexFloatStorage"),
                plain(0) + plain((2,)) + plain((1,)) + plain(False),
                b"N" + plain({"conj": True}),
            ),
            [-1j, 2 - 3j],
        ),
    ],
    ids=["first_version", "parameter", "storage", "bytes", "conjugate"],
)
def test_ways_to_make_tensors(read, made, expected):
    found = read(zip_bytes(made, [np.arange(4, dtype=np.float32)]))
    assert type(found) is np.ndarray and found.tolist() == expected


PLAIN = [
    *(0, -1, 255, 70000, -(2**31), 2**80, 1.5, float("inf"), True, False, None),
    *("", "text", "ünïcode", b"\x00\xff", b"", bytearray(b"ab"), {1, 2}, set()),
    *(frozenset({3}), 1 + 2j, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1]),
    *({}, {1: [2], (1, 2): 3}, collections.OrderedDict(a=1, b=2)),
    argparse.Namespace(arch="vit_small", crops=(0.4, 1.0)),
    *(np.float64(1.5), np.int64(-3), np.float32(2), np.bool_(True), np.str_("ab")),
    *(np.arange(6).reshape(2, 3), np.zeros((0, 2)), np.array(2.0), np.array(["a"])),
    *(np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(3, dtype=">f8")),
]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("value", PLAIN, ids=lambda value: f"{type(value).__name__}")
def test_plain_values(read, value, protocol):
    header = 2 if protocol < 4 else 11 if pickle.dumps(value, 4)[2] == 0x95 else 2
    found = read(zip_bytes(pickle.dumps(value, protocol)[header:-1]))
    assert type(found) is type(value)
    if isinstance(value, np.ndarray):
        # NumPy gives arrays of the other byte order back in this machine's.
        assert found.dtype == value.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, value)
    else:
        assert found == value


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (call("torch.Size", plain([2, 3])), (2, 3)),
        (call("torch.device", plain("cuda"), plain(1)), "cuda:1"),
        (call("torch.device", plain("cpu")), "cpu"),
        (named("torch.bfloat16"), "torch.bfloat16"),
        (
            call("numpy.core.multiarray.scalar", plain(np.dtype("f4")), b"U\4\0\0\0?"),
            0.5,
        ),
    ],
)
def test_values_of_pytorch_and_old_numpy(read, made, expected):
    found = read(zip_bytes(made))
    assert found == expected


def test_attributes_of_a_state_dict_are_dropped(read):
    state = call("collections.OrderedDict") + plain({"_metadata": {}}) + b"b"
    assert vars(read(zip_bytes(state))) == {}


@pytest.mark.parametrize("form", FORMATS)
def test_is_torch_file(tmp_path, form):
    path = tmp_path / "any.name"
    path.write_bytes(file_bytes(form, np.zeros(100), (100,), (1,)))
    assert is_torch_file(path)
    path.write_bytes(path.read_bytes()[:700])
    assert is_torch_file(path) == (form != "tar")


def test_reference_checkpoints(reference_dir):
    full = read_torch_file(reference_dir / "checkpoint_full.pth")
    assert set(full) >= {"student", "teacher", "optimizer", "epoch", "args"}
    assert full["args"].patch_size == 8 and type(full["epoch"]) is int
    assert isinstance(full["optimizer"]["param_groups"][0]["lr"], np.float64)
    moments = full["optimizer"]["state"][0]
    assert moments["exp_avg"].shape == moments["exp_avg_sq"].shape
    assert all(name.startswith("module.") for name in full["student"])
    alone = read_torch_file(reference_dir / "backbone_only.pth")
    heads = {name for name in full["teacher"] if name.startswith("head.")}
    taken = {name.removeprefix("backbone.") for name in set(full["teacher"]) - heads}
    assert taken == set(alone)
    for name, array in alone.items():
        assert array.dtype == np.float32 and np.isfinite(array).all(), name


# ---- what is refused: programs

CALLS = (
    "os.system posix.system nt.system subprocess.Popen builtins.eval builtins.exec "
    "builtins.getattr builtins.__import__ __builtin__.eval builtins.open "
    "torch.load torch.serialization.load torch.storage._load_from_bytes "
    "torch.jit.load torch._utils.__builtins__ torch.os.system functools.partial "
    "operator.attrgetter operator.methodcaller numpy.load numpy.f2py.f2py2e.main "
    "numpy.testing._private.utils.runstring numpy.core.multiarray.fromfile "
    "copyreg._reconstructor types.FunctionType code.InteractiveInterpreter "
    "argparse.Namespace.__init__ collections.namedtuple pickle.loads runpy.run_path "
    "importlib.import_module webbrowser.open torchvision.models.resnet.ResNet"
).split()


@pytest.mark.parametrize("form", ["zip", "stream"])
@pytest.mark.parametrize("name", CALLS)
def test_functions_are_refused_by_name(refused, tmp_path, form, name):
    marker = tmp_path / "executed"
    argument = plain(f"open({str(marker)!r}, 'w')" if "eval" in name else str(marker))
    write = zip_bytes if form == "zip" else stream_bytes
    assert f"'{name}'" in refused(write(call(name, argument)))
    module, _, last = name.rpartition(".")
    by_stack = plain(module) + plain(last) + b"\x93(" + argument + b"tR"
    assert f"'{name}'" in refused(write(by_stack))
    assert not marker.exists()


class Evil:
    """Pickles as a call that makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_reduce_is_refused(refused, tmp_path, form, protocol):
    marker = tmp_path / "executed"
    evil = {"weights": [Evil(marker)]}
    made = pickle.dumps(evil, protocol)
    pickle.loads(made)
    assert marker.exists()
    marker.unlink()
    if form == "tar":
        members = tar_members(np.zeros(1), (1,), (1,)) | {"pickle": made}
        data = tar_of(members)
    else:
        write = zip_bytes if form == "zip" else stream_bytes
        # An operation PROTO may stand anywhere.
        data = write(made[:-1])
    assert ".system'" in refused(data)
    assert not marker.exists()


@pytest.mark.parametrize("member", ["storages", "tensors"])
def test_other_members_of_a_tar_archive_are_refused(refused, tmp_path, member):
    marker = tmp_path / "executed"
    members = tar_members(np.zeros(1), (1,), (1,))
    members[member] = pickle.dumps(Evil(marker), 2)
    assert ".system'" in refused(tar_of(members))
    assert not marker.exists()


ORDERED = call("collections.OrderedDict")
ONE = tensor(stored("0", 4), (4,), (1,))
NESTED = plain(()) + b"\x85" * 200


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (b"\x82\x01", "EXT1"),
        (b"\x83\x01\x00", "EXT2"),
        (b"\x84\x01\x00\x00\x00", "EXT4"),
        (b"Psystem\n", "PERSID"),
        (b"(ios\nsystem\n", "operation INST"),
        (b"(" + named("os.system") + b"o", "'os.system'"),
        (plain("os") + plain("path.join") + b"\x93", "'os.path.join'"),
        (plain("torch._utils") + plain("os.system") + b"\x93", "'torch._utils.os."),
        (plain(3) + b"Q", "persistent id"),
        (plain(("module", "a", "b", "c", "d")) + b"Q", "persistent id"),
        (named("torch.FloatStorage") + plain((3,)) + b"R", "torch.FloatStorage"),
        (named("torch.float32") + plain(()) + b"R", "calls a value"),
        (plain("print") + plain(()) + b"R", "calls a value"),
        (ORDERED + plain(()) + b"R", "calls a value"),
        (
            named("argparse.Namespace") + plain({"f": 1}) + b"b",
            "attributes of 'argparse.Namespace'",
        ),
        (
            named("numpy.ndarray") + plain({"f": 1}) + b"b",
            "attributes of 'numpy.ndarray'",
        ),
        (plain([]) + plain({"f": 1}) + b"b", "attributes of 'list'"),
        (plain({}) + plain({"f": 1}) + b"b", "attributes of 'dict'"),
        (ONE + plain({"f": 1}) + b"b", "attributes of 'ndarray'"),
        (
            named("argparse.Namespace") + b")\x81" + plain((None, {"a": 1})) + b"b",
            "Namespace has no names",
        ),
        (call("numpy.dtype", plain("O8")), "NumPy type 'O8'"),
        (call("numpy.dtype", plain("V8")), "NumPy type 'V8'"),
        (call("numpy.dtype", plain("f4,f4")), "NumPy type"),
        (
            call("numpy.dtype", plain("f4"))
            + plain((3, "<", None, ("a",), {"a": 1}, -1, -1, 0))
            + b"b",
            "composed NumPy type",
        ),
        (call("_codecs.encode", plain("a"), plain("rot13")), "'_codecs.encode'"),
        (tuple_of(ONE, ONE) + b"q\0" + b"}h\0N" + b"s", "key of a dictionary"),
        # Many such numbers have the same hash.
        (b"}\x8a\x08" + (2**61 - 1).to_bytes(8, "little") + b"Ns", "key of a dict"),
        (b"}" + NESTED + b"Ns", "key of a dictionary"),
        (NESTED, "nested too deeply"),
        (b"]q\0h\0a", "contains itself"),
        (plain(()) + b"2\x86" * 40, "nested too deeply"),
        (b"\x8b\x58\x02\0\0" + b"\x7f" * 600, "4096 bits"),
        (
            call(
                "torch._utils._rebuild_tensor_v3",
                stored("0", 16, "UntypedStorage"),
                plain(0) + plain((2,)) + plain((1,)) + plain(False) + b"N",
                named("torch.qint8"),
            ),
            "NumPy does not have",
        ),
        (stored("0", 4, "QInt8Storage"), "'torch.QInt8Storage'"),
    ],
)
def test_operations_that_are_refused(refused, made, words):
    data = zip_bytes(made, [np.zeros(4, np.float32)])
    assert words in refused(data)


# ---- what is refused: false sizes


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((4,), (1,), 1),
        ((1,), (1,), 4),
        ((2, 3), (3, 1), 0),
        ((2,), (2**62,), 0),
        ((2**62, 2**62), (1, 1), 0),
        ((2**62, 8), (0, 0), 0),
        ((2**40,), (0,), 0),
        ((0, 2**62, 2**62), (1, 1, 1), 0),
        ((-1,), (1,), 0),
        ((2,), (-1,), 3),
        ((2,), (1,), -1),
        ((1,) * 70, (1,) * 70, 0),
    ],
)
def test_tensors_of_false_sizes(refused, form, size, stride, offset):
    refused(file_bytes(form, np.zeros(4, np.float32), size, stride, offset))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((5,), (1,), 0), ((1,), (1,), 4), ((2, 3), (3, 1), 0), ((2, 2), (1, 3), 0)],
)
def test_tensors_see_nothing_beyond_their_storage(refused, form, size, stride, offset):
    data = file_bytes(form, np.zeros(4, np.float32), size, stride, offset)
    assert "beyond its storage" in refused(data)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((4,), (), 0),
        (4, 1, 0),
        ((4.0,), (1,), 0),
        ((True,), (1,), 0),
        ((1,), (1,), None),
    ],
)
def test_sizes_are_whole_numbers(refused, size, stride, offset):
    refused(file_bytes("zip", np.zeros(4, np.float32), size, stride, offset))


@pytest.mark.parametrize("claim", [3, 5, 2**60, -1, True, "4", None, 4.0])
def test_storages_have_the_length_that_is_claimed(refused, claim):
    array = np.zeros(4, np.float32)
    refused(zip_bytes(tensor(stored("0", claim), (1,), (1,)), [array]))
    refused(stream_bytes(tensor(stored("0", claim, tail=b"N"), (1,), (1,)), [array]))


@pytest.mark.parametrize(
    "change",
    [
        {"counts": [5]},
        {"counts": [-1]},
        {"counts": [2**62]},
        {"keys": []},
        {"keys": ["1"]},
        {"keys": [[]]},
        {"keys": "0"},
        {"little": False},
        {"little": None},
    ],
)
def test_wrong_streams(refused, change):
    made = tensor(stored("0", 4, tail=b"N"), (4,), (1,))
    arrays = [] if change.get("keys") == [] else [np.zeros(4, np.float32)]
    refused(stream_bytes(made, arrays, **change))


@pytest.mark.parametrize("view", [("v", 2, 3), ("v", -1, 2), ("v", 0, 2**62), (1,), 5])
def test_parts_of_storages_stay_inside(refused, view):
    made = tensor(stored("0", 4, tail=plain(view)), (1,), (1,))
    refused(stream_bytes(made, [np.zeros(4, np.float32)]))


def bomb(count, setup, *group):
    """A tuple of what a group of operations gives, many times over."""
    return setup + b"(" + b"".join(group) * count + b"t"


ENCODE, ORDER = named("_codecs.encode"), named("collections.OrderedDict")


@pytest.mark.parametrize(
    "made",
    [
        bomb(
            400, plain("x" * 2**16) + b"q\1", ENCODE, b"h\1", plain("latin1"), b"\x86R"
        ),
        bomb(40, plain([(0, 0)] * 2**12) + b"q\1", ORDER, b"h\1\x85R"),
        bomb(40, plain([0] * 2**12) + b"q\1", named("builtins.set"), b"h\1\x85R"),
        bomb(20_000, ORDER + b"q\1", b"h\1)R"),
        bomb(20_000, b"", b"\x8f"),
        b"(" * 40_000,
        plain(()) + b"\x94" * 20_000,
        tensor(stored("0", 4), (2**20,), (0,)),
    ],
    ids="bytes dictionaries sets made empty marks memo repeated".split(),
)
def test_memory_bombs_are_refused(refused, made, monkeypatch):
    monkeypatch.setattr(torch_tensors, "LEAST", 2**20)
    data = zip_bytes(made, [np.zeros(4, np.float32)])
    assert "many times its own length" in refused(data)


def test_deflate_bombs_are_refused(refused, monkeypatch):
    monkeypatch.setattr(torch_tensors, "LEAST", 2**20)
    array = np.zeros(2**19, np.float32)
    data = zip_bytes(stored("0", 2**19), [array], pack=zipfile.ZIP_DEFLATED)
    assert len(data) < 2**12
    assert "many times its own length" in refused(data)


@pytest.mark.parametrize("count", [1, 100])
def test_records_that_inflate_to_other_lengths_than_they_say(refused, count):
    array = np.zeros(9, np.float32)
    data = zip_bytes(stored("0", count), [array], pack=zipfile.ZIP_DEFLATED)
    at = data.rindex(b"PK\x01\x02")
    assert struct.unpack_from("<I", data, at + 24) == (36,)
    false = data[: at + 24] + struct.pack("<I", 4 * count) + data[at + 28 :]
    assert "'archive/data/0' has not the length" in refused(false)


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [(8, 1, "encrypted"), (42, 3, "no record"), (42, 2**31, "ends before")],
)
def test_wrong_tables_of_zip_archives(refused, at, value, words):
    data = bytearray(zip_bytes(plain(1)))
    where = data.index(b"PK\x01\x02") + at
    data[where : where + 4] = struct.pack("<I", value)
    assert words in refused(bytes(data))


@pytest.mark.parametrize("count", [2, 8])
def test_two_claims_of_one_storage(refused, count):
    one, two = (stored("0", n, tail=b"N") for n in (4, count))
    array = np.zeros(4, np.float32)
    assert "has not the length" in refused(stream_bytes(tuple_of(one, two), [array]))
    one, two = (stored("0", n) for n in (4, count))
    assert "has not the length" in refused(zip_bytes(tuple_of(one, two), [array]))


def test_streams_of_another_protocol(refused):
    data = stream_bytes(plain(1)).replace(plain(1001), plain(1002))
    assert "protocol is not 1001" in refused(data)


@pytest.mark.parametrize(
    ("member", "old", "new", "words"),
    [
        ("tensors", struct.pack("<ii", 1, 0), struct.pack("<ii", -1, 0), "dimensions"),
        ("tensors", struct.pack("<ii", 1, 0), struct.pack("<ii", 99, 0), "dimensions"),
        ("tensors", plain(9), plain(-9), "negative"),
        ("storages", struct.pack("<q", 3), struct.pack("<q", -1), "ends before"),
        ("storages", struct.pack("<q", 3), struct.pack("<q", 2**62), "ends before"),
        ("pickle", plain("9"), plain("8"), "no tensor"),
        ("pickle", plain("9"), plain((9,)), "no tensor"),
    ],
)
def test_wrong_tar_archives(refused, member, old, new, words):
    members = tar_members(np.zeros(3, np.float32), (3,), (1,))
    assert old in members[member]
    members[member] = members[member].replace(old, new, 1)
    assert words in refused(tar_of(members))


def test_members_of_tar_archives_stay_apart(refused):
    members = tar_members(np.zeros(2000, np.float32), (3,), (1,))
    data = bytearray(tar_of(members))
    at = data.index(b"storages\0" + bytes(90))
    size = len(members["storages"])
    assert int(data[at + 124 : at + 135], 8) == size
    # The next header is found in the middle of the storage, in place of zeros.
    data[at + 124 : at + 135] = b"%011o" % 512
    data[at + 1024 : at + 1536] = tarfile.TarInfo("other").tobuf()
    data[at + 1024 + 124 : at + 1024 + 135] = b"%011o" % (size - 1024)
    assert "runs into the next" in refused(bytes(data))


# ---- what is refused: other files, damaged ones


@pytest.mark.parametrize("form", FORMATS)
def test_truncated_files(refused, form):
    array = np.arange(300, dtype=np.float32)
    data = file_bytes(form, array, (300,), (1,))
    # Zeros fill a tar archive up; nobody misses them.
    needed = data.rindex(array.tobytes()) + 1200 if form == "tar" else len(data)
    for length in {1, 2, 3, 4, 14, 15, 16, 511, 512, *range(5, needed, 97)}:
        refused(data[:length])


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_files_are_read_or_refused(read, form):
    data = file_bytes(form, np.arange(20, dtype=np.float32), (4, 5), (5, 1))
    generator = np.random.default_rng(0)
    outcomes = collections.Counter()
    for _ in range(300):
        changed = bytearray(data)
        for at in generator.integers(0, len(data), 3):
            changed[at] = generator.integers(256)
        try:
            read(bytes(changed))
            outcomes["read"] += 1
        except UserError as error:
            assert str(error).isprintable()
            outcomes["refused"] += 1
    assert len(outcomes) == 2


def zip_of(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, whole(plain(1)))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"\xef\xbb\xbf\n <HTML lang='en'>", "web page"),
        (b"Not found\n", "is text"),
        ("Größe: 3\n".encode(), "is text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\x09\0\0\0\0\0\0\0{\"a\":{}}  ", "safetensors"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x93NUMPY\x01\0", "NumPy array"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"\0\1\2\3", "unknown kind (first bytes 00 01 02 03)"),
        (pickle.dumps({"a": 1}, 2), "pickle of another program"),
        (pickle.dumps(list(range(1000)), 4), "pickle of another program"),
        (zip_of("readme.txt", "b/c/data.pkl"), "zip archive of other things"),
        (zip_of(), "empty zip archive"),
        (zip_of("metadata.json", "config.json", "model.weights.h5"), "Keras file"),
        (zip_of("a.npy", "b.npy"), "NumPy archive"),
        (zip_of("a/data.pkl", "a/constants.pkl", "a/code/x.py"), "TorchScript"),
        (zip_of("a/data.pkl", "b/data.pkl"), "several records"),
        (tar_of({"readme": b"text"}), "tar archive of other things"),
        (tar_of({"pickle": b"text"}), "lacks a member"),
        (zip_bytes(plain(1), more={"byteorder": "big"}), "big-endian"),
        (zip_bytes(stored("0", 4)), "storage '0' is missing"),
        (zip_bytes(stored("../data.pkl", 4)), "'../data.pkl' is missing"),
        (zip_bytes(plain(1), pack=zipfile.ZIP_BZIP2), "neither stored nor deflated"),
        (zip_bytes(b"\x80\x09"), "protocol 9"),
        (zip_bytes(b"\x8e" + b"\xff" * 7 + b"\x7f"), "makes no sense"),
        (zip_bytes(b"K\x01K\x02"), "makes no sense"),
        (zip_bytes(b"(K\x01"), "within a group"),
        (zip_bytes(b"0"), "makes no sense"),
        (zip_bytes(b"h\x07"), "makes no sense"),
        (zip_bytes(named("os.\x1b[0m")), r"names 'os.\x1b[0m'"),
        (zip_bytes(plain("o\u202e") + plain("\n") + b"\x93"), r"names 'o\u202e.\n'"),
    ],
)  # fmt: skip
def test_other_files(refused, data, words):
    assert words in refused(data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_records_of_one_name(refused):
    assert "two records" in refused(zip_of("a/data.pkl", "a/data.pkl"))


def test_tar_archives_with_links_or_doubles(refused, tmp_path):
    members = tar_members(np.zeros(3, np.float32), (3,), (1,))
    link = tarfile.TarInfo("pickle")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    assert "lacks a member" in refused(tar_of(members | {"pickle": link}))
    absolute = {f"/tmp/../{name}": data for name, data in members.items()}
    assert "other things" in refused(tar_of(absolute))
    double = tar_of({"pickle": b"1"}).rstrip(b"\0").ljust(2048, b"\0")
    assert "two members" in refused(double + tar_of(members))
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pth"]


def test_folders_and_missing_files(tmp_path):
    assert not is_torch_file(tmp_path) and not is_torch_file(tmp_path / "none")
    with pytest.raises(UserError, match="is a folder"):
        read_torch_file(tmp_path)
    with pytest.raises(UserError, match="no file .*none.pth"):
        read_torch_file(tmp_path / "none.pth")
    (tmp_path / "text").write_text("words")
    assert not is_torch_file(tmp_path / "text")
