"""Transformer block of the Vision Transformer, from drop path to residual branches."""

import math

import keras
from keras import ops

LAYER_NORM_EPSILON = 1e-6
INITIAL_STD = 0.02


def gelu(x):
    """Exact GELU in float32, written with `erf`, which every export format has."""
    wide = ops.cast(x, "float32")
    wide = 0.5 * wide * (1.0 + ops.erf(wide * (1.0 / math.sqrt(2.0))))
    return ops.cast(wide, x.dtype)


def dense(units, name, dtype):
    """Dense layer with the published initial values (normal, 0.02).

    The published ones are cut off at 100 standard deviations, that is, not at all.
    """
    initializer = keras.initializers.RandomNormal(stddev=INITIAL_STD)
    return keras.layers.Dense(
        units, kernel_initializer=initializer, name=name, dtype=dtype
    )


def layer_norm(name):
    """Layer normalisation with the published epsilon, in float32 under any policy."""
    return keras.layers.LayerNormalization(
        epsilon=LAYER_NORM_EPSILON, name=name, dtype="float32"
    )


class DropPath(keras.layers.Layer):
    """Drops a residual branch for whole samples while training.

    Reference:
        Huang et al. 2016, arXiv 1603.09382; survivors are divided by the keep rate.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator(seed) if rate else None
        self.built = True

    def call(self, x, training=False):
        if not training or not self.rate:
            return x
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        keep = 1.0 - self.rate
        draw = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return x * ops.cast(ops.floor(keep + draw) / keep, x.dtype)


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
        super().__init__(**kwargs)
        self.dim, self.num_heads = dim, num_heads
        self.qkv = dense(3 * dim, "qkv", self.dtype_policy)
        self.proj = dense(dim, "proj", self.dtype_policy)

    def build(self, input_shape):
        self.qkv.build((None, self.dim))
        self.proj.build((None, self.dim))

    def _heads(self, x):
        """(B, N, D) -> (B, heads, N, D / heads)."""
        tokens, size = x.shape[1], self.dim // self.num_heads
        x = ops.reshape(x, (-1, tokens, self.num_heads, size))
        return ops.transpose(x, (0, 2, 1, 3))

    def project(self, x, cls_only=False):
        """Queries, keys and values, each (B, N, D); one query if `cls_only`."""
        batch_tokens = (-1, x.shape[1])
        flat = ops.reshape(x, (-1, self.dim))
        if not cls_only:
            qkv = ops.reshape(self.qkv(flat), batch_tokens + (3 * self.dim,))
            return ops.split(qkv, 3, axis=-1)
        # Slicing the kernel leaves out the queries that nobody asks for.
        kernel, bias = ops.cast(self.qkv.kernel, x.dtype), self.qkv.bias
        bias = ops.cast(bias, x.dtype)
        kv = ops.matmul(flat, kernel[:, self.dim :]) + bias[self.dim :]
        kv = ops.reshape(kv, batch_tokens + (2 * self.dim,))
        query = ops.matmul(x[:, 0], kernel[:, : self.dim]) + bias[: self.dim]
        return [query[:, None], *ops.split(kv, 2, axis=-1)]

    def weights_of(self, queries, keys):
        """Attention (B, heads, queries, N); the softmax is taken in float32."""
        queries, keys = self._heads(queries), self._heads(keys)
        scale = (self.dim // self.num_heads) ** -0.5
        scores = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))
        return ops.softmax(ops.cast(scores, "float32") * scale, axis=-1)

    def call(self, x, cls_only=False):
        queries, keys, values = self.project(x, cls_only)
        attention = ops.cast(self.weights_of(queries, keys), x.dtype)
        mixed = ops.matmul(attention, self._heads(values))
        mixed = ops.transpose(mixed, (0, 2, 1, 3))
        tokens = 1 if cls_only else x.shape[1]
        mixed = self.proj(ops.reshape(mixed, (-1, self.dim)))
        return ops.reshape(mixed, (-1, tokens, self.dim))


class Mlp(keras.layers.Layer):
    """Two dense layers with a GELU between them, on every token alone."""

    def __init__(self, dim, hidden_dim, **kwargs):
        super().__init__(**kwargs)
        self.dim, self.hidden_dim = dim, hidden_dim
        self.fc1 = dense(hidden_dim, "fc1", self.dtype_policy)
        self.fc2 = dense(dim, "fc2", self.dtype_policy)

    def build(self, input_shape):
        self.fc1.build((None, self.dim))
        self.fc2.build((None, self.hidden_dim))

    def call(self, x):
        flat = ops.reshape(x, (-1, self.dim))
        flat = self.fc2(gelu(self.fc1(flat)))
        return ops.reshape(flat, (-1, x.shape[1], self.dim))


class Block(keras.layers.Layer):
    """Attention and MLP, each behind a layer norm and on a residual branch.

    The residual stream stays in float32 under mixed precision (no autocast), as it
    does under PyTorch's; only the matrix products run in the lower precision.
    """

    def __init__(self, dim, num_heads, mlp_ratio, drop_path, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.dim = dim
        policy = self.dtype_policy
        self.norm1 = layer_norm("norm1")
        self.attn = Attention(dim, num_heads, name="attn", dtype=policy)
        self.norm2 = layer_norm("norm2")
        self.mlp = Mlp(dim, int(dim * mlp_ratio), name="mlp", dtype=policy)
        self.drop_path = DropPath(drop_path, name="drop_path", dtype=policy)

    def build(self, input_shape):
        for layer in (self.norm1, self.attn, self.norm2, self.mlp):
            layer.build((None, None, self.dim))

    def call(self, x, training=False, cls_only=False):
        """(B, N, D) -> (B, N, D); with `cls_only` the same CLS alone, for less work."""
        branch = self.attn(self.norm1(x), cls_only=cls_only)
        x = (x[:, :1] if cls_only else x) + self._branch(branch, training)
        return x + self._branch(self.mlp(self.norm2(x)), training)

    def _branch(self, x, training):
        return ops.cast(self.drop_path(x, training=training), "float32")
