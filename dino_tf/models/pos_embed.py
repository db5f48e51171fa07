"""Bicubic interpolation of position tables as one matrix per axis.

A matrix product is exact, differentiable and has an XLA kernel, which the
backends' resize operations have not; it is built once per grid, in NumPy.
"""

import functools
import math

import numpy as np

# PyTorch's bicubic kernel; TensorFlow and Pillow use -0.5.
CUBIC_COEFFICIENT = -0.75
# Added to the target size before the scale is computed, as published.
SIZE_OFFSET = 0.1


def _cubic(distance):
    a, x = CUBIC_COEFFICIENT, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    if x < 2:
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return 0.0


def _bicubic_matrix(source, target):
    """Weights (target, source) along one axis, borders clamped."""
    step = source / (target + SIZE_OFFSET)
    matrix = np.zeros((target, source), "float64")
    for row in range(target):
        centre = (row + 0.5) * step - 0.5
        first = math.floor(centre)
        for tap in range(first - 1, first + 3):
            matrix[row, min(max(tap, 0), source - 1)] += _cubic(centre - tap)
    return matrix.astype("float32")


@functools.lru_cache(maxsize=256)
def grid_matrices(source, target):
    """Row and column matrices that take a table from grid to grid.

    Args:
        source: (h, w) patches of the table.
        target: (h, w) patches wanted.

    Returns:
        (target_h, source_h) and (target_w, source_w) matrices, or None when the
        grids are equal. Where one axis alone differs, both are interpolated, since
        the published scale is not one even for an axis of equal length.

    Reference:
        facebookresearch/dino, `vision_transformer.py`, `interpolate_pos_encoding`:
        the scale is `(target + 0.1) / source`.
    """
    if source == target:
        return None
    return (
        _bicubic_matrix(source[0], target[0]),
        _bicubic_matrix(source[1], target[1]),
    )
