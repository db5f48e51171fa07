"""ResNet with bottlenecks as DINO trains it, for images of any size.

Layers carry torchvision's names, so that `layer1.0/downsample.0/kernel` is the
published `layer1.0.downsample.0.weight`: importing weights is renaming and transposing.
"""

import difflib

import keras
from keras import ops

from dino_tf.errors import UserError
from dino_tf.models.head import BatchNorm

# Bottlenecks in each stage, width of the stem (He et al. 2015, table 1).
RESNETS = {"resnet50": ((3, 4, 6, 3), 64)}
ARGUMENTS = ("stages", "width", "name", "dtype")
EXPANSION = 4


class PaddedConv(keras.layers.Conv2D):
    """Convolution without bias, its input padded alike on all sides, as in PyTorch."""

    def __init__(self, filters, size, strides=1, **kwargs):
        super().__init__(
            filters,
            size,
            strides=strides,
            padding="same",
            use_bias=False,
            data_format="channels_last",
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            **kwargs,
        )

    def convolution_op(self, inputs, kernel):
        """The convolution alone; `padding` is "same", for the shapes that it tells."""
        step, side = self.strides[0], self.kernel_size[0]
        if side == 1:
            # A step in the convolution itself makes TensorFlow's gradient on a
            # processor (oneDNN, 2.21) write outside its memory for some shapes.
            inputs = inputs[:, ::step, ::step]
        elif step > 1:
            # "same" would pad an even side at its end alone.
            inputs = _pad(inputs, side // 2)
        return ops.conv(
            inputs,
            kernel,
            strides=1 if side == 1 else step,
            padding="same" if step == 1 else "valid",
            data_format="channels_last",
        )


def _pad(x, margin, value=0.0):
    sides = [(0, 0), (margin, margin), (margin, margin), (0, 0)]
    return ops.pad(x, sides, constant_values=value) if margin else x


def _norm(name):
    """Batch norm that computes in float32 under any policy, as PyTorch's does."""
    return BatchNorm(name=name, dtype="float32")


def _normed(norm, x, training):
    return ops.cast(norm(x, training=training), x.dtype)


class Bottleneck(keras.layers.Layer):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut, the stride on the 3x3.

    Args:
        width: Channels of the 3x3 convolution; four times as many leave.
        strides: Step of the 3x3 convolution and of the projection.
        project: Whether the shortcut is a 1x1 convolution.
    """

    def __init__(self, width, strides, project, **kwargs):
        super().__init__(**kwargs)
        self.width, self.strides, policy = width, strides, self.dtype_policy
        out = EXPANSION * width
        self.conv1 = PaddedConv(width, 1, name="conv1", dtype=policy)
        self.bn1 = _norm("bn1")
        self.conv2 = PaddedConv(width, 3, strides, name="conv2", dtype=policy)
        self.bn2 = _norm("bn2")
        self.conv3 = PaddedConv(out, 1, name="conv3", dtype=policy)
        self.bn3 = _norm("bn3")
        self.downsample = []
        if project:
            conv = PaddedConv(out, 1, strides, name="downsample.0", dtype=policy)
            self.downsample = [conv, _norm("downsample.1")]

    def build(self, input_shape):
        wide = EXPANSION * self.width
        sizes = (
            (self.conv1, input_shape[-1]),
            (self.bn1, self.width),
            (self.conv2, self.width),
            (self.bn2, self.width),
            (self.conv3, self.width),
            (self.bn3, wide),
            *zip(self.downsample, (input_shape[-1], wide), strict=False),
        )
        for layer, channels in sizes:
            layer.build((None, None, None, channels))

    def call(self, x, training=False):
        y = ops.relu(_normed(self.bn1, self.conv1(x), training))
        y = ops.relu(_normed(self.bn2, self.conv2(y), training))
        y = _normed(self.bn3, self.conv3(y), training)
        if self.downsample:
            conv, norm = self.downsample
            x = _normed(norm, conv(x), training)
        return ops.relu(x + y)


@keras.saving.register_keras_serializable(package="dino_tf")
class ResNet(keras.Model):
    """ResNet for normalised images (B, H, W, 3) -> pooled features (B, D).

    The features are the mean of the last map. Every image size has its map: its sides
    are those of the image over `patch_size`, rounded up.

    Args:
        stages: Number of bottlenecks in each stage; the first of every later stage
            halves the map's sides and doubles its channels.
        width: Channels behind the stem, and of the 3x3 convolutions of the first stage.

    Attributes:
        embed_dim: Width D of the features: 4 * `width`, doubled by every later stage.
        patch_size: Total stride in pixels; 32 with four stages.

    Raises:
        ValueError: For a number below 1, or no stages.

    Reference:
        He et al. 2015, arXiv 1512.03385; pytorch/vision, `resnet.py`, version 1.5,
        which DINO trains (facebookresearch/dino, `main_dino.py`).
    """

    num_prefix_tokens = 0
    result_names = ("cls", "tokens")

    def __init__(self, stages=(3, 4, 6, 3), width=64, **kwargs):
        super().__init__(**kwargs)
        stages = tuple(stages)
        if not stages or min(stages) < 1:
            raise ValueError(f"stages={stages}: expected one or more numbers above 0")
        if width < 1:
            raise ValueError(f"width={width}: expected at least 1")
        self.stages, self.width = stages, width
        self.embed_dim = EXPANSION * width * 2 ** (len(stages) - 1)
        self.patch_size = 2 ** (len(stages) + 1)
        policy = self.dtype_policy
        self.conv1 = PaddedConv(width, 7, 2, name="conv1", dtype=policy)
        self.bn1 = _norm("bn1")
        self.blocks = [
            Bottleneck(
                width * 2**stage,
                strides=2 if stage and not place else 1,
                project=not place,
                name=f"layer{stage + 1}.{place}",
                dtype=policy,
            )
            for stage, count in enumerate(stages)
            for place in range(count)
        ]

    def grid_of(self, size):
        """(h, w) of the last map of an image of (H, W) pixels.

        Raises:
            ValueError: For a side below 1.
        """
        if min(size) < 1:
            raise ValueError(
                f"image size {size[0]} x {size[1]}: expected sides of 1 or more"
            )
        return tuple(-(-side // self.patch_size) for side in size)

    def build(self, input_shape=None):
        self.conv1.build((None, None, None, 3))
        self.bn1.build((None, None, None, self.width))
        channels = self.width
        for block in self.blocks:
            block.build((None, None, None, channels))
            channels = EXPANSION * block.width
        self.built = True

    def _maps(self, images, training=False, keep=1):
        """Maps (B, h, w, C) behind each of the last `keep` stages."""
        x = ops.relu(_normed(self.bn1, self.conv1(images), training))
        x = _pad(x, 1, -float("inf"))
        x = ops.max_pool(x, 3, 2, padding="valid", data_format="channels_last")
        blocks, maps = iter(self.blocks), []
        for count in self.stages:
            for _ in range(count):
                x = next(blocks)(x, training=training)
            maps.append(x)
        return maps[-keep:]

    def call(self, images, training=False):
        (x,) = self._maps(images, training)
        return _pooled(x)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.embed_dim)

    def extract(self, images, names=("cls",)):
        """Named results of the last stage, at inference.

        Args:
            images: (B, H, W, 3) normalised float.
            names: "cls" (B, D), the features, and "tokens" (B, h * w, D), the last map
                row by row; both float32.

        Returns:
            Dictionary of the results asked for.

        Raises:
            UserError: For another name, such as "attention", which a ResNet has not.
        """
        unknown = sorted(set(names) - set(self.result_names))
        if unknown:
            raise UserError(
                f"a ResNet has no {', '.join(unknown)}; allowed: "
                f"{', '.join(self.result_names)}"
            )
        (x,) = self._maps(self._cast(images))
        found = {"cls": _pooled(x), "tokens": _rows(x)}
        return {name: found[name] for name in names}

    def intermediate_tokens(self, images, n=1):
        """Maps of the last `n` stages, first to last, each row by row.

        Every stage before the last has twice the sides and half the channels of the
        next, so the results differ in shape. There is no norm behind them.

        Args:
            images: (B, H, W, 3) normalised float.
            n: Number of stages, 1 to the length of `stages`.

        Returns:
            List of `n` float32 tensors (B, h * w, C); the last is "tokens" of
            `extract`.

        Raises:
            ValueError: For `n` out of its range.
        """
        if not 1 <= n <= len(self.stages):
            raise ValueError(f"n={n}: expected 1 to {len(self.stages)}, the stages")
        return [_rows(x) for x in self._maps(self._cast(images), keep=n)]

    def _cast(self, images):
        return ops.cast(ops.convert_to_tensor(images), self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "stages": list(self.stages),
            "width": self.width,
        }


def _pooled(x):
    return ops.mean(ops.cast(x, "float32"), axis=(1, 2))


def _rows(x):
    x = ops.cast(x, "float32")
    return ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))


def create_resnet(arch, image_size=224, **kwargs):
    """A new ResNet with random weights.

    Args:
        arch: A name of `RESNETS`.
        image_size: Side, or (H, W), of the images that it is made for, 1 or more. The
            weights do not depend on it.
        **kwargs: Other arguments of `ResNet`; `stages` and `width` replace those of
            `arch`, None leaves them.

    Returns:
        A built backbone.

    Raises:
        UserError: For an unknown name, a number out of its range, or an argument that
            only other networks have, such as `patch_size`.
    """
    if arch not in RESNETS:
        near = difflib.get_close_matches(arch, RESNETS, 1, 0.0)[0]
        raise UserError(
            f"unknown architecture {arch!r}; nearest is {near!r}, "
            f"known are {', '.join(RESNETS)}"
        )
    given = {name: value for name, value in kwargs.items() if value is not None}
    for name, value in given.items():
        if name not in ARGUMENTS:
            raise UserError(
                f"{name}: got {value}; {arch} takes {', '.join(ARGUMENTS)} only"
            )
    sizes = dict(zip(("stages", "width"), RESNETS[arch], strict=True))
    try:
        backbone = ResNet(**{**sizes, **given})
        backbone.grid_of(
            (image_size,) * 2 if isinstance(image_size, int) else image_size
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    backbone.build()
    return backbone
