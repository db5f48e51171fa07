"""Transformer block of the Vision Transformer, from drop path to residual branches."""

import math

import keras
import numpy as np
from keras import ops

from dino_tf.models import pieces

LAYER_NORM_EPSILON = 1e-6  # of DINO and DINOv2; DINOv3 has 1e-5
INITIAL_STD = 0.02


def gelu(x):
    """Exact GELU, taken in float32."""
    return pieces.GELU(x)


def patch_grid(size, patch_size):
    """(h, w) patches of an image of (H, W) pixels; ValueError if they don't fit."""
    height, width = size
    if not height or not width or height % patch_size or width % patch_size:
        raise ValueError(
            f"image size {height} x {width} is not a positive multiple of "
            f"patch_size={patch_size}"
        )
    return height // patch_size, width // patch_size


def check_positive(**sizes):
    """Raises a `ValueError` for the first size below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}: expected at least 1")


def dense(units, name, dtype):
    """Dense layer with the published initial values (normal, 0.02).

    The published ones are cut off at 100 standard deviations, that is, not at all.
    """
    initializer = keras.initializers.RandomNormal(stddev=INITIAL_STD)
    return keras.layers.Dense(
        units, kernel_initializer=initializer, name=name, dtype=dtype
    )


def _tensor(variable):
    """What a variable holds; `convert_to_tensor` would give the variable itself."""
    return ops.reshape(variable, variable.shape)


class LayerNorm(keras.layers.Layer):
    """Layer normalisation with a published epsilon, in float32 under any policy."""

    def __init__(self, epsilon=LAYER_NORM_EPSILON, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.epsilon = epsilon

    def build(self, input_shape):
        # Read within layers of a lower precision, too.
        shape, exact = (input_shape[-1],), {"autocast": False}
        self.gamma = self.add_weight(shape, "ones", name="gamma", **exact)
        self.beta = self.add_weight(shape, "zeros", name="beta", **exact)

    def call(self, x):
        piece = pieces.layer_norm(self.epsilon, "float32")
        return piece(x, *self.weights_of_rows())

    def weights_of_rows(self):
        """Factor and shift (D,) as tensors."""
        return [_tensor(self.gamma), _tensor(self.beta)]

    def times(self, x, kernel, dtype, bias=None):
        """Normalised (n, D) `x` times `kernel` (D, m), both in `dtype`, and `bias`."""
        piece = pieces.layer_norm(self.epsilon, dtype)
        return piece.times((x, *self.weights_of_rows()), kernel, dtype, bias)


class DropPath(keras.layers.Layer):
    """Drops residual branches for whole samples while training.

    Args:
        rates: Chance of each branch to be dropped, 0 to below 1.
        seed: Seed of the draws; None draws one.

    Reference:
        Huang et al. 2016, arXiv 1603.09382; survivors are divided by the keep rate.
    """

    def __init__(self, rates, seed=None, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.rates = tuple(rates)
        # Without a draw there is no state to save.
        self.seed_generator = keras.random.SeedGenerator(seed) if any(rates) else None
        self.built = True

    def call(self, x, training=False):
        """For each branch the factors (B, 1, 1) of (B, ...); None where none drops."""
        if not training or not self.seed_generator:
            return [None] * len(self.rates)
        # One draw for the whole network; each alone would double its operations.
        keep = 1.0 - np.array(self.rates, "float32")[:, None, None, None]
        draw = keras.random.uniform(
            (len(keep), ops.shape(x)[0], 1, 1),
            dtype="float32",
            seed=self.seed_generator,
        )
        # Also 1 for branches that are never dropped, so that all blocks are alike.
        return ops.unstack(ops.floor(keep + draw) / keep, len(keep))


class PatchEmbed(keras.layers.Layer):
    """Cuts images into patches and projects each: (B, H, W, 3) -> (B, h, w, D)."""

    def __init__(self, patch_size, dim, **kwargs):
        super().__init__(**kwargs)
        # PyTorch's default for a convolution: uniform in +-1 / sqrt(fan in).
        bound = 1.0 / math.sqrt(3 * patch_size**2)
        uniform = keras.initializers.RandomUniform(-bound, bound)
        self.proj = keras.layers.Conv2D(
            dim,
            patch_size,
            strides=patch_size,
            data_format="channels_last",
            kernel_initializer=uniform,
            bias_initializer=keras.initializers.RandomUniform(-bound, bound),
            name="proj",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape):
        self.proj.build((None, None, None, 3))

    def call(self, images):
        return self.proj(images)


class Attention(keras.layers.Layer):
    """Multi-head self-attention with one matrix for queries, keys and values."""

    def __init__(self, dim, num_heads, **kwargs):
        # What is normalised here comes in float32.
        super().__init__(autocast=False, **kwargs)
        self.dim, self.num_heads = dim, num_heads
        self.qkv = dense(3 * dim, "qkv", self.dtype_policy)
        self.proj = dense(dim, "proj", self.dtype_policy)

    def build(self, input_shape):
        self.qkv.build((None, self.dim))
        self.proj.build((None, self.dim))

    def _heads(self, x):
        """(B, N, D) -> (B, heads, N, D / heads)."""
        tokens, size = ops.shape(x)[1], self.dim // self.num_heads
        x = ops.reshape(x, (-1, tokens, self.num_heads, size))
        return ops.transpose(x, (0, 2, 1, 3))

    def _columns(self, x, columns, norm=None):
        """(B, N, D) times some columns of the matrix, a slice: (B, N, m)."""
        flat = ops.reshape(x, (-1, self.dim))
        # Slicing the kernel leaves out the queries that nobody asks for.
        kernel, bias = _tensor(self.qkv.kernel), _tensor(self.qkv.bias)
        if columns != slice(None):
            kernel, bias = kernel[:, columns], bias[columns]
        made = _product(flat, kernel, norm, self.compute_dtype, bias)
        return ops.reshape(made, (-1, ops.shape(x)[1], bias.shape[0]))

    def project(self, x):
        """Queries, keys and values of normalised (B, N, D), each (B, N, D)."""
        return ops.split(self._columns(x, slice(None)), 3, axis=-1)

    def weights_of(self, queries, keys, rotation=None):
        """Attention (B, heads, queries, N) in float32 of what `project` gives.

        A `Rotation` is applied to queries and keys first.
        """
        queries, keys = self._heads(queries), self._heads(keys)
        return ops.softmax(ops.cast(self._scores(queries, keys, rotation), "float32"))

    def _scores(self, queries, keys, rotation):
        if rotation is not None:
            queries, keys = rotation(queries), rotation(keys)
        # Queries are fewer numbers than scores.
        queries = queries * (self.dim // self.num_heads) ** -0.5
        return ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))

    def call(self, x, cls_only=False, rotation=None, norm=None):
        """(B, N, D) -> (B, N, D), or (B, 1, D), the CLS alone, for less work.

        `norm` is applied to `x` first; it takes less memory here than before.
        """
        if cls_only:
            parts = [
                self._columns(x[:, :1], slice(None, self.dim), norm),
                self._columns(x, slice(self.dim, None), norm),
            ]
        else:
            parts = [self._columns(x, slice(None), norm)]
        if rotation is None:
            mixed = pieces.attention(self.num_heads)(*parts)
        else:
            mixed = self._rotated(parts, rotation)
        tokens = ops.shape(mixed)[1]
        mixed = ops.reshape(mixed, (-1, self.dim))
        bias = _tensor(self.proj.bias)
        mixed = _product(mixed, self.proj.kernel, None, self.compute_dtype, bias)
        return ops.reshape(mixed, (-1, tokens, self.dim))

    def _rotated(self, parts, rotation):
        """`pieces.attention` with a `Rotation` of queries and keys."""
        *queries, rest = parts
        queries, keys, values = [*queries, *ops.split(rest, 3 - len(queries), axis=-1)]
        attention = self.weights_of(queries, keys, rotation)
        mixed = ops.matmul(ops.cast(attention, values.dtype), self._heads(values))
        mixed = ops.transpose(mixed, (0, 2, 1, 3))
        return ops.reshape(mixed, (-1, ops.shape(queries)[1], self.dim))


def _product(x, kernel, norm, dtype, bias=None):
    """(n, D), normalised by `norm` if any, times (D, m), in `dtype`, and `bias`."""
    if norm is not None:
        return norm.times(x, _tensor(kernel), dtype, bias)
    return pieces.AS_IT_IS.times((ops.cast(x, dtype),), _tensor(kernel), dtype, bias)


class Mlp(keras.layers.Layer):
    """Two dense layers with a GELU between them, on every token alone."""

    def __init__(self, dim, hidden_dim, **kwargs):
        # What is normalised here comes in float32.
        super().__init__(autocast=False, **kwargs)
        self.dim, self.hidden_dim = dim, hidden_dim
        self.fc1 = dense(hidden_dim, "fc1", self.dtype_policy)
        self.fc2 = dense(dim, "fc2", self.dtype_policy)

    def build(self, input_shape):
        self.fc1.build((None, self.dim))
        self.fc2.build((None, self.hidden_dim))

    def call(self, x, norm=None):
        """(B, N, D) -> (B, N, D); `norm` is applied to `x` first."""
        flat, dtype = ops.reshape(x, (-1, self.dim)), self.compute_dtype
        hidden = _product(flat, self.fc1.kernel, norm, dtype)
        inputs = hidden, _tensor(self.fc1.bias)
        kernel, bias = _tensor(self.fc2.kernel), _tensor(self.fc2.bias)
        flat = pieces.BIASED_GELU.times(inputs, kernel, dtype, bias)
        return ops.reshape(flat, (-1, ops.shape(x)[1], self.dim))


class SwiGLU(keras.layers.Layer):
    """MLP whose hidden channels are gated by as many others.

    Reference:
        Shazeer 2020, arXiv 2002.05202; facebookresearch/dinov2, `swiglu_ffn.py`.
    """

    def __init__(self, dim, hidden_dim, **kwargs):
        # What is normalised here comes in float32.
        super().__init__(autocast=False, **kwargs)
        self.dim, self.hidden_dim = dim, hidden_dim
        self.w12 = dense(2 * hidden_dim, "w12", self.dtype_policy)
        self.w3 = dense(dim, "w3", self.dtype_policy)

    def build(self, input_shape):
        self.w12.build((None, self.dim))
        self.w3.build((None, self.hidden_dim))

    def call(self, x, norm=None):
        """(B, N, D) -> (B, N, D); `norm` is applied to `x` first."""
        x = x if norm is None else norm(x)
        gate, value = ops.split(self.w12(ops.reshape(x, (-1, self.dim))), 2, axis=-1)
        flat = self.w3(ops.silu(gate) * value)
        return ops.reshape(flat, (-1, ops.shape(x)[1], self.dim))


class LayerScale(keras.layers.Layer):
    """Learnt factor of each channel of a branch (Touvron et al. 2021, 2103.17239)."""

    def __init__(self, initial, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.initial = initial

    def build(self, input_shape):
        constant = keras.initializers.Constant(self.initial)
        self.factor = self.add_weight((input_shape[-1],), constant, name="layer_scale")

    def call(self, x):
        return x * self.factor


class Block(keras.layers.Layer):
    """Attention and MLP, each behind a layer norm and on a residual branch.

    The residual stream stays in float32 under mixed precision (no autocast), as it
    does under PyTorch's; only the matrix products run in the lower precision.

    Args:
        dim: Width D.
        num_heads: Attention heads.
        mlp_ratio: Width of the hidden MLP layer over D.
        gated_mlp: Whether the MLP is a SwiGLU.
        layer_scale: Initial factor of the branches' channels; None has no factors.
        norm_epsilon: Added to the variance in the layer norms.
    """

    def __init__(
        self,
        dim,
        num_heads,
        mlp_ratio,
        gated_mlp=False,
        layer_scale=None,
        norm_epsilon=LAYER_NORM_EPSILON,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.dim = dim
        policy = self.dtype_policy
        self.norm1 = LayerNorm(norm_epsilon, name="norm1")
        self.attn = Attention(dim, num_heads, name="attn", dtype=policy)
        self.norm2 = LayerNorm(norm_epsilon, name="norm2")
        mlp = SwiGLU if gated_mlp else Mlp
        self.mlp = mlp(dim, round(dim * mlp_ratio), name="mlp", dtype=policy)
        self.ls1 = self.ls2 = None
        if layer_scale is not None:
            self.ls1 = LayerScale(layer_scale, name="ls1")
            self.ls2 = LayerScale(layer_scale, name="ls2")

    def build(self, input_shape):
        parts = (self.norm1, self.attn, self.norm2, self.mlp, self.ls1, self.ls2)
        for layer in filter(None, parts):
            layer.build((None, None, self.dim))

    def call(self, x, factors=(None, None), cls_only=False, rotation=None):
        """(B, N, D) -> (B, N, D); with `cls_only` the same CLS alone, for less work.

        `factors` (B, 1, 1) multiply the two branches, see `DropPath`; a `Rotation`
        turns queries and keys.
        """
        branch = self.attn(x, cls_only=cls_only, rotation=rotation, norm=self.norm1)
        x = (x[:, :1] if cls_only else x) + _scaled(branch, self.ls1, factors[0])
        return x + _scaled(self.mlp(x, norm=self.norm2), self.ls2, factors[1])


def _scaled(branch, scale, factor):
    branch = ops.cast(branch, "float32")
    branch = branch if scale is None else scale(branch)
    return branch if factor is None else branch * factor
