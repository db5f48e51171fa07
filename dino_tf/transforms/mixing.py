"""Targets of supervised training: smoothed, and mixed with those of other photos."""

import math

import numpy as np
import tensorflow as tf


class Mixing:
    """Makes targets of labels, and blends each photo of a batch with another.

    The i-th photo from the front meets the i-th from the back. One draw holds for the
    whole batch. With both mixup and CutMix each batch gets one of them, by a fair coin.

    Args:
        num_classes: C, for labels that are class indices; None takes the rows given,
            of photos with several classes, as they are.
        smoothing: Share of each target that is spread evenly, 0 to below 1.
        mixup: Both parameters of the beta distribution of a photo's share; 0 is off.
        cutmix: The same for the area that a photo keeps; 0 is off.

    Reference:
        Zhang et al. 2018, arXiv 1710.09412; Yun et al. 2019, arXiv 1905.04899;
        Szegedy et al. 2016, arXiv 1512.00567, section 7. By batches and with the coin
        as in Touvron et al. 2021, arXiv 2012.12877, table 9.
    """

    def __init__(self, num_classes, smoothing=0.0, mixup=0.0, cutmix=0.0):
        self.num_classes, self.smoothing = num_classes, smoothing
        self.mixup, self.cutmix = mixup, cutmix

    @tf.autograph.experimental.do_not_convert
    def __call__(self, images, labels, seed):
        """One batch for training.

        Args:
            images: (B, S, S, 3).
            labels: int (B,), or (B, C) of zeros and ones; see `num_classes`.
            seed: int64 (2,), of values from 0 on; the same seed gives the same draw.

        Returns:
            (images float32 (B, S, S, 3), targets float32 (B, C)).
        """
        targets = smooth_targets(labels, self.num_classes, self.smoothing)
        if not (self.mixup or self.cutmix):
            return images, targets
        height, width = images.shape[1:3]

        def draw(seed):
            rng = np.random.default_rng(seed)
            return draw_weights(rng, height, width, self.mixup, self.cutmix)

        weights = tf.numpy_function(draw, [seed], tf.float32, stateful=False)
        return blend(images, targets, tf.ensure_shape(weights, (height, width)))


def smooth_targets(labels, num_classes, smoothing):
    """Targets (B, C) float32 of labels.

    Args:
        labels: int (B,) class indices, or (B, C) of zeros and ones.
        num_classes: C for indices, None for rows.
        smoothing: Share s that is spread evenly: over the C classes for indices (the
            right one has 1 - s + s / C, every other s / C), over present and absent
            for rows (1 - s / 2 and s / 2).
    """
    if num_classes is None:
        rows, ways = tf.cast(labels, tf.float32), 2
    else:
        rows, ways = tf.one_hot(labels, num_classes), num_classes
    return rows * (1.0 - smoothing) + smoothing / ways


def draw_weights(rng, height, width, mixup, cutmix):
    """Share that a photo keeps of each of its pixels, the same for a batch.

    Args:
        rng: `numpy.random.Generator`.
        height: Of the photos, in pixels.
        width: Of the photos, in pixels.
        mixup: See `Mixing`.
        cutmix: See `Mixing`.

    Returns:
        float32 (height, width) in [0, 1]: one number throughout by mixup; zero in a
        box, one around it, by CutMix. The box may be cut off by the border.
    """
    boxed = rng.random() < 0.5 if mixup and cutmix else bool(cutmix)
    alpha = cutmix if boxed else mixup
    share = rng.beta(alpha, alpha)
    if not boxed:
        return np.full((height, width), share, np.float32)
    side, weights = math.sqrt(1.0 - share), np.ones((height, width), np.float32)
    halves = int(height * side) // 2, int(width * side) // 2
    row, column = rng.integers(height), rng.integers(width)
    rows = slice(max(row - halves[0], 0), row + halves[0])
    weights[rows, max(column - halves[1], 0) : column + halves[1]] = 0.0
    return weights


def blend(images, targets, weights):
    """Mixes a batch with itself from back to front.

    Args:
        images: (B, H, W, 3).
        targets: (B, C).
        weights: (H, W) share that a photo keeps of each pixel; its target keeps the
            mean of them.

    Returns:
        (images, targets) of the same shapes.
    """
    pixels, share = weights[..., None], tf.reduce_mean(weights)
    images = images * pixels + tf.reverse(images, (0,)) * (1.0 - pixels)
    return images, targets * share + tf.reverse(targets, (0,)) * (1.0 - share)
