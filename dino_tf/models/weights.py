"""Weights by their published names: renaming and transposing, nothing else."""

import numpy as np

_LEAVES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
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
    """All weights of a network or head as {published name: array}."""
    return {published_name(v, layer): to_published(v.numpy()) for v in layer.weights}


def assign_published(layer, arrays):
    """Puts {published name: array} into a network or head; all or nothing.

    Args:
        layer: Built network or head of ours.
        arrays: Arrays in the published layout. PyTorch's counters of batches
            (`num_batches_tracked`) have no counterpart and are passed over.

    Raises:
        ValueError: When names are missing or unexpected, or shapes differ; nothing
            is assigned then.
    """
    given = {k: v for k, v in arrays.items() if not k.endswith("num_batches_tracked")}
    own = {published_name(v, layer): v for v in layer.weights}
    values = {k: from_published(given[k]) for k, v in own.items() if k in given}
    problems = [f"missing {k}" for k in sorted(set(own) - set(given))]
    problems += [f"unexpected {k}" for k in sorted(set(given) - set(own))]
    problems += [
        f"{k} has shape {values[k].shape} for {tuple(own[k].shape)}"
        for k in sorted(values)
        if values[k].shape != tuple(own[k].shape)
    ]
    if problems:
        raise ValueError(f"weights do not fit {layer.name}: {'; '.join(problems)}")
    for name, value in values.items():
        own[name].assign(value)
