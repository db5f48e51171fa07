"""Bicubic interpolation of position tables as one matrix per axis.

A matrix product is exact, differentiable and has an XLA kernel, which the
backends' resize operations have not; it is built once per grid, in NumPy.
"""

import functools
import math

import numpy as np

# PyTorch's bicubic kernel; TensorFlow, Pillow and PyTorch with antialias use -0.5.
CUBIC_COEFFICIENT, ANTIALIAS_COEFFICIENT = -0.75, -0.5
# Added to the target size before the scale is computed, as published.
SIZE_OFFSET = 0.1


def _cubic(distance, a):
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x < 2:
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return 0.0


def _bicubic_matrix(source, target, offset):
    """Weights (target, source) along one axis, borders clamped."""
    step = source / (target + offset)
    matrix = np.zeros((target, source), "float64")
    for row in range(target):
        centre = (row + 0.5) * step - 0.5
        first = math.floor(centre)
        for tap in range(first - 1, first + 3):
            weight = _cubic(centre - tap, CUBIC_COEFFICIENT)
            matrix[row, min(max(tap, 0), source - 1)] += weight
    return matrix.astype("float32")


def _antialias_matrix(source, target):
    """The same with a kernel as wide as a target cell, cut off at the borders."""
    step = source / target
    width = max(step, 1.0)
    centres = (np.arange(target)[:, None] + 0.5) * step - 0.5
    distances = (centres - np.arange(source)) / width
    matrix = np.vectorize(_cubic, otypes=["float64"])(distances, ANTIALIAS_COEFFICIENT)
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype("float32")


@functools.lru_cache(maxsize=256)
def grid_matrices(source, target, offset=SIZE_OFFSET, antialias=False):
    """Row and column matrices that take a table from grid to grid.

    Args:
        source: (h, w) patches of the table.
        target: (h, w) patches wanted.
        offset: Added to the target before the scale is computed.
        antialias: Whether the kernel widens where the table shrinks; `offset` is of
            no account then.

    Returns:
        (target_h, source_h) and (target_w, source_w) matrices, or None when the
        grids are equal. Where one axis alone differs, both are interpolated, since
        the published scale is not one even for an axis of equal length.

    Reference:
        facebookresearch/dino, `vision_transformer.py`, `interpolate_pos_encoding`:
        the scale is `(target + 0.1) / source`; facebookresearch/dinov2,
        `hub/backbones.py`: networks with registers antialias instead.
    """
    if source == target:
        return None
    sizes = zip(source, target, strict=True)
    if antialias:
        return tuple(_antialias_matrix(old, new) for old, new in sizes)
    return tuple(_bicubic_matrix(old, new, offset) for old, new in sizes)
