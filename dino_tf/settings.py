"""Dataclasses as settings: dotted keys, types checked by jsonargparse, YAML.

A settings class is a dataclass whose fields are made by `setting`, or are sections:
settings classes themselves. A dotted key names a field in a section: `head.out_dim`.
"""

import dataclasses
import difflib
import functools
import math
import re
import types
import typing

import jsonargparse
import yaml

from dino_tf.errors import UserError, plain

# A file of settings: its characters and how deep it is nested; a value in an error.
MOST_TEXT, DEEPEST, MOST_SHOWN = 2**20, 8, 200
# A number in any of the ways of YAML, of which some take for ever to read.
_LONG = re.compile(r"[-+.]?[0-9][-+0-9a-fA-FxXo_:.]{100,}")


def setting(default, doc):
    """Dataclass field with a default and the text that `--help` shows."""
    return dataclasses.field(default=default, metadata={"doc": doc})


def sections_of(kind):
    """Names and classes of the sections of a settings class."""
    fields = dataclasses.fields(kind)
    return {f.name: f.type for f in fields if dataclasses.is_dataclass(f.type)}


def fields_of(kind):
    """Dictionary from every dotted key of a settings class to its field."""
    flat = {f.name: f for f in dataclasses.fields(kind) if "doc" in f.metadata}
    for name, section in sections_of(kind).items():
        flat |= {f"{name}.{key}": field for key, field in fields_of(section).items()}
    return flat


def value_of(values, key):
    """Value of a dotted key of an object."""
    return functools.reduce(getattr, key.split("."), values)


def assign(values, key, value):
    """Sets a dotted key of an object."""
    section, _, name = key.rpartition(".")
    setattr(value_of(values, section) if section else values, name, value)


def nest(flat):
    """Dictionary of sections from one of dotted keys."""
    nested = {}
    for key, value in flat.items():
        section, _, name = key.rpartition(".")
        inner = nested.setdefault(section, {}) if section else nested
        inner[name] = value
    return nested


def flatten(kind, values):
    """Dictionary of dotted keys from one of nested or dotted keys, all of them known.

    Raises:
        UserError: a key is unknown, or a section holds no settings.
    """
    flat, sections = {}, sections_of(kind)
    for name, value in values.items():
        if name not in sections:
            flat[str(name)] = value
        elif isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        elif value is not None:
            raise UserError(
                f"{name}: got {short(value)}, allowed is a section of settings"
            )
    known = fields_of(kind)
    for key in flat:
        if key not in known:
            raise UserError(f"unknown setting {short(key)}; {nearest(key, known)}")
    return flat


def read_yaml(kind, path):
    """Dictionary of dotted keys from a YAML file.

    Nothing in it is executed, and it is not longer, deeper or more entangled than
    settings are.

    Raises:
        UserError: no such file, no YAML, or other than known settings in it.
    """
    try:
        values = _plain_yaml(path)
    # Of numbers and dates that are none YAML makes errors of Python's.
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        reason = plain(reason[:MOST_SHOWN])
        raise UserError(f"{path}: allowed is a YAML file; {reason}") from error
    if values is not None and not isinstance(values, dict):
        raise UserError(
            f"{path}: allowed are lines like 'data: scenes', got {short(values)}"
        )
    try:
        return flatten(kind, values or {})
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _plain_yaml(path):
    with open(path, encoding="utf-8") as file:
        text = file.read(MOST_TEXT + 1)
    if len(text) > MOST_TEXT:
        raise ValueError(f"longer than {MOST_TEXT} characters")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("references (*name) are not allowed")
        if isinstance(event, yaml.ScalarEvent) and _LONG.fullmatch(event.value):
            raise ValueError("a number of more than a hundred digits")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} deep")
    return yaml.safe_load(text)


def short(value):
    """A value as an error shows it: on one line that is not too long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes out no number of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def check(kind, flat):
    """The same dictionary with every value in the type of its field.

    Raises:
        UserError: a value cannot be read as that type.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    add_settings(parser, kind)
    known = fields_of(kind)
    for key, value in flat.items():
        if value is None and type(None) not in typing.get_args(known[key].type):
            raise wrong_value(key, known[key], value)
    try:
        checked = parser.parse_object(nest(flat))
    except jsonargparse.ArgumentError as error:
        key = key_in(error)
        raise wrong_value(key, known[key], flat[key]) from error
    found = {key: value_of(checked, key) for key in flat}
    for key, value in found.items():
        if not all(map(_is_plain, value if isinstance(value, tuple) else (value,))):
            raise wrong_value(key, known[key], flat[key])
    return found


def _is_plain(value):
    """Whether a number is one that arrays can hold, and a text one that files can."""
    if isinstance(value, str):
        return not any("\ud800" <= letter <= "\udbff" for letter in value)
    if isinstance(value, int):
        return abs(value) < 2**63
    return not isinstance(value, float) or math.isfinite(value)


def key_in(error):
    """Dotted key that an error of jsonargparse is about, or None."""
    found = re.match(r'Parser key "([^"]+)"', str(error))
    return found.group(1) if found else None


def wrong_value(key, field, value):
    """The `UserError` for a value that the field's type does not allow."""
    return UserError(f"{key}: got {short(value)}, allowed: {allowed(field.type)}")


def allowed(kind):
    """What may be written for a type, in words."""
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        example = ["0.4", "0.5", "0.6"][: len(typing.get_args(kind))]
        return f"{len(example)} numbers, as in [{','.join(example)}]"
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return _either(*typing.get_args(kind))
    words = {int: "a whole number", float: "a number", bool: "true or false"}
    return words.get(kind, "text")


def _either(first, second):
    if second is types.NoneType:
        return f"{allowed(first)}, or null (automatic)"
    return f"{allowed(first)}, or {allowed(second)}"


def nearest(name, known):
    """'did you mean ...?' with the known name most like `name`.

    The last part of a dotted name counts alone where the whole name has no likeness:
    `--epochs` is near `run.epochs`.
    """
    name, known = str(name), list(known)
    ends = {key.rpartition(".")[2]: key for key in reversed(known)}
    whole = difflib.get_close_matches(name, known, 1, 0.75)
    end = difflib.get_close_matches(name.rpartition(".")[2], ends, 1, 0.75)
    best = whole or [ends[key] for key in end]
    best = best or difflib.get_close_matches(name, known, 1, 0.0)
    return f"did you mean {best[0]}?"


def add_settings(parser, kind):
    """Adds every field of a settings class as an option, each section as a group.

    Args:
        parser: `jsonargparse.ArgumentParser`.
        kind: settings class; the field docs become the help.
    """
    groups = {
        name: parser.add_argument_group(f"{name} ({_first_line(section)})")
        for name, section in sections_of(kind).items()
    }
    for key, field in fields_of(kind).items():
        group = groups.get(key.rpartition(".")[0], parser)
        group.add_argument(
            f"--{key}",
            type=field.type,
            default=field.default,
            metavar=_metavar(field.type),
            help=field.metadata["doc"],
        )


def _metavar(kind):
    """Short word for a value in the help; None where the choices are listed."""
    if typing.get_origin(kind) is tuple:
        return "[" + ",".join("X" * len(typing.get_args(kind))) + "]"
    kind = typing.get_args(kind)[0] if isinstance(kind, types.UnionType) else kind
    return {int: "N", float: "X", str: "TEXT"}.get(kind)


def _first_line(kind):
    line = kind.__doc__.partition("\n")[0].rstrip(".")
    return line[0].lower() + line[1:]
