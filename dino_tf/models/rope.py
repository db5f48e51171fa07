"""Rotary positions of patches (RoPE), as DINOv3 has them.

Each pair of channels of a query or key is a point of a plane, and is turned by an angle
that grows with the patch's row or column; their product then depends on where the two
patches lie to each other. CLS and registers are not turned.

Reference:
    Su et al. 2021, arXiv 2104.09864; Siméoni et al. 2025, arXiv 2508.10104;
    facebookresearch/dinov3, `layers/rope_position_encoding.py`, `layers/attention.py`.
"""

import functools
import math

import numpy as np
from keras import ops

PUBLISHED_BASE = 100.0


def published_periods(head_width, base=PUBLISHED_BASE):
    """Periods base^(4 j / head_width), j from 0, one for each quarter of the channels.

    The unit is half an image: period 1 turns twice from border to border. Published
    files hold them rounded to bfloat16.

    Args:
        head_width: Channels of a head, a multiple of 4.
        base: What the periods grow to.

    Returns:
        Tuple of `head_width // 4` floats.

    Raises:
        ValueError: For another head width.
    """
    if head_width < 4 or head_width % 4:
        raise ValueError(
            f"a head of {head_width} channels: rotary positions need a multiple of 4"
        )
    return tuple(base ** (4.0 * j / head_width) for j in range(head_width // 4))


@functools.lru_cache(maxsize=64)
def rotation_tables(grid, periods, num_prefix_tokens=0):
    """Cosine and sine of every token's and channel's angle.

    Coordinates are those of the patches' centres, on both axes from -1 to 1 whatever
    the sides of the image. A head's channels are rows, columns, and both again, each
    with all periods.

    Args:
        grid: (h, w) patches.
        periods: Tuple of d / 4 periods, d the head width.
        num_prefix_tokens: Tokens before the patches, which are not turned: angle 0.

    Returns:
        Two float32 arrays (num_prefix_tokens + h * w, d).
    """
    sides = [(np.arange(n) + 0.5) / n * 2.0 - 1.0 for n in grid]
    places = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1)
    angles = 2.0 * np.pi * places[..., None] / np.array(periods)
    angles = np.tile(angles.reshape(grid[0] * grid[1], -1), 2)
    angles = np.pad(angles, [(num_prefix_tokens, 0), (0, 0)])
    return np.cos(angles).astype("float32"), np.sin(angles).astype("float32")


class Rotation:
    """Turns queries or keys (B, heads, N, d) of one grid by their tokens' positions.

    It is no array, so that Keras hands it to layers without casting the angles, and
    all blocks share one constant.

    Args:
        grid, periods, num_prefix_tokens: See `rotation_tables`.
    """

    def __init__(self, grid, periods, num_prefix_tokens):
        tables = rotation_tables(tuple(grid), tuple(periods), num_prefix_tokens)
        self.cosine, self.sine = (ops.convert_to_tensor(table) for table in tables)

    def __call__(self, x):
        """The first tokens of the grid, at most all, turned in float32."""
        tokens = x.shape[2]
        wide = ops.cast(x, "float32")
        first, second = ops.split(wide, 2, axis=-1)
        turned = ops.concatenate([-second, first], axis=-1)
        wide = wide * self.cosine[:tokens] + turned * self.sine[:tokens]
        return ops.cast(wide, x.dtype)


def check_heads(embed_dim, num_heads, rope_periods):
    """Raises a `ValueError` for widths and periods that do not fit the heads."""
    if embed_dim % num_heads:
        raise ValueError(
            f"embed_dim={embed_dim} is not a multiple of num_heads={num_heads}"
        )
    width = embed_dim // num_heads
    if rope_periods is None:
        return
    if 4 * len(rope_periods) != width or not all(
        0 < p < math.inf for p in rope_periods
    ):
        raise ValueError(
            f"rope_periods={rope_periods}: expected a quarter of the head width "
            f"{width} in number, each above 0"
        )
