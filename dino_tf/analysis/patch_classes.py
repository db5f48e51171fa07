"""From class masks to patches, and from patches back to pixels."""

import functools

import numpy as np

from dino_tf.analysis.confusion import VOID
from dino_tf.errors import UserError


def patch_shares(mask, grid, classes, pixels=16):
    """Share of every class in every patch of a mask.

    The mask, whatever its size and shape, is laid over the grid by nearest pixels.

    Args:
        mask: uint8 (H, W): 0 background, then the classes, 255 void.
        grid: (h, w) patches.
        classes: number of classes C with the background.
        pixels: sample points along each side of a patch.

    Returns:
        float32 (h, w, C). A patch sums to one, or less where a part of it is void.

    Raises:
        UserError: the mask is not (H, W) or has a class that does not exist.
    """
    mask = check_mask(mask, classes)
    rows, columns = (
        (np.arange(n * pixels) + 0.5) * side / (n * pixels)
        for n, side in zip(grid, mask.shape, strict=True)
    )
    points = mask[rows.astype(np.int64)[:, None], columns.astype(np.int64)]
    patches = np.arange(grid[0] * grid[1]).reshape(grid)
    patches = patches.repeat(pixels, axis=0).repeat(pixels, axis=1)
    known = points != VOID
    cells = patches[known] * classes + points[known]
    counts = np.bincount(cells, minlength=grid[0] * grid[1] * classes)
    shares = counts.reshape(*grid, classes) / pixels**2
    return shares.astype(np.float32)


def check_mask(mask, classes):
    """The mask as an array; UserError when it is not (H, W) of known classes."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or not mask.size:
        raise UserError(f"a mask is {mask.shape}; allowed: (H, W)")
    wrong = np.unique(mask[(mask != VOID) & ((mask < 0) | (mask >= classes))])
    if wrong.size:
        raise UserError(
            f"a mask has the class {wrong[0]}; allowed: 0 to {classes - 1} and "
            f"{VOID} for void"
        )
    return mask


def enlarge_bilinear(maps, shape):
    """Smoothly larger maps; pixel centers, not corners, are matched.

    Args:
        maps: (h, w, C).
        shape: (H, W) of the result; smaller than (h, w) is allowed, without
            antialiasing.

    Returns:
        float32 (H, W, C).
    """
    maps = np.asarray(maps, np.float32)
    rows, columns = (
        _bilinear(n, wanted) for n, wanted in zip(maps.shape, shape, strict=False)
    )
    wide = np.matmul(columns, maps)
    tall = rows @ wide.reshape(len(wide), -1)
    return tall.reshape(*shape, maps.shape[2])


@functools.lru_cache(maxsize=256)
def _bilinear(count, wanted):
    """float32 (wanted, count): weights of the two nearest of `count` points."""
    places = (np.arange(wanted) + 0.5) * count / wanted - 0.5
    places = np.clip(places, 0, count - 1)
    below = np.minimum(places.astype(np.int64), max(count - 2, 0))
    weights = np.zeros((wanted, count), np.float32)
    every = np.arange(wanted)
    weights[every, np.minimum(below + 1, count - 1)] = places - below
    weights[every, below] += 1 - (places - below)
    return weights
