"""A detector on the patch tokens of one block: a simple feature pyramid and a head.

The pyramid is that of ViTDet (Li et al. 2022, arXiv 2203.16527): all its levels come
from the last map alone. The head has no anchors (Tian et al. 2019, arXiv 1904.01355):
every place tells classes, a box, and how well the box will fit. A box is given by the
offset of its centre and the logarithms of its sides, in strides (Ge et al. 2021, arXiv
2107.08430), so that a place can tell a box it does not lie in. It is narrower than
the published ones, to be trained on a processor in minutes.
"""

import math

import keras
from keras import layers, ops

GROUPS = 8
RARE = 0.01  # probability of every class at the start, for the focal loss


@keras.saving.register_keras_serializable(package="dino_tf")
class Detector(keras.Model):
    """From a map of tokens to what every place of the pyramid says.

    Args:
        classes: Number of classes.
        strides: Of the levels in patches: 0.5, 1, 2, ...
        width: Channels of pyramid and head.
        depth: Convolutions before each of the head's two answers.
        reach: Side of all convolutions behind the map of the tokens, in places. With 1
            a place sees its own token alone, and what is around it only as far as the
            network has put that into the token.
        seed: Of the initial weights.
    """

    def __init__(
        self, classes, strides=(0.5, 1, 2), width=64, depth=2, reach=3, seed=0, **kw
    ):
        super().__init__(**kw)
        self.classes, self.strides = classes, tuple(strides)
        self.width, self.depth, self.reach, self.seed = width, depth, reach, seed
        self._draws = 0
        # As in linear protocols: of frozen tokens some channels are many times others.
        self.norm = layers.BatchNormalization(
            momentum=0.9, center=False, scale=False, name="norm"
        )
        self.levels = [self._level(stride) for stride in self.strides]
        self.class_tower, self.box_tower = self._tower("class"), self._tower("box")
        rare = keras.initializers.Constant(-math.log((1 - RARE) / RARE))
        self.class_logits = self._conv(classes, reach, "class_logits", 0.01, rare)
        self.box_and_fit = self._conv(5, reach, "box_and_fit", 0.01)

    def build(self, input_shape):
        """Builds every layer for maps (B, h, w, D)."""
        inner = (*input_shape[:3], self.width)
        self.norm.build(input_shape)
        for level in self.levels:
            level.build(input_shape)
        for tower in (self.class_tower, self.box_tower):
            tower.build(inner)
        self.class_logits.build(inner)
        self.box_and_fit.build(inner)
        self.built = True

    def call(self, maps, training=False):
        """What all places say, level by level.

        Args:
            maps: (B, h, w, D) patch tokens.

        Returns:
            (B, P, C + 5): logits of the classes, logit of the fit (IoU), offsets x and
            y of the centre in strides, logarithms of width and height in strides.
        """
        found, maps = [], self.norm(maps, training=training)
        for level in self.levels:
            one = level(maps, training=training)
            classes = self.class_logits(self.class_tower(one, training=training))
            boxes = self.box_and_fit(self.box_tower(one, training=training))
            both = ops.concatenate([classes, boxes], axis=-1)
            count = ops.shape(both)[1] * ops.shape(both)[2]
            found.append(ops.reshape(both, (-1, count, self.classes + 5)))
        return ops.concatenate(found, axis=1)

    def get_config(self):
        names = ("classes", "strides", "width", "depth", "reach", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _level(self, stride):
        """Layers from the map to the level of a stride in patches."""
        name = f"level_{stride:g}".replace(".", "_")
        if stride < 1:
            first = layers.Conv2DTranspose(
                self.width, 2, 2, kernel_initializer=self._draw(), name=f"{name}_up"
            )
            steps = [first]
        else:
            side = int(stride)
            pool = layers.MaxPooling2D(side, side, "same", name=f"{name}_pool")
            steps = [pool] if side > 1 else []
            steps.append(self._conv(self.width, 1, f"{name}_width"))
        steps.append(layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm"))
        steps.append(self._conv(self.width, self.reach, f"{name}_conv"))
        steps.append(layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_2"))
        return keras.Sequential(steps, name=name)

    def _tower(self, name):
        steps = []
        for number in range(self.depth):
            steps.append(self._conv(self.width, self.reach, f"{name}_conv_{number}"))
            norm = layers.GroupNormalization(GROUPS, name=f"{name}_norm_{number}")
            steps += [norm, layers.ReLU(name=f"{name}_relu_{number}")]
        return keras.Sequential(steps, name=f"{name}_tower")

    def _conv(self, width, side, name, spread=None, bias="zeros"):
        return layers.Conv2D(
            width,
            side,
            padding="same",
            kernel_initializer=self._draw(spread),
            bias_initializer=bias,
            name=name,
        )

    def _draw(self, spread=None):
        """An initializer with a seed of its own."""
        self._draws += 1
        seed = self.seed + 1000 * self._draws
        if spread:
            return keras.initializers.RandomNormal(stddev=spread, seed=seed)
        return keras.initializers.GlorotUniform(seed=seed)


def boxes_of(said, centres, stride):
    """Boxes that places say, in pixels.

    Args:
        said: (..., P, 4), the last four of what `Detector` gives.
        centres: (P, 2), of the places.
        stride: (P,).

    Returns:
        (..., P, 4): left, top, right, bottom; no side is above 2,981 strides.
    """
    stride = stride[:, None]
    middle = centres + said[..., :2] * stride
    # An exponential of a number that training has not tamed would be infinite.
    half = ops.exp(ops.clip(said[..., 2:], -8.0, 8.0)) * stride / 2
    return ops.concatenate([middle - half, middle + half], axis=-1)


def detection_loss(found, kinds, boxes, centres, stride):
    """Focal loss of the classes, GIoU loss of the boxes, cross-entropy of the fit.

    Args:
        found: (B, P, C + 5) of `Detector`.
        kinds: int (B, P): class, -1 for background, -2 where nothing is learnt.
        boxes: (B, P, 4), of places with a class, in pixels.
        centres: (P, 2).
        stride: (P,).

    Returns:
        Scalar: the sum over all places, divided by the number of those with a class.

    Reference:
        Lin et al. 2017, arXiv 1708.02002 (alpha 0.25, gamma 2); Rezatofighi et al.
        2019, arXiv 1902.09630.
    """
    classes = found.shape[-1] - 5
    positive = ops.cast(kinds >= 0, "float32")
    total = ops.maximum(ops.sum(positive), 1.0)
    counted = ops.cast(kinds >= -1, "float32")[..., None]
    wanted = ops.one_hot(ops.maximum(kinds, 0), classes) * positive[..., None]
    logits = found[..., :classes]
    focal = ops.sum(_focal(logits, wanted) * counted)
    overlap, giou = _overlaps(boxes_of(found[..., -4:], centres, stride), boxes)
    overlap = ops.stop_gradient(overlap)
    fit = found[..., classes]
    fitting = ops.sum((ops.softplus(fit) - overlap * fit) * positive)
    return (focal + 2.0 * ops.sum((1.0 - giou) * positive) + fitting) / total


def _focal(logits, wanted):
    chance = ops.sigmoid(logits)
    entropy = ops.softplus(logits) - wanted * logits
    missed = wanted * (1 - chance) + (1 - wanted) * chance
    return (0.25 * wanted + 0.75 * (1 - wanted)) * ops.square(missed) * entropy


def _overlaps(ours, theirs):
    """(IoU, GIoU) of boxes pair by pair."""
    low = ops.maximum(ours[..., :2], theirs[..., :2])
    high = ops.minimum(ours[..., 2:], theirs[..., 2:])
    shared = ops.prod(ops.maximum(high - low, 0.0), axis=-1)
    areas = [ops.prod(b[..., 2:] - b[..., :2], axis=-1) for b in (ours, theirs)]
    union = ops.maximum(sum(areas) - shared, 1e-6)
    low = ops.minimum(ours[..., :2], theirs[..., :2])
    high = ops.maximum(ours[..., 2:], theirs[..., 2:])
    hull = ops.maximum(ops.prod(high - low, axis=-1), 1e-6)
    overlap = shared / union
    return overlap, overlap - (hull - union) / hull
