"""Layers of XCiT: convolutional patches, Fourier positions, blocks of both kinds."""

import functools
import math

import keras
import numpy as np
from keras import ops

from dino_tf.models.block import Attention, LayerNorm, Mlp, gelu
from dino_tf.models.head import BatchNorm

FOURIER_DIM = 32
FOURIER_TEMPERATURE = 10000
FOURIER_EPSILON = 1e-6
# PyTorch's `normalize` divides by no less than 1e-12; here it stands squared.
UNIT_EPSILON = 1e-24


def _uniform(fan_in):
    """PyTorch's default for weights and biases of a convolution."""
    bound = 1.0 / math.sqrt(fan_in)
    return keras.initializers.RandomUniform(-bound, bound)


class ConvPatchEmbed(keras.layers.Layer):
    """Patches by 3x3 convolutions of stride 2: (B, H, W, 3) -> (B, h, w, D).

    Four for patches of 16 pixels, three for 8; each doubles the width and has a batch
    norm behind it; between two of them stands a GELU.
    """

    def __init__(self, patch_size, dim, **kwargs):
        super().__init__(**kwargs)
        count = int(math.log2(patch_size))
        self.widths = [dim // 2**i for i in reversed(range(count))]
        self.convs, self.norms = [], []
        for i, width in enumerate(self.widths):
            before = self.widths[i - 1] if i else 3
            conv = keras.layers.Conv2D(
                width,
                3,
                strides=2,
                use_bias=False,
                data_format="channels_last",
                kernel_initializer=_uniform(9 * before),
                name=f"proj.{2 * i}.0",
                dtype=self.dtype_policy,
            )
            self.convs.append(conv)
            norm = BatchNorm(name=f"proj.{2 * i}.1", dtype=self.dtype_policy)
            self.norms.append(norm)

    def build(self, input_shape):
        before = 3
        for conv, norm, width in zip(self.convs, self.norms, self.widths, strict=True):
            conv.build((None, None, None, before))
            norm.build((None, None, None, width))
            before = width

    def call(self, x, training=False):
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            # "same" would pad an even side at its end alone.
            x = ops.pad(gelu(x) if i else x, [(0, 0), (1, 1), (1, 1), (0, 0)])
            x = norm(conv(x), training=training)
        return x


def _waves(count):
    """Sines and cosines (count, FOURIER_DIM) of the places along one axis."""
    places = np.arange(1, count + 1) / (count + FOURIER_EPSILON) * 2.0 * np.pi
    powers = np.arange(0, FOURIER_DIM, 2) / FOURIER_DIM
    angles = places[:, None] / FOURIER_TEMPERATURE**powers
    both = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    return both.reshape(count, FOURIER_DIM)


@functools.lru_cache(maxsize=256)
def fourier_features(grid):
    """Waves of every patch's row, then of its column, float32 (h, w, 64).

    Args:
        grid: (h, w) patches. Places run from 1 / h or 1 / w to 1 of a whole turn.
    """
    rows, columns = grid
    shape = (rows, columns, FOURIER_DIM)
    of_rows = np.broadcast_to(_waves(rows)[:, None], shape)
    of_columns = np.broadcast_to(_waves(columns)[None], shape)
    return np.concatenate([of_rows, of_columns], axis=-1).astype("float32")


class FourierPositions(keras.layers.Layer):
    """Position of each patch as a projection of its waves, for a grid of any size."""

    def __init__(self, dim, **kwargs):
        # In float32 under any policy, as the residual stream that it is added to.
        super().__init__(**{**kwargs, "dtype": "float32"})
        fan_in = 2 * FOURIER_DIM
        self.token_projection = keras.layers.Conv2D(
            dim,
            1,
            data_format="channels_last",
            kernel_initializer=_uniform(fan_in),
            bias_initializer=_uniform(fan_in),
            name="token_projection",
            dtype="float32",
        )

    def build(self, input_shape=None):
        self.token_projection.build((None, None, None, 2 * FOURIER_DIM))

    def call(self, x):
        """Adds to the patches (B, h, w, D) their positions."""
        waves = ops.convert_to_tensor(fourier_features(tuple(x.shape[1:3])))
        return x + self.token_projection(waves[None])


class CrossCovarianceAttention(Attention):
    """Attention among the channels of each head, instead of among the tokens (XCA).

    Its cost grows with the number of tokens, not with its square.
    """

    def build(self, input_shape):
        super().build(input_shape)
        self.temperature = self.add_weight(
            (self.num_heads, 1, 1), "ones", name="temperature", autocast=False
        )

    def _units(self, x):
        """Heads (B, heads, N, d) whose channels have length 1 over the tokens."""
        x = self._heads(x)
        wide = ops.cast(x, "float32")
        square = ops.sum(wide * wide, axis=2, keepdims=True)
        # The root is taken of what is not zero, else its gradient would not be finite.
        return ops.cast(wide * ops.rsqrt(ops.maximum(square, UNIT_EPSILON)), x.dtype)

    def weights_of(self, queries, keys):
        """Attention (B, heads, d, d) of (B, N, D) queries and keys; float32 softmax."""
        queries = ops.transpose(self._units(queries), (0, 1, 3, 2))
        scores = ops.matmul(queries, self._units(keys))
        return ops.softmax(ops.cast(scores, "float32") * self.temperature, axis=-1)

    def call(self, x):
        queries, keys, values = self.project(x)
        attention = ops.cast(self.weights_of(queries, keys), values.dtype)
        # The tokens stay rows: both factors of the published product, transposed.
        mixed = ops.matmul(self._heads(values), ops.transpose(attention, (0, 1, 3, 2)))
        mixed = ops.transpose(mixed, (0, 2, 1, 3))
        mixed = self.proj(ops.reshape(mixed, (-1, self.dim)))
        return ops.reshape(mixed, (-1, x.shape[1], self.dim))


class DepthwiseConv(keras.layers.Layer):
    """3x3 convolution of each channel by itself: (B, h, w, D) -> (B, h, w, D)."""

    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.dim = dim

    def build(self, input_shape):
        # The layout of a convolution in D groups, so that the published weights are
        # transposed by the rule for every convolution.
        self.kernel = self.add_weight((3, 3, 1, self.dim), _uniform(9), name="kernel")
        self.bias = self.add_weight((self.dim,), _uniform(9), name="bias")

    def call(self, x):
        kernel = ops.reshape(ops.cast(self.kernel, x.dtype), (3, 3, self.dim, 1))
        mixed = ops.depthwise_conv(
            x, kernel, padding="same", data_format="channels_last"
        )
        return mixed + ops.cast(self.bias, x.dtype)


class LocalPatchInteraction(keras.layers.Layer):
    """Two depthwise convolutions by which neighbouring patches speak (LPI)."""

    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.dim, policy = dim, self.dtype_policy
        self.conv1 = DepthwiseConv(dim, name="conv1", dtype=policy)
        self.bn = BatchNorm(name="bn", dtype=policy)
        self.conv2 = DepthwiseConv(dim, name="conv2", dtype=policy)

    def build(self, input_shape):
        for layer in (self.conv1, self.bn, self.conv2):
            layer.build((None, None, None, self.dim))

    def call(self, x, grid=None, training=False):
        """(B, h * w, D) -> (B, h * w, D) with `grid` (h, w)."""
        x = ops.reshape(x, (-1, *grid, self.dim))
        x = self.bn(gelu(self.conv1(x)), training=training)
        return ops.reshape(self.conv2(x), (-1, grid[0] * grid[1], self.dim))


class XCABlock(keras.layers.Layer):
    """XCA, local patch interaction and MLP, each normalised, scaled and residual.

    The residual stream stays in float32 under mixed precision, as in `Block`. The
    factors of the branches start at `eta`.
    """

    def __init__(self, dim, num_heads, mlp_ratio, eta, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.dim, self.eta, policy = dim, eta, self.dtype_policy
        self.norm1 = LayerNorm(name="norm1")
        self.attn = CrossCovarianceAttention(dim, num_heads, name="attn", dtype=policy)
        self.norm2 = LayerNorm(name="norm2")
        self.mlp = Mlp(dim, round(dim * mlp_ratio), name="mlp", dtype=policy)
        self.norm3 = LayerNorm(name="norm3")
        self.local_mp = LocalPatchInteraction(dim, name="local_mp", dtype=policy)

    def build(self, input_shape):
        self.gamma1, self.gamma2, self.gamma3 = _layer_scales(self, 3)
        layers = (self.norm1, self.attn, self.norm2, self.mlp, self.norm3)
        for layer in (*layers, self.local_mp):
            layer.build((None, None, self.dim))

    def call(self, x, factors=(None, None, None), grid=None, training=False):
        """(B, h * w, D) -> (B, h * w, D) with `grid` (h, w).

        `factors` (B, 1, 1) multiply the three branches in turn, see `DropPath`.
        """
        x = x + _scaled(self.attn(self.norm1(x)), self.gamma1, factors[0])
        local = self.local_mp(self.norm3(x), grid=grid, training=training)
        x = x + _scaled(local, self.gamma3, factors[1])
        return x + _scaled(self.mlp(self.norm2(x)), self.gamma2, factors[2])


class ClassAttentionBlock(keras.layers.Layer):
    """Attention of CLS to all tokens, then an MLP on CLS alone.

    The patches take no part in either, yet pass both residual sums: they leave as
    twice the second norm of `x + gamma1 * norm1(x)`, as in the published program
    with its `tokens_norm`.

    Reference:
        Touvron et al. 2021, arXiv 2103.17239; facebookresearch/xcit, `xcit.py`.
    """

    def __init__(self, dim, num_heads, mlp_ratio, eta, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.dim, self.eta, policy = dim, eta, self.dtype_policy
        self.norm1 = LayerNorm(name="norm1")
        self.attn = Attention(dim, num_heads, name="attn", dtype=policy)
        self.norm2 = LayerNorm(name="norm2")
        self.mlp = Mlp(dim, round(dim * mlp_ratio), name="mlp", dtype=policy)

    def build(self, input_shape):
        self.gamma1, self.gamma2 = _layer_scales(self, 2)
        for layer in (self.norm1, self.attn, self.norm2, self.mlp):
            layer.build((None, None, self.dim))

    def call(self, x, cls_only=False):
        """(B, N, D) -> (B, N, D); with `cls_only` the same CLS alone, for less work."""
        normed = self.norm1(x)
        branch = ops.cast(self.attn(normed, cls_only=True), "float32")
        if not cls_only:
            branch = ops.concatenate([branch, normed[:, 1:]], axis=1)
        x = self.norm2((x[:, :1] if cls_only else x) + self.gamma1 * branch)
        branch = _scaled(self.mlp(x[:, :1]), self.gamma2)
        if not cls_only:
            branch = ops.concatenate([branch, x[:, 1:]], axis=1)
        return x + branch


def _layer_scales(block, count):
    """Learnt factors `gamma1`, `gamma2`, ... (D,) of the block's branches."""
    initial = keras.initializers.Constant(block.eta)
    names = [f"gamma{i + 1}" for i in range(count)]
    return [block.add_weight((block.dim,), initial, name=name) for name in names]


def _scaled(branch, gamma, factor=None):
    branch = ops.cast(branch, "float32") * gamma
    return branch if factor is None else branch * factor
