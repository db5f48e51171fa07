"""Networks of `keras.applications` and of keras-hub as backbones of ours."""

import contextlib

import keras
from keras import ops

from dino_tf.errors import UserError
from dino_tf.models.head import BatchNorm, keep_running, shared_moments
from dino_tf.models.keras_sources import (
    PROBE,
    find_network,
    input_size,
    last_output,
    stage_outputs,
)

PREFIXES = ("keras:", "keras_hub:")
# A sequence may begin with so many tokens that belong to no patch.
MOST_PREFIX_TOKENS = 16


@keras.saving.register_keras_serializable(package="dino_tf")
class SharedBatchNorm(keras.layers.BatchNormalization):
    """Keras's batch normalisation as DINO needs it, on the last axis.

    Its statistics are those of all replicas' batches. A frozen one (the teacher's)
    goes on normalising by its batch and gathering its own running statistics, where
    Keras's would stand still at its first ones. The running variance is unbiased.

    Reference:
        facebookresearch/dino, `main_dino.py`: `SyncBatchNorm` in student and teacher,
        both in training mode.
    """

    def call(self, inputs, training=None, mask=None):
        wide = ops.cast(inputs, "float32")
        if training:
            mean, variance = shared_moments(wide)
            count = ops.cast(ops.size(wide) // wide.shape[-1], "float32")
            keep_running(self, mean, variance, count)
        else:
            mean, variance = self.moving_mean, self.moving_variance
        normal = ops.batch_normalization(
            wide,
            mean,
            variance,
            axis=-1,
            offset=self.beta if self.center else None,
            scale=self.gamma if self.scale else None,
            epsilon=self.epsilon,
        )
        return ops.cast(normal, self.compute_dtype)


@keras.saving.register_keras_serializable(package="dino_tf")
class KerasBackbone(keras.Model):
    """Network of Keras for normalised images (B, H, W, 3) -> features (B, D).

    The features are the mean of the last feature map; those of a network that gives a
    sequence are its first token, or the mean where every token is a patch.
    Preprocessing of the network's own is off, its dropout and stochastic depth too
    (the teacher runs in training mode, as published, and must not be disturbed).

    Args:
        arch: "keras:NAME" of `keras.applications`, or "keras_hub:PRESET": a preset's
            name or the folder of one.
        image_size: Side, or (H, W), for networks made for one image size; all others
            take any size with the same weights.
        weights: None for random ones; else what the application takes ("imagenet" or
            a file), or "preset" for those of a keras-hub preset. Such weights expect
            pixels as their own program prepares them. Not part of the configuration.
        options: Other arguments of the application or of the keras-hub backbone.
        batch_norm_momentum: Share of the old running statistics that every batch norm
            keeps; 0.9 is that of the published program. Keras's own, up to 0.999,
            stay near their start throughout a short run.
        network_config: Configuration of a keras-hub network, as saved; None reads the
            preset.

    Attributes:
        embed_dim, patch_size, num_prefix_tokens: Width D, total stride in pixels,
            tokens before the first patch.
        fixed_size: (H, W) of a network made for one image size, else None.
        result_names: What `extract` knows.

    Raises:
        UserError: For an unknown name, a missing keras-hub, or a network that gives
            neither a feature map nor a sequence of tokens.
    """

    result_names = ("cls", "tokens")

    def __init__(
        self,
        arch,
        image_size=224,
        weights=None,
        options=None,
        batch_norm_momentum=0.9,
        network_config=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        size = (image_size,) * 2 if isinstance(image_size, int) else tuple(image_size)
        self.arch, self.image_size, self.options = arch, size, dict(options or {})
        self.batch_norm_momentum = batch_norm_momentum
        with _policy(self.dtype_policy):
            self.network = find_network(
                arch, size, weights, self.options, network_config
            )
        self.fixed_size = input_size(self.network)
        self._last = last_output(self.network)
        self._adapt_layers()
        shape = self._probe()
        self.embed_dim, self._is_map = shape[-1], len(shape) == 4
        self.patch_size, self.num_prefix_tokens = self._layout(shape)
        self._grids = {}
        self.built = True

    def _adapt_layers(self):
        for layer in self.network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                # After the fact, since networks choose their layers themselves.
                layer.__class__ = SharedBatchNorm
                layer.synchronized = True
                layer.momentum = self.batch_norm_momentum
            if "drop" in type(layer).__name__.lower():
                for name in {"rate", "drop_prob"} & set(vars(layer)):
                    setattr(layer, name, 0.0)

    def _probe(self):
        if self.fixed_size is None:
            return self._output_shape((PROBE, PROBE))
        # Not every network for one size tells its shapes right, so it is run once.
        try:
            outputs = self._forward(ops.zeros((1, *self.fixed_size, 3)), False)
        # Errors of TensorFlow's have no common ancestor with those of Keras.
        except Exception as error:
            rows, columns = self.fixed_size
            raise UserError(
                f"{self.arch} cannot take images of {rows} x {columns} pixels; "
                "allowed: other sizes, perhaps square ones"
            ) from error
        return tuple(outputs.shape)

    def _output_shape(self, size):
        """Shape of the last map or sequence; zeros where nothing is left of it."""
        image = keras.KerasTensor((1, *size, 3), self.compute_dtype)
        try:
            outputs = self.network.compute_output_spec(self._named(image))
        except ValueError:
            return (1, 0, 0, 0)
        return tuple(self._last_of(outputs).shape)

    def _named(self, images):
        """Images as the network takes them: a few have a name for their input."""
        names = self.network.input
        return {name: images for name in names} if isinstance(names, dict) else images

    def _last_of(self, outputs):
        return outputs if self._last is None else outputs[self._last]

    def _layout(self, shape):
        """(total stride, tokens before the first patch) from the shape of outputs."""
        if self._is_map and self.fixed_size:
            return self.fixed_size[0] // shape[1], 0
        if self._is_map:
            # The difference of two sizes leaves out what borders take away.
            return PROBE // (self._output_shape((2 * PROBE,) * 2)[1] - shape[1]), 0
        patch = getattr(self.network, "patch_size", 1)
        patch = patch if isinstance(patch, int) else patch[0]
        while patch <= min(self.fixed_size):
            rows, columns = (side // patch for side in self.fixed_size)
            if 0 <= shape[1] - rows * columns <= MOST_PREFIX_TOKENS:
                return patch, shape[1] - rows * columns
            patch *= 2
        raise UserError(
            f"{self.arch} gives {shape[1]} tokens, which fill no grid of patches; "
            "allowed: networks with one token for each patch"
        )

    def grid_of(self, size):
        """(h, w) of the feature map of an image of (H, W) pixels.

        Raises:
            UserError: For a size that the network does not take.
        """
        size = tuple(size)
        if self.fixed_size not in (None, size):
            raise UserError(
                f"{self.arch} got an image of {size[0]} x {size[1]} pixels, allowed: "
                f"{self.fixed_size[0]} x {self.fixed_size[1]} only"
            )
        if self.fixed_size:
            return tuple(side // self.patch_size for side in size)
        if size not in self._grids:
            self._grids[size] = self._output_shape(size)[1:3]
        if not all(self._grids[size]):
            raise UserError(
                f"{self.arch} got an image of {size[0]} x {size[1]} pixels, of which "
                f"it leaves nothing, allowed: larger ones, such as {_enough(self)}"
            )
        return self._grids[size]

    def _forward(self, images, training):
        outputs = self.network(self._named(images), training=training)
        return self._last_of(outputs)

    def _pool(self, x):
        x = ops.cast(x, "float32")
        if self._is_map:
            return ops.mean(x, axis=(1, 2))
        return x[:, 0] if self.num_prefix_tokens else ops.mean(x, axis=1)

    def call(self, images, training=False):
        if None not in images.shape[1:3]:
            self.grid_of(images.shape[1:3])
        return self._pool(self._forward(images, training))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.embed_dim)

    def extract(self, images, names=("cls",)):
        """Named results of the last layer, in inference mode.

        Args:
            images: (B, H, W, 3) normalised float.
            names: "cls" (B, D), the features, and "tokens" (B, N, D): the last feature
                map row by row, or the sequence as it is.

        Returns:
            Dictionary of the results asked for.

        Raises:
            UserError: For a name the network has no result of, such as "attention".
        """
        unknown = sorted(set(names) - set(self.result_names))
        if unknown:
            raise UserError(
                f"{self.arch} has no {', '.join(unknown)}, allowed: "
                f"{', '.join(self.result_names)}"
            )
        images = self._cast(images)
        self.grid_of(images.shape[1:3])
        x = self._forward(images, training=False)
        found = {"cls": self._pool(x), "tokens": _rows(x) if self._is_map else x}
        return {name: found[name] for name in names}

    def intermediate_tokens(self, images, n=1):
        """Last feature map of each of the last `n` resolutions, coarsest last.

        Args:
            images: (B, H, W, 3) normalised float.
            n: Number of resolutions.

        Returns:
            List of `n` tensors (B, h * w, D), each with h, w and D of its own.

        Raises:
            UserError: For an `n` that the network has not.
        """
        stages = stage_outputs(self.network, self.fixed_size or (PROBE, PROBE))
        if not stages:
            raise UserError(f"{self.arch} has no feature maps of halved sizes")
        if not 1 <= n <= len(stages):
            raise UserError(f"n={n}, allowed for {self.arch}: 1 to {len(stages)}")
        images = self._cast(images)
        self.grid_of(images.shape[1:3])
        # A function, not a model, whose weights would be counted twice.
        function = keras.Function(self.network.inputs, stages[-n:])
        return [_rows(x) for x in function([images])]

    def _cast(self, images):
        return ops.cast(ops.convert_to_tensor(images), self.compute_dtype)

    def get_config(self):
        network = None
        if self.arch.startswith("keras_hub:"):
            network = keras.saving.serialize_keras_object(self.network)
        return {
            **super().get_config(),
            "arch": self.arch,
            "image_size": list(self.image_size),
            "options": dict(self.options),
            "batch_norm_momentum": self.batch_norm_momentum,
            "network_config": network,
        }


def has_batch_norm(model):
    """Whether any layer of a model is batch normalisation, ours or Keras's."""
    kinds = (BatchNorm, keras.layers.BatchNormalization)
    return any(isinstance(layer, kinds) for layer in model._flatten_layers())


def gather_statistics(backbone, images):
    """Makes the running statistics of all batch norms those of one batch.

    For a network that is used untrained: with the statistics that it starts with, its
    features are next to nothing.

    Args:
        backbone: `KerasBackbone`.
        images: (B, H, W, 3) normalised float.
    """
    norms = [n for n in backbone._flatten_layers() if isinstance(n, SharedBatchNorm)]
    for norm in norms:
        norm.momentum = 0.0
    backbone(images, training=True)
    for norm in norms:
        norm.momentum = backbone.batch_norm_momentum


def _rows(x):
    return ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))


def _enough(backbone):
    side = backbone.patch_size
    while not all(backbone._output_shape((side, side))[1:3]):
        side += backbone.patch_size
    return f"{side} x {side}"


@contextlib.contextmanager
def _policy(policy):
    """Keras's own networks take the precision that is set for all."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
