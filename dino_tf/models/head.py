"""Projection head: features to logits over K prototypes."""

import math

import keras
from keras import ops

from dino_tf.distribute import mean_over_replicas, replicas_in_sync
from dino_tf.models.block import check_positive, dense, gelu

NORMALIZE_EPSILON = 1e-12


def shared_moments(x):
    """Mean and variance (D,) of x (..., D) over all replicas, float32.

    Every replica holds as many values.
    """
    axes = list(range(len(x.shape) - 1))
    if replicas_in_sync() == 1:
        return ops.moments(x, axes=axes)
    both = ops.stack([ops.mean(x, axis=axes), ops.mean(x * x, axis=axes)])
    mean, square = ops.unstack(mean_over_replicas([both])[0], 2)
    return mean, ops.maximum(square - mean * mean, 0.0)


def keep_running(layer, mean, variance, count):
    """Moves the running statistics of a batch norm towards those of a batch.

    Args:
        layer: Has `moving_mean`, `moving_variance` and `momentum`, the share kept.
        mean: (D,) of the batch of all replicas.
        variance: (D,) of the same.
        count: Values that this replica's batch has in each channel.
    """
    count = ops.cast(count * replicas_in_sync(), "float32")
    unbiased = variance * count / ops.maximum(count - 1.0, 1.0)
    for variable, value in (
        (layer.moving_mean, mean),
        (layer.moving_variance, unbiased),
    ):
        kept = variable * layer.momentum
        variable.assign(kept + value * (1.0 - layer.momentum))


class BatchNorm(keras.layers.Layer):
    """Batch normalisation of the last axis, its statistics shared by all replicas.

    They are taken over all other axes: (B, D) features and (B, h, w, D) maps alike.
    The running variance is the unbiased one and the running statistics keep 0.9 of
    their past, as in PyTorch; epsilon is 1e-5.
    """

    def __init__(self, epsilon=1e-5, momentum=0.9, **kwargs):
        super().__init__(**kwargs)
        self.epsilon, self.momentum = epsilon, momentum

    def build(self, input_shape):
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape, "ones", name="gamma")
        self.beta = self.add_weight(shape, "zeros", name="beta")
        # "mean" lets every replica assign: all have the same statistics.
        running = {"trainable": False, "autocast": False, "aggregation": "mean"}
        self.moving_mean = self.add_weight(
            shape, "zeros", name="moving_mean", **running
        )
        self.moving_variance = self.add_weight(
            shape, "ones", name="moving_variance", **running
        )

    def call(self, x, training=False):
        wide = ops.cast(x, "float32")
        if training:
            mean, variance = shared_moments(wide)
            keep_running(self, mean, variance, ops.size(x) // x.shape[-1])
        else:
            mean, variance = self.moving_mean, self.moving_variance
        scale = ops.cast(self.gamma, "float32") * ops.rsqrt(variance + self.epsilon)
        shift = ops.cast(self.beta, "float32")
        return ops.cast((wide - mean) * scale + shift, x.dtype)


class WeightNormDense(keras.layers.Layer):
    """Dense layer without bias whose weight vectors are `g * v / |v|`.

    Args:
        units: Number of outputs K.
        train_scale: Whether the lengths `weight_g` are learnt; else they stay 1.
    """

    def __init__(self, units, train_scale=False, **kwargs):
        super().__init__(**kwargs)
        self.units, self.train_scale = units, train_scale

    def build(self, input_shape):
        bound = 1.0 / math.sqrt(input_shape[-1])
        uniform = keras.initializers.RandomUniform(-bound, bound)
        self.weight_v = self.add_weight(
            (input_shape[-1], self.units), uniform, name="weight_v", autocast=False
        )
        # Two-dimensional, hence decayed when trained, as in the published program.
        self.weight_g = self.add_weight(
            (1, self.units),
            "ones",
            name="weight_g",
            trainable=self.train_scale,
            autocast=False,
        )

    def call(self, x):
        v = ops.convert_to_tensor(self.weight_v)
        kernel = v * (self.weight_g * ops.rsqrt(ops.sum(v * v, axis=0, keepdims=True)))
        return ops.matmul(x, ops.cast(kernel, x.dtype))


@keras.saving.register_keras_serializable(package="dino_tf")
class DINOHead(keras.layers.Layer):
    """MLP, L2 normalisation, weight-normalised last layer: (B, D) -> (B, K).

    Args:
        out_dim: Number of prototypes K.
        hidden_dim: Width of the hidden layers.
        bottleneck_dim: Width of the vector that is normalised.
        num_layers: Dense layers before the normalisation, at least 1.
        use_bn: Batch normalisation after each hidden layer, synchronised over the
            replicas.
        norm_last_layer: Keep the prototypes at length 1; steadier, and needed by
            large networks; False sometimes gains a little with small ones.

    Raises:
        ValueError: When a size is below 1.

    Reference:
        Caron et al. 2021, section 3.1 and appendix C; facebookresearch/dino,
        `vision_transformer.py`, `DINOHead`.
    """

    def __init__(
        self,
        out_dim=65536,
        hidden_dim=2048,
        bottleneck_dim=256,
        num_layers=3,
        use_bn=False,
        norm_last_layer=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_positive(
            out_dim=out_dim,
            hidden_dim=hidden_dim,
            bottleneck_dim=bottleneck_dim,
            num_layers=num_layers,
        )
        self.out_dim, self.hidden_dim = out_dim, hidden_dim
        self.bottleneck_dim, self.num_layers = bottleneck_dim, num_layers
        self.use_bn, self.norm_last_layer = use_bn, norm_last_layer
        self.mlp = self._mlp_layers()
        self.last_layer = WeightNormDense(
            out_dim,
            train_scale=not norm_last_layer,
            name="last_layer",
            dtype=self.dtype_policy,
        )

    def _mlp_layers(self):
        """Layers in order; each is named by its place in the published sequence."""
        policy, layers, place = self.dtype_policy, [], 0
        if self.num_layers == 1:
            return [dense(self.bottleneck_dim, "mlp", policy)]
        for _ in range(self.num_layers - 1):
            layers.append(dense(self.hidden_dim, f"mlp.{place}", policy))
            if self.use_bn:
                layers.append(BatchNorm(name=f"mlp.{place + 1}", dtype=policy))
            layers.append(keras.layers.Activation(gelu, dtype=policy))
            place += 3 if self.use_bn else 2
        return [*layers, dense(self.bottleneck_dim, f"mlp.{place}", policy)]

    def build(self, input_shape):
        width = input_shape[-1]
        for layer in self.mlp:
            layer.build((None, width))
            width = getattr(layer, "units", width)
        self.last_layer.build((None, width))

    def call(self, x, training=False):
        for layer in self.mlp:
            if isinstance(layer, BatchNorm):
                x = layer(x, training=training)
            else:
                x = layer(x)
        wide = ops.cast(x, "float32")
        length = ops.sqrt(ops.sum(wide * wide, axis=-1, keepdims=True))
        wide = wide / ops.maximum(length, NORMALIZE_EPSILON)
        return self.last_layer(ops.cast(wide, x.dtype))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.out_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "out_dim": self.out_dim,
            "hidden_dim": self.hidden_dim,
            "bottleneck_dim": self.bottleneck_dim,
            "num_layers": self.num_layers,
            "use_bn": self.use_bn,
            "norm_last_layer": self.norm_last_layer,
        }
