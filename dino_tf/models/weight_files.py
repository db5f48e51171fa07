"""Weights as they lie in files: opened, unwrapped, and taken apart by name."""

import dataclasses
import json
import pathlib

import numpy as np

from dino_tf.errors import UserError, first_line
from dino_tf.models.torch_file import is_torch_file, read_torch_file

# Below these keys programs put the network that they train.
WRAPPERS = ("state_dict", "model", "model_state_dict")
# What training wraps around names: data parallelism, torch.compile, Lightning.
PREFIXES = ("module.", "_orig_mod.", "model.")
LONGEST_HEADER = 100_000_000  # bytes, as the safetensors library allows
LONGEST_CONFIG = 10_000_000  # characters of a `config.json`
PARTS = ("teacher", "student")
HEADS = ("head.", "dino_head.")
OTHER_HEADS = ("ibot_head.",)  # of DINOv2's patch task
# PyTorch's newer way to write a weight norm.
WEIGHT_NORM = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """One network out of a file, as {published name: array}.

    Attributes:
        path: The file.
        part: "student" or "teacher" of a training checkpoint; else None.
        backbone: Arrays of the backbone.
        head: Arrays of the projection head; empty where there is none.
        center: Center (1, K) of the loss; None where there is none.
        num_heads: Attention heads, where the file or a `config.json` beside it tells.
    """

    path: pathlib.Path
    part: str | None
    backbone: dict
    head: dict
    center: np.ndarray | None = None
    num_heads: int | None = None


def read_weights(path, part=None):
    """Weights of one network in a PyTorch or safetensors file.

    Nothing in the file is executed, and PyTorch is not needed.

    Args:
        path: `.safetensors`, or a file of `torch.save`: a plain state dict or a
            training checkpoint.
        part: "student" or "teacher" of a training checkpoint; None takes the
            teacher where there are both.

    Returns:
        `WeightFile`.

    Raises:
        UserError: When the file cannot be read, holds no weights or not that part.
    """
    path = pathlib.Path(path)
    check_part(part)
    # What it is called tells less than what it begins with.
    if _is_safetensors(path):
        content = _read_safetensors(path)
    else:
        content = read_torch_file(path)
    arrays, found = _unwrap(content, part, path)
    arrays, found = _strip(arrays, found, part)
    if part != (found if part else None):
        holds = f"a {found} alone" if found else "one network, no student and teacher"
        raise UserError(f"{path} holds {holds}; asked for was the {part}")
    backbone, head = _split(arrays)
    if not backbone:
        raise UserError(f"{path} holds no weights of a backbone")
    center, heads = _center(content, path), _told_heads(path)
    return WeightFile(path, found, backbone, head, center, heads)


def check_part(part):
    """Raises a `UserError` for anything but "student", "teacher" and None."""
    if part not in (None, *PARTS):
        raise UserError(f"part {part!r}: expected 'student' or 'teacher'")


def safetensors_facts(path):
    """Metadata {name: text} of a safetensors file; empty for every other file."""
    path = pathlib.Path(path)
    if not path.is_file() or not _is_safetensors(path):
        return {}
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, LONGEST_HEADER)))
        return dict(header.get("__metadata__", {}))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}


def _is_safetensors(path):
    if not path.is_file() or is_torch_file(path):
        return False
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{" or path.suffix.lower() == ".safetensors"


def _told_heads(path):
    """Attention heads by our metadata, else by transformers' or timm's config."""
    try:
        told = json.loads(safetensors_facts(path).get("config", "{}"))
        if not told and path.with_name("config.json").is_file():
            with path.with_name("config.json").open(encoding="utf-8") as file:
                told = json.loads(file.read(LONGEST_CONFIG))
            told = {**told, **told.get("model_args", {})}
        heads = told.get("num_heads", told.get("num_attention_heads"))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return None
    return heads if type(heads) is int and heads > 0 else None


def _read_safetensors(path):
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise UserError(f"{path} needs: pip install safetensors") from error
    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read as safetensors ({first_line(error)}); "
            "download or export it again"
        ) from error


def _unwrap(content, part, path):
    """The innermost {name: array} of nested dictionaries, and the part it is."""
    if not isinstance(content, dict) or not content:
        kind = type(content).__name__
        raise UserError(f"{path} holds no weights but {kind}; expected a state dict")
    for key in (part,) if part else PARTS:
        if isinstance(content.get(key), dict):
            return _unwrap(content[key], None, path)[0], key
    for key in WRAPPERS:
        if isinstance(content.get(key), dict):
            return _unwrap(content[key], part, path)
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise UserError(
                f"{path} holds no weights: {name!r} is {type(value).__name__}, "
                "expected an array"
            )
    return content, None


def _center(content, path):
    loss = content.get("dino_loss") if isinstance(content, dict) else None
    center = loss.get("center") if isinstance(loss, dict) else None
    if not isinstance(center, np.ndarray):
        return None
    if center.dtype.kind != "f" or not np.isfinite(center).all():
        raise UserError(f"{path}: the center holds other than finite numbers")
    return center


def _strip(arrays, found, part):
    """Names without what training put before them; of two networks the one asked."""
    arrays = {_without(name, PREFIXES): array for name, array in arrays.items()}
    owners = {name.partition(".")[0] for name in arrays}
    there = [owner for owner in (part, *PARTS) if owner in owners]
    if there:
        found = there[0]
        arrays = {
            _without(name.removeprefix(f"{found}."), PREFIXES): array
            for name, array in arrays.items()
            if name.startswith(f"{found}.")
        }
    return arrays, found


def _without(name, prefixes):
    while name.startswith(prefixes):
        name = name.partition(".")[2]
    return name


def _split(arrays):
    """Backbone and head; what is neither stays with the backbone, to be refused."""
    headed = any(".last_layer." in name for name in arrays)
    backbone, head = {}, {}
    for name, array in arrays.items():
        if headed and name.startswith(HEADS):
            name = name.partition(".")[2]
            for new, old in WEIGHT_NORM.items():
                name = name.replace(new, old)
            head[name] = array
        elif not name.startswith(OTHER_HEADS):
            backbone[_without(name, (*PREFIXES, "backbone."))] = array
    return backbone, head
