"""Many views of one photo: two large crops and several small ones.

The **views contract**: what `MultiCrop` returns for one photo, what the pipeline
batches and what `DINO.train_step` reads.

- `{"global": (2, S, S, 3), "local": (V, s, s, 3)}`, and B in front in a batch;
- float32, channels last, normalised with the mean and deviation of the backbone;
- the first global view is the one drawn with the first blur and solarise odds;
- V may be 0: "local" is then (0, s, s, 3), never absent.

Any callable (image, seed) that returns this may stand in for `MultiCrop`.
"""

import math

import tensorflow as tf

from ..errors import UserError
from . import augment
from .augment import apply_if
from .image import IMAGENET_MEAN, IMAGENET_STD, normalize, resize_planes, to_planes


class MultiCrop:
    """Two global and `num_local` local random views, drawn from a seed.

    Each view: random resized crop, flip, colour jitter, grey, blur, solarise,
    normalise. The defaults are the published recipe.

    Args:
        global_size: Side S of a global view in pixels.
        local_size: Side s of a local view in pixels.
        num_local: Number V of local views, 0 or more.
        global_scale: Smallest and largest share of the photo's area in a global
            view. With few local views a wider range, (0.14, 1), is advised.
        local_scale: The same for a local view.
        aspect: Smallest and largest width over height of a crop.
        flip: Probability of a left-right flip.
        jitter: Probability of the colour jitter.
        brightness: Largest deviation of the brightness factor from 1.
        contrast: The same for contrast.
        saturation: The same for saturation.
        hue: Largest turn of the colour circle, 0..0.5.
        grayscale: Probability of grey.
        global_blur: Probability of blur for the first and second global view.
        local_blur: Probability of blur for a local view.
        blur_sigma: Smallest and largest sigma of the blur in pixels.
        solarize: Probability of solarising the first and second global view.
        solarize_threshold: Values from here on (0..255) are inverted.
        mean: Mean of each channel in 0..1, subtracted.
        std: Deviation of each channel in 0..1, divided by.

    Raises:
        UserError: An argument is outside its range.

    Reference:
        facebookresearch/dino, main_dino.py, `DataAugmentationDINO`; paper 2104.14294,
        section 3.2 and appendix E for the scales.
    """

    def __init__(
        self,
        global_size=224,
        local_size=96,
        num_local=8,
        global_scale=(0.4, 1.0),
        local_scale=(0.05, 0.4),
        aspect=(3 / 4, 4 / 3),
        flip=0.5,
        jitter=0.8,
        brightness=0.4,
        contrast=0.4,
        saturation=0.2,
        hue=0.1,
        grayscale=0.2,
        global_blur=(1.0, 0.1),
        local_blur=0.5,
        blur_sigma=(0.1, 2.0),
        solarize=(0.0, 0.2),
        solarize_threshold=128,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    ):
        self.global_size = global_size
        self.local_size = local_size
        self.num_local = num_local
        self.global_scale = tuple(global_scale)
        self.local_scale = tuple(local_scale)
        self.aspect = tuple(aspect)
        self.flip = flip
        self.jitter = jitter
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.grayscale = grayscale
        self.global_blur = tuple(global_blur)
        self.local_blur = local_blur
        self.blur_sigma = tuple(blur_sigma)
        self.solarize = tuple(solarize)
        self.solarize_threshold = solarize_threshold
        self.mean = tuple(mean)
        self.std = tuple(std)
        _validate(self)

    # Nothing here is for AutoGraph, whose reading of the source takes a second.
    @tf.autograph.experimental.do_not_convert
    def __call__(self, image, seed):
        """Draw the views of one photo.

        Args:
            image: uint8 (H, W, 3).
            seed: Integer tensor (2,); the same seed gives the same views.

        Returns:
            `{"global": (2, S, S, 3), "local": (V, s, s, 3)}`, float32, normalised.
        """
        planes = to_planes(image)
        seeds = tf.random.split(seed, 2)
        large, small = self._odds()
        return {
            "global": self._views(
                planes, seeds[0], large, self.global_size, self.global_scale
            ),
            "local": self._views(
                planes, seeds[1], small, self.local_size, self.local_scale
            ),
        }

    def _odds(self):
        """Probabilities of flip, jitter, grey, blur and solarise, a row per view."""
        base = [self.flip, self.jitter, self.grayscale]
        large = zip(self.global_blur, self.solarize, strict=True)
        small = [base + [self.local_blur, 0.0]] * self.num_local
        return [base + [blur, invert] for blur, invert in large], small

    def _views(self, planes, seed, odds, size, scale):
        if not odds:
            return tf.zeros((0, size, size, 3))
        count, seeds = len(odds), tf.random.split(seed, 4)
        rows, columns = tf.shape(planes)[1], tf.shape(planes)[2]
        # All draws of all views at once: small operations cost more than their work.
        drawn = (
            augment.random_boxes(seeds[0], count, rows, columns, scale, self.aspect),
            tf.random.stateless_uniform((count, len(odds[0])), seeds[1]) < odds,
            augment.draw_jitter(
                seeds[2],
                count,
                self.brightness,
                self.contrast,
                self.saturation,
                self.hue,
            ),
            tf.random.stateless_uniform((count,), seeds[3], *self.blur_sigma),
        )
        # One loop instead of a graph per view: tracing stays short.
        return tf.map_fn(
            lambda draws: self._view(planes, size, *draws),
            drawn,
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec((size, size, 3), tf.float32),
        )

    def _view(self, planes, size, box, chosen, jitter_draws, sigma):
        """Make one view; `chosen` (5,) says which operations it gets."""
        flip, jitter, gray, blur, solarize = tf.unstack(chosen)
        top, left, height, width = tf.unstack(box)
        crop = planes[:, top : top + height, left : left + width]
        view = resize_planes(crop, (size, size))
        view = apply_if(flip, augment.hflip, view)
        view = apply_if(jitter, lambda v: augment.color_jitter(v, *jitter_draws), view)
        view = apply_if(gray, augment.grayscale, view)
        view = apply_if(blur, lambda v: self._blur(v, sigma), view)
        view = apply_if(solarize, self._solarize, view)
        return normalize(view, self.mean, self.std)

    def _blur(self, image, sigma):
        return augment.gaussian_blur(image, sigma, math.ceil(3 * self.blur_sigma[1]))

    def _solarize(self, image):
        return augment.solarize(image, self.solarize_threshold)


def _validate(views):
    """Refuse arguments outside their range with one line."""
    for name in ("global_size", "local_size"):
        _check(views, name, lambda v: _is_int(v) and v >= 1, "an integer of 1 or more")
    _check(views, "num_local", lambda v: _is_int(v) and v >= 0, "an integer from 0 on")
    for name in ("global_scale", "local_scale"):
        _check(views, name, lambda v: _rising(v) and v[1] <= 1, "0 < low <= high <= 1")
    _check(views, "aspect", _rising, "0 < low <= high")
    _check(views, "blur_sigma", _rising, "0 < low <= high (pixels)")
    for name in ("flip", "jitter", "grayscale", "local_blur"):
        _check(views, name, lambda v: 0 <= v <= 1, "a probability, 0 to 1")
    for name in ("global_blur", "solarize"):
        _check(views, name, _two_odds, "two probabilities, 0 to 1")
    for name in ("brightness", "contrast", "saturation"):
        _check(views, name, lambda v: v >= 0, "0 or more")
    _check(views, "hue", lambda v: 0 <= v <= 0.5, "0 to 0.5")
    _check(views, "solarize_threshold", lambda v: 0 <= v <= 256, "0 to 256")
    _check(views, "mean", lambda v: len(v) == 3, "three numbers in 0..1")
    _check(views, "std", lambda v: len(v) == 3 and min(v) > 0, "three numbers above 0")


def _check(views, name, allowed, text):
    value = getattr(views, name)
    if not allowed(value):
        raise UserError(f"views.{name} is {value!r}; allowed is {text}")


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _rising(pair):
    return len(pair) == 2 and 0 < pair[0] <= pair[1]


def _two_odds(pair):
    return len(pair) == 2 and all(0 <= p <= 1 for p in pair)
