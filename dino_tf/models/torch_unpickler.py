"""A reader of pickles that can make only what `torch_objects` lists.

Python's own unpickler lets a file set attributes of whatever it has at hand and hash
whatever it likes, even where the names that it may look up are restricted. This one
knows the plain operations and no other.

Reference: Python's `pickletools`, which describes each operation and splits the file.
"""

import argparse
import collections
import pickletools
import struct

from dino_tf.models.torch_objects import NAMES, Known, key_of, set_state
from dino_tf.models.torch_tensors import Damaged, Refused, short

_LITERALS = set(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING "
    "SHORT_BINSTRING UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
# Bytes of memory that operations of one or few bytes can take.
_COSTS = {"EMPTY_LIST": 64, "EMPTY_DICT": 64, "EMPTY_SET": 216, "FROZENSET": 216}
_COSTS |= {"MARK": 64, "MEMOIZE": 100, "PUT": 100, "BINPUT": 100, "LONG_BINPUT": 100}
_COSTS |= {"REDUCE": 400, "NEWOBJ": 400}
_MOST_NESTED, _MOST_ITEMS = 100, 2**24
# What Python raises where a file makes no sense.
WRONG = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def unpickle(stream, budget, load=None):
    """The next pickle of a stream, as plain objects; nothing in it is executed.

    Args:
        stream: Binary file, left after the pickle's end.
        budget: `Budget` of the file.
        load: Function from a persistent id to what it stands for; None where the pickle
            must have none.

    Returns:
        The object. Names that stand for themselves, not called, are `Known`.

    Raises:
        Refused: For a name or an operation that is not allowed.
        Damaged: When the bytes are no pickle, or it ends too early.
    """
    machine = _Machine(budget, load)
    try:
        for code, argument, _ in pickletools.genops(stream):
            machine.step(code.name, argument)
        (result,) = machine.stack
        _check_nesting(result)
        return result
    except (Refused, Damaged):
        raise
    except WRONG as error:
        raise Damaged("its pickle breaks off or makes no sense") from error


def _containers(value):
    """The containers right inside one, and how many things it holds in all."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    items = value.values() if isinstance(value, dict) else value
    kinds = (dict, list, tuple, argparse.Namespace)
    return [item for item in items if isinstance(item, kinds)], len(value)


def _check_nesting(result):
    """Refuses what nobody could walk through: cycles, depth, sharing upon sharing."""
    # id: (depth, items when everything shared is counted each time); None while open.
    seen = {}
    todo = [([result], False)]
    while todo:
        value, is_last = todo.pop()
        if id(value) in seen and not is_last:
            if seen[id(value)] is None:
                raise Refused("it has a list or dictionary that contains itself")
            continue
        inner, items = _containers(value)
        if not is_last:
            seen[id(value)] = None
            todo += [(value, True), *((item, False) for item in inner)]
            continue
        below = [seen[id(item)] for item in inner]
        depth = 1 + max((depth for depth, _ in below), default=0)
        items += sum(count for _, count in below)
        seen[id(value)] = depth, items
        if depth > _MOST_NESTED or items > _MOST_ITEMS:
            raise Refused("its lists and dictionaries are nested too deeply")


class _Machine:
    """The stack of a pickle and the operations on it."""

    def __init__(self, budget, load):
        self.budget, self.load = budget, load
        self.stack, self.marks, self.memo = [], [], {}
        # Arrays that wait for their state, by id.
        self.hollow = {}

    def step(self, name, argument):
        self.budget.spend(_COSTS.get(name, 0))
        if name in _LITERALS:
            if type(argument) is int and argument.bit_length() > 4096:
                raise Refused("it has an integer of more than 4096 bits")
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif operation := getattr(self, f"_op_{name.lower()}", None):
            operation(argument)
        else:
            raise Refused(f"it has the pickle operation {name}")

    def _pop(self, count):
        if count > len(self.stack):
            raise Damaged("its pickle takes more than it has")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def _since_mark(self):
        taken, self.stack = self.stack, self.marks.pop()
        return taken

    def _update(self, flat):
        target = self.stack[-1]
        if type(target) not in (dict, collections.OrderedDict) or len(flat) % 2:
            raise Damaged("it sets items of what is no dictionary")
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            target[key_of(key)] = value

    def _extend(self, items):
        if type(self.stack[-1]) is not list:
            raise Damaged("it appends to what is no list")
        self.stack[-1].extend(items)

    def _find(self, text):
        if text not in NAMES:
            raise Refused(f"it names {short(text.replace(' ', '.', 1))}")
        self.stack.append(NAMES[text])

    def _make(self):
        known, arguments = self._pop(2)
        if type(known) is not Known or known.make is None:
            raise Refused(f"it calls {known if type(known) is Known else 'a value'}")
        if type(arguments) is not tuple:
            raise Damaged("its pickle calls without a tuple")
        self.stack.append(known.make(self, *arguments))

    def _op_proto(self, version):
        if version > 5:
            raise Damaged(f"its pickle has protocol {version}")

    def _op_frame(self, _):
        pass

    def _op_stop(self, _):
        if self.marks:
            raise Damaged("its pickle ends within a group")

    def _op_mark(self, _):
        self.marks.append(self.stack)
        self.stack = []

    def _op_pop(self, _):
        # Python's own pickles take a mark off the stack by it too.
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.marks.pop()

    def _op_pop_mark(self, _):
        self._since_mark()

    def _op_dup(self, _):
        self.stack.append(self.stack[-1])

    def _op_put(self, index):
        self.memo[index] = self.stack[-1]

    _op_binput = _op_long_binput = _op_put

    def _op_memoize(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    def _op_get(self, index):
        self.stack.append(self.memo[index])

    _op_binget = _op_long_binget = _op_get

    def _op_tuple(self, _):
        items = self._since_mark()
        self.stack.append(tuple(items))

    def _op_tuple1(self, _):
        self.stack.append(tuple(self._pop(1)))

    def _op_tuple2(self, _):
        self.stack.append(tuple(self._pop(2)))

    def _op_tuple3(self, _):
        self.stack.append(tuple(self._pop(3)))

    def _op_list(self, _):
        items = self._since_mark()
        self.stack.append(items)

    def _op_append(self, _):
        self._extend(self._pop(1))

    def _op_appends(self, _):
        self._extend(self._since_mark())

    def _op_dict(self, _):
        flat = self._since_mark()
        self.stack.append({})
        self._update(flat)

    def _op_setitem(self, _):
        self._update(self._pop(2))

    def _op_setitems(self, _):
        self._update(self._since_mark())

    def _op_additems(self, _):
        items = self._since_mark()
        if type(self.stack[-1]) is not set:
            raise Damaged("it adds to what is no set")
        self.stack[-1].update(map(key_of, items))

    def _op_frozenset(self, _):
        items = self._since_mark()
        self.stack.append(frozenset(map(key_of, items)))

    def _op_global(self, text):
        self._find(text)

    def _op_stack_global(self, _):
        module, name = self._pop(2)
        if type(module) is not str or type(name) is not str:
            raise Damaged("its pickle has a name that is no text")
        self._find(f"{module} {name}")

    def _op_reduce(self, _):
        self._make()

    def _op_newobj(self, _):
        self._make()

    def _op_build(self, _):
        (state,) = self._pop(1)
        set_state(self, self.stack[-1], state)

    def _op_binpersid(self, _):
        (saved,) = self._pop(1)
        if self.load is None:
            raise Refused("it has a persistent id outside of its object")
        self.stack.append(self.load(saved))
