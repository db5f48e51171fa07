"""Patch features of a few photos, small enough to be compared inside of a page."""

import base64

import numpy as np

DIMENSIONS = 48
# Patches that the directions are fitted on; more change nothing that can be seen.
MOST_FITTED = 8192


def reduce_features(maps, dimensions=DIMENSIONS):
    """Features with few channels and nearly the same cosines, in 8 bits.

    Every patch is divided by its length and projected on the directions that keep most
    of the patches of all photos together. The mean is not taken away first: cosines are
    about the origin. Each patch is then scaled to the range of 8 bits by itself, which
    no cosine sees.

    Args:
        maps: float (h, w, D) of each photo, h and w its own.
        dimensions: channels to keep, at most; never more than D.

    Returns:
        List of int8 (h, w, d), one for each photo. A patch of zeros stays one.
    """
    unit = [_unit(np.asarray(m, np.float32).reshape(-1, m.shape[2])) for m in maps]
    every = np.concatenate(unit)
    some = every[:: max(1, -(-len(every) // MOST_FITTED))].astype(np.float64)
    _, directions = np.linalg.eigh(some.T @ some)
    directions = directions[:, ::-1][:, :dimensions].astype(np.float32)
    reduced = []
    for features, whole in zip(unit, maps, strict=True):
        kept = features @ directions
        largest = np.abs(kept).max(axis=1, keepdims=True)
        kept = np.round(127 * kept / np.maximum(largest, 1e-12)).astype(np.int8)
        reduced.append(kept.reshape(*whole.shape[:2], -1))
    return reduced


def packed(features):
    """{"rows", "columns", "channels", "features"} of int8 (h, w, d), in base64."""
    rows, columns, channels = features.shape
    return {
        "rows": rows,
        "columns": columns,
        "channels": channels,
        "features": base64.b64encode(features.tobytes()).decode(),
    }


def _unit(features):
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, 1e-12)
