"""What the names in a PyTorch file stand for: a closed list, with makers of our own.

A pickle names functions and classes by their modules. None of them is looked up here:
a name is either in `NAMES`, and then stands for a function of this file, or the whole
file is refused.
"""

import argparse
import collections
import dataclasses
import math
import re
from collections.abc import Callable

import ml_dtypes
import numpy as np

from dino_tf.models.torch_tensors import (
    UNREAD,
    Damaged,
    Refused,
    short,
    tensor_view,
    whole_numbers,
)


@dataclasses.dataclass(frozen=True)
class Known:
    """A name that may stand in a file; not callable by whoever gets it.

    Attributes:
        name: Module and name as PyTorch knows them.
        make: Function (reader, *arguments) -> value, None where the name is not called.
        dtype: NumPy type of the elements of a storage, None for all else.
    """

    name: str
    make: Callable | None = None
    dtype: np.dtype | None = None

    def __repr__(self):
        return f"<{self.name}>"


MOST_PARTS = 4  # of a tuple that is a key


def key_of(value):
    """The value, if it may be a key of a dictionary or a member of a set.

    Hashing deep tuples ends the process and hashing wide ones takes for ever, so a
    tuple may hold only a few numbers and strings. Nor may there be many keys of one
    hash: numbers have those of a few others within 64 bits alone, tuples of all that
    are made of these.
    """
    flat = value if type(value) is tuple else (value,)
    plain = (str, int, bool, bytes, type(None), np.integer, np.bool_)
    known = all(isinstance(part, plain) for part in flat)
    if not known or len(flat) > MOST_PARTS or not all(map(_is_short, flat)):
        raise Refused(f"a key of a dictionary is of the type {type(value).__name__}")
    return value


def _is_short(part):
    return not isinstance(part, int | np.integer) or -(2**31) <= part < 2**32


def _tensor(
    reader, storage, offset, size, stride, grad=False, hooks=None, metadata=None
):
    array = tensor_view(reader.budget, storage, offset, size, stride)
    return _finished(reader, array, metadata)


def _tensor_of_bytes(
    reader, storage, offset, size, stride, grad, hooks, dtype, metadata=None
):
    if type(dtype) is not str or DTYPES.get(dtype) is None:
        raise Refused("it has a tensor of a type that NumPy does not have")
    array = tensor_view(reader.budget, storage, offset, size, stride, DTYPES[dtype])
    return _finished(reader, array, metadata)


def _finished(reader, array, metadata):
    """PyTorch notes conjugation and negation beside a tensor instead of doing them."""
    marks = [name for name, is_set in (metadata or {}).items() if is_set]
    for name in marks if array is not UNREAD else ():
        if name not in ("conj", "neg"):
            raise Refused(f"it has a tensor with the mark {short(name)}")
        reader.budget.spend(array.nbytes)
        array = np.conj(array) if name == "conj" else np.negative(array)
        array.flags.writeable = False
    return array


def _parameter(reader, tensor, grad, hooks, state=None):
    if tensor is not UNREAD and type(tensor) is not np.ndarray:
        raise Damaged("a parameter has no tensor")
    return tensor


def _listed(reader, items):
    if type(items) not in (list, tuple):
        raise Damaged("a set or dictionary is made of what is no list")
    reader.budget.spend(200 * len(items))
    return items


def _ordered_dict(reader, items=()):
    items = _listed(reader, items)
    return collections.OrderedDict((key_of(key), value) for key, value in items)


def _set(reader, items=()):
    return {key_of(item) for item in _listed(reader, items)}


def _frozenset(reader, items=()):
    return frozenset(_set(reader, items))


def _encode(reader, text, codec):
    if codec not in ("latin1", "latin-1") or type(text) is not str:
        raise Refused("it calls '_codecs.encode' for other than bytes")
    reader.budget.spend(len(text))
    return text.encode("latin1")


def _bytearray(reader, text="", codec="latin-1"):
    data = text if type(text) is bytes else _encode(reader, text, codec)
    reader.budget.spend(len(data))
    return bytearray(data)


def _complex(reader, real, imag):
    return complex(float(real), float(imag))


def _device(reader, kind, index=None):
    if type(kind) is not str or len(kind) > 80:
        raise Damaged("a device has no short name")
    return kind if index is None else f"{kind}:{index:d}"


def _dtype(reader, name, align=False, copy=True):
    if type(name) is not str:
        raise Damaged("a NumPy type has no name")
    if not re.fullmatch("[biufcSU][0-9]{1,7}", name):
        raise Refused(f"it has values of the NumPy type {short(name)}")
    return np.dtype(name, copy=True)


def _raw(reader, data):
    """Bytes of NumPy's values; a pickle of Python 2 has them as text."""
    if type(data) is str:
        data = data.encode("latin1")
    if type(data) is not bytes:
        raise Damaged("NumPy values are no bytes")
    reader.budget.spend(len(data))
    return data


def _scalar(reader, dtype, data):
    data = _raw(reader, data)
    if not isinstance(dtype, np.dtype) or len(data) != dtype.itemsize:
        raise Damaged("a NumPy number has not the length of its type")
    return np.frombuffer(data, dtype)[0]


def _hollow_array(reader, kind, shape, typecode):
    array = np.empty(0, np.int8)
    reader.hollow[id(array)] = array
    return array


def _array_of_bytes(reader, data, dtype, shape, order, axis_order=None):
    """An array in a pickle of protocol 5."""
    data = bytes(data) if type(data) is bytearray else data
    data, shape = _raw(reader, data), whole_numbers(shape)
    if not isinstance(dtype, np.dtype) or dtype.hasobject or order not in ("C", "F"):
        raise Damaged("a NumPy array has no type or no order")
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise Damaged("a NumPy array has not the length of its shape")
    # Not by `frombuffer`, which takes no arrays without elements.
    return np.ndarray(shape, dtype, data, order=order)


def storage_claim(saved, length):
    """What the persistent id of a storage says.

    Args:
        saved: The id: a tuple of `length` things, "storage" first.
        length: 5 in zip archives, 6 in streams.

    Returns:
        Type of the elements, key, number of elements, list of what follows.

    Raises:
        Refused: When it is no storage's id.
        Damaged: When a part of it is of the wrong kind.
    """
    if type(saved) is not tuple or len(saved) != length or saved[0] != "storage":
        raise Refused("it has a persistent id that is no storage")
    _, known, key, _, count, *rest = saved
    if type(known) is not Known or known.dtype is None or type(key) is not str:
        raise Damaged("a storage has no type or no key")
    whole_numbers((count,))
    return known.dtype, key, count, rest


def set_state(reader, target, state):
    """What the pickle's BUILD does to an object; only objects made here may have it.

    Raises:
        Refused: For all other objects.
        Damaged: For a state that does not fit.
    """
    if type(target) is argparse.Namespace:
        if type(state) is not dict or any(type(key) is not str for key in state):
            raise Damaged("an argparse.Namespace has no names")
        reader.budget.spend(100 * len(state))
        vars(target).update(state)
    elif isinstance(target, np.dtype):
        _, order, *composed = state[:5]
        if order not in ("<", ">", "|", "=") or any(composed):
            raise Refused("it has a composed NumPy type")
        own = (target.itemsize, target.alignment, 0)
        target.__setstate__((3, order, None, None, None, *own))
    elif reader.hollow.pop(id(target), None) is not None:
        _, shape, dtype, fortran, data = state
        data, shape = _raw(reader, data), whole_numbers(shape)
        if not isinstance(dtype, np.dtype) or dtype.hasobject:
            raise Damaged("a NumPy array has no type")
        if len(data) != math.prod(shape) * dtype.itemsize:
            raise Damaged("a NumPy array has not the length of its shape")
        target.__setstate__((1, shape, dtype, bool(fortran), data))
        target.flags.writeable = False
    # PyTorch hangs the versions of modules (`_metadata`) on a state dict: of no use.
    elif type(target) is not collections.OrderedDict:
        what = target.name if type(target) is Known else type(target).__name__
        raise Refused(f"it sets attributes of '{what}'")


# Types of elements, by PyTorch's names; None for those that NumPy does not have.
DTYPES = {
    f"torch.{name}": np.dtype(getattr(ml_dtypes, name, name))
    for name in "float64 float32 float16 int64 int32 int16 int8 uint64 uint32 uint16 "
    "uint8 bool complex128 complex64 bfloat16 float8_e4m3fn float8_e4m3fnuz "
    "float8_e5m2 float8_e5m2fnuz".split()
}
DTYPES["torch.float8_e8m0fnu"] = (
    np.dtype(ml_dtypes.float8_e8m0fnu) if hasattr(ml_dtypes, "float8_e8m0fnu") else None
)
DTYPES |= dict.fromkeys(("torch.complex32", "torch.qint8", "torch.quint8"))

_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "UntypedStorage": "uint8",
    "_UntypedStorage": "uint8",
}

_MAKERS = {
    "argparse Namespace": lambda reader: argparse.Namespace(),
    "collections OrderedDict": _ordered_dict,
    "builtins set": _set,
    "builtins frozenset": _frozenset,
    "builtins bytes": lambda reader: b"",
    "builtins bytearray": _bytearray,
    "builtins complex": _complex,
    "_codecs encode": _encode,
    "torch Size": lambda reader, sizes: whole_numbers(sizes),
    "torch device": _device,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor_v3": _tensor_of_bytes,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_parameter_with_state": _parameter,
    "numpy dtype": _dtype,
    "numpy ndarray": None,
    "numpy.core.multiarray scalar": _scalar,
    "numpy.core.multiarray _reconstruct": _hollow_array,
    "numpy.core.numeric _frombuffer": _array_of_bytes,
}


def _names():
    for text, make in _MAKERS.items():
        known = Known(text.replace(" ", "."), make)
        yield text, known
        # Their names in pickles of protocol 2, and in NumPy 2.
        yield text.replace("builtins ", "__builtin__ "), known
        yield text.replace("numpy.core.", "numpy._core."), known
    for name, dtype in _STORAGES.items():
        known = Known(f"torch.{name}", None, DTYPES[f"torch.{dtype}"])
        for module in ("torch", "torch.cuda", "torch.storage"):
            yield f"{module} {name}", known
    for name in DTYPES:
        yield name.replace(".", " "), name


# {"module name": what stands for it}
NAMES = dict(_names())
