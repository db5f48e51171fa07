"""Which patches hold most of an attention map."""

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
