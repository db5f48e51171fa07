"""Weights by their published names: renaming and transposing, nothing else."""

import dataclasses

import numpy as np

from dino_tf.errors import UserError

PERIODS = "rope_embed.periods"  # an argument of our networks, a weight of DINOv3's
PASSED_OVER = ("num_batches_tracked", PERIODS)
_LEAVES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
    "layer_scale": "gamma",
}


def published_name(variable, layer):
    """Published name of a variable of `layer`, one of our networks or heads.

    `vit/blocks.0/attn/qkv/kernel` becomes `blocks.0.attn.qkv.weight`: what stands
    before the layer's own name, and that name, are left out.
    """
    path = variable.path.split("/")
    *parts, leaf = path[path.index(layer.name) + 1 :]
    return ".".join([*parts, _LEAVES.get(leaf, leaf)])


def to_published(value):
    """Array of a weight of ours in the published (PyTorch) layout."""
    value = np.asarray(value)
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    if value.ndim == 2:
        return value.T
    return value


def from_published(value):
    """Published array in our layout: dense (in, out), convolution (h, w, in, out)."""
    value = np.asarray(value)
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    if value.ndim == 2:
        return value.T
    return value


def published_weights(layer):
    """All weights of a network or head as {published name: array}.

    With the periods of rotary positions, which are an argument here.
    """
    arrays = {published_name(v, layer): to_published(v.numpy()) for v in layer.weights}
    periods = getattr(layer, "rope_periods", None)
    if periods is not None:
        arrays[PERIODS] = np.array(periods, "float32")
    return arrays


@dataclasses.dataclass(frozen=True)
class Match:
    """What {published name: array} has for a network or head.

    Attributes:
        loaded: Names that fit.
        missing: Names that the layer has and the arrays have not.
        unexpected: Names that only the arrays have.
        misshapen: Lines "name: has shape (...), expected (...)", published layout.
    """

    loaded: list
    missing: list
    unexpected: list
    misshapen: list

    @property
    def complete(self):
        """Whether every weight fits and none is left over."""
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self):
        """One line, with at most three names of each kind."""
        kinds = ("missing", "unexpected", "misshapen")
        parts = [f"{len(self.loaded)} loaded"]
        for kind in kinds:
            names = getattr(self, kind)
            more = ", ..." if len(names) > 3 else ""
            if names:
                parts.append(f"{len(names)} {kind} ({', '.join(names[:3])}{more})")
        return "; ".join(parts)


def match_published(layer, arrays):
    """Compares {published name: array} with a built network or head.

    PyTorch's counters of batches (`num_batches_tracked`) have no counterpart, and the
    periods of rotary positions are an argument: both are passed over.
    """
    given = {k: v for k, v in arrays.items() if not k.endswith(PASSED_OVER)}
    own = {published_name(v, layer): v.shape for v in layer.weights}
    shapes = {name: _published_shape(shape) for name, shape in own.items()}
    both = sorted(set(shapes) & set(given))
    misshapen = [k for k in both if tuple(given[k].shape) != shapes[k]]
    return Match(
        loaded=[k for k in both if k not in misshapen],
        missing=sorted(set(shapes) - set(given)),
        unexpected=sorted(set(given) - set(shapes)),
        misshapen=[
            f"{k}: has shape {tuple(given[k].shape)}, expected {shapes[k]}"
            for k in misshapen
        ],
    )


def assign_published(layer, arrays, strict=True):
    """Puts {published name: array} into a network or head; all or nothing.

    Args:
        layer: Built network or head of ours.
        arrays: Arrays in the published layout, of any real type.
        strict: Whether anything but a full match is an error; else what fits is
            assigned.

    Returns:
        `Match`.

    Raises:
        UserError: When names are missing or unexpected or shapes differ, when nothing
            fits at all, or when an array holds anything but finite numbers; nothing
            is assigned then.
    """
    match = match_published(layer, arrays)
    if strict and not match.complete or not match.loaded:
        raise UserError(f"weights do not fit a {type(layer).__name__}: {match}")
    values = {name: _finite(name, arrays[name]) for name in match.loaded}
    for variable in layer.weights:
        name = published_name(variable, layer)
        if name in values:
            variable.assign(from_published(values[name]))
    return match


def _published_shape(shape):
    return to_published(np.broadcast_to(np.float32(0), shape)).shape


def _finite(name, array):
    array = np.asarray(array)
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise UserError(f"{name} holds {array.dtype}, expected floating-point numbers")
    with np.errstate(over="ignore"):
        array = array.astype("float32", copy=False)
    if not np.isfinite(array).all():
        raise UserError(f"{name} holds numbers that are not finite: a damaged file?")
    return array
