"""Which patches hold most of an attention map, and how far attention reaches."""

import numpy as np

from dino_tf.errors import UserError


def keep_mass_mask(attention, keep_mass=0.6):
    """Smallest set of the strongest places that holds `keep_mass` of each map.

    Args:
        attention: (heads, h, w), not negative; need not sum to one.
        keep_mass: share of each map's sum to keep, above 0 and at most 1.

    Returns:
        bool (heads, h, w). Places are dropped from the weakest on, as long as the
        dropped ones together hold at most `1 - keep_mass`. Nothing of an empty map.

    Raises:
        UserError: `keep_mass` is out of range.

    Reference:
        facebookresearch/dino, visualize_attention.py, option `--threshold`.
    """
    if not 0 < keep_mass <= 1:
        raise UserError(f"keep_mass is {keep_mass}; allowed: above 0, at most 1")
    flat = np.asarray(attention, dtype=np.float32)
    heads = flat.shape[0]
    flat = flat.reshape(heads, -1)
    order = np.argsort(flat, axis=1, kind="stable")
    ascending = np.take_along_axis(flat, order, axis=1)
    total = ascending.sum(axis=1, keepdims=True)
    ascending = ascending / np.maximum(total, np.finfo(np.float32).tiny)
    # The sum runs in double: over thousands of patches float32 would drift.
    mass = np.cumsum(ascending, axis=1, dtype=np.float64)
    mask = np.empty(flat.shape, dtype=bool)
    np.put_along_axis(mask, order, mass > 1 - keep_mass, axis=1)
    return mask.reshape(np.shape(attention))


def patch_distances(grid, patch_size=1):
    """Distances in pixels between the centres of patches: float32 (h * w, h * w).

    Args:
        grid: (h, w) patches.
        patch_size: pixels along a patch's side.
    """
    places = np.stack(np.indices(grid), axis=-1).reshape(-1, 2)
    apart = places[:, None] - places[None]
    return (patch_size * np.hypot(*np.moveaxis(apart, -1, 0))).astype(np.float32)


def attention_distance(attention, grid, patch_size=1):
    """Mean distance, in pixels, between a patch and the patches that it attends to.

    Each distance weighs as much as the attention; what a patch gives to CLS and
    registers is left out, and all patches count alike.

    Args:
        attention: (heads, N, N), rows of the patches that attend. N is h * w, or more,
            with CLS and registers before the patches.
        grid: (h, w) patches.
        patch_size: pixels along a patch's side.

    Returns:
        float64 (heads,). Patches without any attention to patches are left out; NaN
        where all are.

    Raises:
        UserError: there are fewer rows and columns than patches.

    Reference:
        Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7 right and appendix D.7.
    """
    attention, patches = np.asarray(attention, np.float32), grid[0] * grid[1]
    if attention.ndim != 3 or min(attention.shape[1:]) < patches:
        raise UserError(
            f"attention is {attention.shape}; allowed: (heads, N, N) with N of at "
            f"least {patches}, the patches of {grid[0]} x {grid[1]}"
        )
    among = attention[:, -patches:, -patches:]
    total = among.sum(axis=2, dtype=np.float64)
    distances = patch_distances(grid, patch_size)
    reach = np.einsum("hqk,qk->hq", among, distances, dtype=np.float64)
    counted = total > 0
    reach = np.where(counted, reach / np.where(counted, total, 1), 0).sum(axis=1)
    count = counted.sum(axis=1)
    return np.where(count > 0, reach / np.maximum(count, 1), np.nan)
