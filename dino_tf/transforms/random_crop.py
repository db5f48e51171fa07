"""The one random view of a photo that supervised training sees."""

import tensorflow as tf

from ..errors import UserError
from . import augment
from .image import IMAGENET_MEAN, IMAGENET_STD, normalize
from .resample import Resampler


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
        kernel: "bicubic" or "bilinear", the curve of the resize.

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
        kernel="bicubic",
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
        self.mean, self.std, self.kernel = tuple(mean), tuple(std), kernel

    @tf.autograph.experimental.do_not_convert
    def __call__(self, image, seed):
        """Draw the view of one photo.

        Args:
            image: uint8 (H, W, 3).
            seed: Integer tensor (2,); the same seed gives the same view.

        Returns:
            float32 (S, S, 3), normalised.
        """
        view = tf.numpy_function(self.draw, [image, seed], tf.uint8, stateful=False)
        view = tf.ensure_shape(view, (self.size, self.size, 3))
        return normalize(view, self.mean, self.std)

    def draw(self, image, seed):
        """The view as uint8 array (S, S, 3), not normalised; NumPy alone."""
        rng = augment.generator(seed)
        box = augment.random_boxes(rng, 1, *image.shape[:2], self.scale, self.aspect)[0]
        flipped = rng.random() < self.flip
        view = Resampler(image, [box], [self.size], self.kernel).crop(0, flipped)
        if self.jitter:
            strength = (self.jitter,) * 3
            (parameters,), (order,) = augment.draw_jitter(rng, 1, *strength, hue=0.0)
            # Without a turn the colour circle would only round.
            view = augment.color_jitter(view, parameters, [i for i in order if i < 3])
        return view
