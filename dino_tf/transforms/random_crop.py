"""The one random view of a photo that supervised training sees."""

import tensorflow as tf

from ..errors import UserError
from . import augment
from .augment import apply_if
from .image import IMAGENET_MEAN, IMAGENET_STD, normalize, resize_planes, to_planes


class RandomCrop:
    """Random resized crop, flip and colour jitter of a photo, drawn from a seed.

    Args:
        size: Side S of the view in pixels.
        scale: Smallest and largest share of the photo's area in the view.
        aspect: Smallest and largest width over height of a crop.
        flip: Probability of a left-right flip.
        jitter: Largest deviation of brightness, contrast and saturation from 1, as a
            factor; 0 leaves the colours.
        mean: Mean of each channel in 0..1, subtracted.
        std: Deviation of each channel in 0..1, divided by.

    Raises:
        UserError: An argument is outside its range.

    Reference:
        Touvron et al. 2021, arXiv 2012.12877, table 9, but for RandAugment.
    """

    def __init__(
        self,
        size,
        scale=(0.08, 1.0),
        aspect=(3 / 4, 4 / 3),
        flip=0.5,
        jitter=0.0,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ):
        for name, pair, most in (("scale", scale, 1.0), ("aspect", aspect, None)):
            if not 0 < pair[0] <= pair[1] or (most and pair[1] > most):
                raise UserError(f"{name} is {pair}; allowed is 0 < low <= high")
        if size < 1 or not 0 <= flip <= 1 or jitter < 0:
            raise UserError(
                f"size {size}, flip {flip}, jitter {jitter}; allowed is a size of 1 "
                "or more, a probability, and 0 or more"
            )
        self.size, self.scale, self.aspect = size, tuple(scale), tuple(aspect)
        self.flip, self.jitter = flip, jitter
        self.mean, self.std = tuple(mean), tuple(std)

    @tf.autograph.experimental.do_not_convert
    def __call__(self, image, seed):
        """Draw the view of one photo.

        Args:
            image: uint8 (H, W, 3).
            seed: Integer tensor (2,); the same seed gives the same view.

        Returns:
            float32 (S, S, 3), normalised.
        """
        planes, seeds = to_planes(image), tf.random.split(seed, 3)
        rows, columns = tf.shape(planes)[1], tf.shape(planes)[2]
        boxes = augment.random_boxes(
            seeds[0], 1, rows, columns, self.scale, self.aspect
        )
        top, left, height, width = tf.unstack(boxes[0])
        crop = planes[:, top : top + height, left : left + width]
        view = resize_planes(crop, (self.size, self.size))
        flipped = tf.random.stateless_uniform((), seeds[1]) < self.flip
        view = apply_if(flipped, augment.hflip, view)
        if self.jitter:
            strength = (self.jitter,) * 3
            drawn = augment.draw_jitter(seeds[2], 1, *strength, hue=0.0)
            view = augment.color_jitter(view, *(draws[0] for draws in drawn))
        return normalize(view, self.mean, self.std)
