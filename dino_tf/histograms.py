"""Histograms of gradients as something to guess, beside what the teacher says.

What a network has not learnt yet its teacher cannot teach: from few photos both find
little more than colours. Directions of edges in the parts of a crop are known without
learning, and a feature that tells them is a start for all else.
"""

import math

import keras
import numpy as np
from keras import ops

from dino_tf.models.vit import VisionTransformer
from dino_tf.schedules import restored, saved, value_at
from dino_tf.views import views_outermost

BINS = 9
GLOBAL_REGIONS, LOCAL_REGIONS, QUARTERS = 4, 2, 2  # a side
FLAT = 1e-2  # square of the length below which the histogram of a cell fades
GREY = 0.225  # ImageNet's mean deviation, by which pixels are 0 to 1 again
LEAST = 2e-3  # variance of a number, below which nothing is left to tell
# Share of the blocks after which a network is asked. What the last block is asked, its
# heads look for by place: they are left to what the teacher says.
BLOCKS = 0.75


def gradient_histograms(images, cell, deviation=GREY):
    """How strong the gradients of an image are in each direction, cell by cell.

    Args:
        images: (N, H, W, 3) normalised float.
        cell: Side of a cell in pixels; what is left at the right and below is cut off.
        deviation: That the images are normalised by, in the mean of the channels.

    Returns:
        float32 (N, H // cell, W // cell, 9): histograms over the directions 0 to 180
        degrees, weighted by strength and shared by neighbouring bins, of length 1 or,
        where hardly anything is to be seen, less.

    Reference:
        Dalal and Triggs 2005, with one cell for a block; without the votes between
        cells.
    """
    grey = ops.mean(ops.cast(images, "float32"), axis=-1) * deviation
    padded = ops.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="symmetric")
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    strength = ops.sqrt(ops.square(across) + ops.square(down) + 1e-12)
    turns = ops.mod(ops.arctan2(down, across), math.pi) / math.pi * BINS - 0.5
    first = ops.floor(turns)
    share, votes = turns - first, 0.0
    for place, weight in ((first, 1.0 - share), (first + 1.0, share)):
        bins = ops.cast(ops.mod(place, float(BINS)), "int32")
        votes += ops.one_hot(bins, BINS) * (strength * weight)[..., None]
    sums = ops.average_pool(votes, cell, cell) * cell**2
    lengths = ops.sqrt(ops.sum(ops.square(sums), axis=-1, keepdims=True) + FLAT)
    return sums / lengths


def in_regions(cells, regions):
    """Mean over the cells (N, h, w, C) of r x r parts: (N, r, r, C); empty ones: 0."""
    rows, columns = (_means(side, regions) for side in cells.shape[1:3])
    return ops.einsum("ri,nijc,sj->nrsc", rows, cells, columns)


def _means(side, regions):
    """(regions, side) that takes means of neighbours."""
    edges = np.linspace(0, side, regions + 1).round().astype(int)
    means = np.zeros((regions, side), np.float32)
    for row, (begin, end) in enumerate(zip(edges, edges[1:], strict=False)):
        means[row, begin:end] = 1.0 / max(end - begin, 1)
    return means


@keras.saving.register_keras_serializable(package="dino_tf")
class HistogramPrediction(keras.layers.Layer):
    """Guesses histograms of gradients from what the student makes of a crop.

    After three quarters of the blocks the CLS token guesses those of the crop's
    regions, 4 x 4 of a global crop and 2 x 2 of a local one, and each patch those of
    its own quarters, by linear layers that belong to the training: no backbone has
    them. What all tokens of a batch share is taken away before.

    Args:
        weight: Of the loss beside that of the CLS features: a number above 0 or a
            schedule of the step.
        deviation: As for `gradient_histograms`, above 0.

    Raises:
        ValueError: A number is out of its range.

    Reference:
        Wei et al. 2022, arXiv 2112.09133 (MaskFeat), where hidden patches guess their
        own. Here all patches do, and the CLS feature too: few updates reach it sooner.
    """

    def __init__(self, weight=1.0, deviation=GREY, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        numbers = {"deviation": deviation}
        if not callable(weight):
            numbers["weight"] = weight
        for name, value in numbers.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name}={value}: expected above 0, and finite")
        self.weight, self.deviation = weight, deviation
        sides = {"large": GLOBAL_REGIONS, "small": LOCAL_REGIONS, "patch": QUARTERS}
        self.layers = {name: self._layer(name, side) for name, side in sides.items()}

    def _layer(self, name, side):
        """Guesses at first near the mean, so that what differs is learnt first."""
        return keras.layers.Dense(
            side**2 * BINS,
            # A seed of its own: with and without it a training starts alike.
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.005, seed=0),
            bias_initializer=keras.initializers.Constant(0.25),
            dtype=self.dtype_policy,
            name=name,
        )

    def build(self, input_shape):
        """Builds for features (B, D)."""
        for layer in self.layers.values():
            if not layer.built:
                layer.build((None, input_shape[-1]))

    def check(self, backbone, head=None):
        """ValueError for a backbone that is no `VisionTransformer` of even patches."""
        if not isinstance(backbone, VisionTransformer) or backbone.patch_size % 2:
            kind = type(backbone).__name__
            size = getattr(backbone, "patch_size", None)
            raise ValueError(
                f"histograms with a {kind}, patch size {size}: expected a "
                "VisionTransformer with patches of an even side"
            )

    def known(self, backbone, inner):
        """What the guesses are made from.

        Args:
            backbone: That has passed `check`.
            inner: Tokens (n, N, D) after each of its blocks.

        Returns:
            CLS (n, D) and patches (n, h * w, D) after `BLOCKS` of them, float32, the
            channels of each of mean 0 and variance 1.
        """
        tokens = ops.cast(inner[max(int(BLOCKS * len(inner)), 1) - 1], "float32")
        tokens -= ops.mean(tokens, axis=-1, keepdims=True)
        squares = ops.mean(ops.square(tokens), axis=-1, keepdims=True)
        tokens *= ops.rsqrt(squares + 1e-6)
        return tokens[:, 0], tokens[:, backbone.num_prefix_tokens :]

    def loss(self, known, global_views, local_views):
        """Share of the variance that the guesses leave; 1: they know nothing.

        Args:
            known: Of `known`, for the global views and, where there are any, for the
                local ones: CLS (G * B, D) and patches (G * B, h * w, D), the views
                outermost.
            global_views: (B, G, S, S, 3).
            local_views: (B, V - G, s, s, 3).

        Returns:
            Scalar from 0, the mean of the shares: of regions and of patches, of global
            and of local crops. Each is over what differs between the crops of the
            batch, or of the part of it that is computed at once.
        """
        shares = []
        groups = (
            ("large", GLOBAL_REGIONS, global_views),
            ("small", LOCAL_REGIONS, local_views),
        )
        for (name, side, views), (cls, patches) in zip(groups, known, strict=False):
            images = views_outermost(views)
            grid = round(patches.shape[1] ** 0.5) * QUARTERS
            size = images.shape[1] // grid
            cells = gradient_histograms(images, size, self.deviation)
            truth = in_regions(cells, side)
            shares.append(_left(self.layers[name](_centred(cls)), truth))
            truth = _by_patch(cells)
            shares.append(_left(self.layers["patch"](_centred(patches)), truth))
        return sum(shares) / len(shares)

    def weighted(self, left, step):
        """What `loss` found, by the weight at a step."""
        return value_at(self.weight, step) * left

    def get_config(self):
        own = {"weight": saved(self.weight), "deviation": self.deviation}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config):
        return cls(**restored(config, ["weight"]))


def _by_patch(cells):
    """(N, 2 h, 2 w, C) -> (N, h * w, 4 C)."""
    rows, columns, channels = cells.shape[1:]
    shape = (-1, rows // 2, 2, columns // 2, 2, channels)
    cells = ops.transpose(ops.reshape(cells, shape), (0, 1, 3, 2, 4, 5))
    return ops.reshape(cells, (-1, rows * columns // 4, 4 * channels))


def _centred(features):
    """Features less their mean, so that none is pushed towards what all share."""
    features = ops.cast(features, "float32")
    axes = tuple(range(len(features.shape) - 1))
    return features - ops.mean(features, axis=axes, keepdims=True)


def _left(guess, truth):
    """Share of the variance that a guess leaves; where hardly any is, of `LEAST`."""
    truth = ops.stop_gradient(ops.reshape(truth, (-1, guess.shape[-1])))
    wrong = ops.square(ops.reshape(guess, (-1, guess.shape[-1])) - truth)
    spread = ops.maximum(ops.mean(ops.var(truth, axis=0)), LEAST)
    return ops.mean(wrong) / spread
