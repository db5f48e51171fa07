"""Mimetic initial weights: attention that starts as it looks in trained networks."""

import keras
import numpy as np

from dino_tf.errors import UserError

# Share of noise and of the identity in a product of two matrices.
QUERY_KEY, VALUE_PROJECTION = (0.7, 0.7), (0.4, -0.4)
SLOWEST = 10_000.0  # largest period of the position table, over 2 pi


def initialise_mimetic(backbone, seed=0):
    """Gives a Vision Transformer mimetic attention and a sinusoidal position table.

    With Z of independent normal numbers of variance 1 / D, the product of the query
    and key matrices of each head is `0.7 Z + 0.7 I`, as near as their rank allows, and
    that of the value and projection matrices of each block `0.4 Z - 0.4 I`. Each
    product is parted by its singular values, of which both factors get the roots.
    Biases become zero; the position table is learnt on from sines; everything else
    stays as it is.

    Args:
        backbone: Built `VisionTransformer` with a position table, of a width that is
            a multiple of 4, at least 8.
        seed: Seed of Z.

    Raises:
        UserError: When the network has another width or no position table.

    Reference:
        Trockman and Kolter 2023, arXiv 2305.09828: the products, their shares, and
        sinusoidal positions, which are those of `sinusoids` here.
    """
    width = backbone.embed_dim
    if width % 4 or width < 8 or backbone.rope_periods is not None:
        raise UserError(
            f"model.init: got mimetic for width {width}; allowed: published, or a "
            "width that is a multiple of 4, at least 8, and a position table"
        )
    rng = np.random.default_rng(seed)
    for block in backbone.blocks:
        _initialise_attention(block.attn, rng)
    table = np.zeros(backbone.pos_embed.shape)
    table[0, 1:] = sinusoids(backbone.grid, width)
    backbone.pos_embed.assign(table)


def _initialise_attention(attention, rng):
    width, heads = attention.dim, attention.num_heads
    size = width // heads
    parts = [_factors(width, *QUERY_KEY, rng) for _ in range(heads)]
    queries = [left[:, :size] for left, _ in parts]
    keys = [right[:size].T for _, right in parts]
    values, projection = _factors(width, *VALUE_PROJECTION, rng)
    attention.qkv.kernel.assign(np.concatenate([*queries, *keys, values], axis=1))
    attention.proj.kernel.assign(projection)
    for layer in (attention.qkv, attention.proj):
        layer.bias.assign(keras.ops.zeros_like(layer.bias))


def _factors(width, noise, identity, rng):
    """Two matrices (D, D), largest part first, of product `noise Z + identity I`."""
    product = noise * rng.normal(size=(width, width)) / np.sqrt(width)
    product += identity * np.eye(width)
    left, sizes, right = np.linalg.svd(product)
    return left * np.sqrt(sizes), np.sqrt(sizes)[:, None] * right


def sinusoids(grid, width):
    """Position table (h * w, D) of sines and cosines of column and row.

    A quarter of the channels each has the sine and the cosine of the column, then
    those of the row, at D / 4 frequencies from 1 down to 1 / 10,000 in equal ratios.

    Args:
        grid: (h, w) patches.
        width: D, a multiple of 4, at least 8.

    Reference:
        Beyer et al. 2022, arXiv 2205.01580; google-research/big_vision,
        `models/vit.py`, `posemb_sincos_2d`.
    """
    rows, columns = np.indices(grid).reshape(2, -1, 1)
    rates = SLOWEST ** -np.linspace(0.0, 1.0, width // 4)
    angles = [columns * rates, rows * rates]
    return np.concatenate([f(a) for a in angles for f in (np.sin, np.cos)], axis=1)
