"""Many views of one photo: two large crops and several small ones.

The **views contract**: what `MultiCrop` returns for one photo, what the pipeline
batches and what `DINO.train_step` reads.

- `{"global": (2, S, S, 3), "local": (V, s, s, 3)}`, and B in front in a batch;
- float32, channels last, normalised with the mean and deviation of the backbone;
- the first global view is the one drawn with the first blur and solarise odds;
- V may be 0: "local" is then (0, s, s, 3), never absent.

Any callable (image, seed) that returns this may stand in for `MultiCrop`. One that
also has its other public methods is called by the pipeline in two halves, so that views
wait and are put together in 8 bits.
"""

import math
from functools import partial

import numpy as np

from ..errors import UserError
from . import augment
from .pixels import IMAGENET_MEAN, IMAGENET_STD, normalize_array
from .resample import Resampler


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

    def __call__(self, image, seed):
        """Draw the views of one photo.

        Args:
            image: uint8 (H, W, 3).
            seed: Integer tensor (2,); the same seed gives the same views.

        Returns:
            `{"global": (2, S, S, 3), "local": (V, s, s, 3)}`, float32, normalised.
        """
        # Not above: processes that only draw start in a tenth of the time without it.
        import tensorflow as tf

        pixels = tf.numpy_function(
            lambda *given: tuple(self.draw(*given).values()),
            [image, seed],
            (tf.uint8, tf.uint8),
            stateful=False,
        )
        return self.finish(self.with_shapes(pixels))

    def draw(self, image, seed):
        """Draw the views of one photo in 8 bits, not normalised; NumPy alone.

        Args:
            image: uint8 array (H, W, 3).
            seed: Two integers; the same ones give the same views.

        Returns:
            `{"global": (2, S, S, 3), "local": (V, s, s, 3)}`, uint8 arrays.
        """
        rng = augment.generator(seed)
        height, width = image.shape[:2]
        boxes = [
            box
            for count, scale in (
                (2, self.global_scale),
                (self.num_local, self.local_scale),
            )
            for box in augment.random_boxes(
                rng, count, height, width, scale, self.aspect
            ).tolist()
        ]
        count = len(boxes)
        chosen = (rng.random((count, 5)) < self._odds()).tolist()
        parameters, order = augment.draw_jitter(
            rng, count, self.brightness, self.contrast, self.saturation, self.hue
        )
        sigmas = rng.uniform(*self.blur_sigma, count).tolist()
        jitters = zip(parameters.tolist(), order.tolist(), strict=True)
        sizes = [self.global_size] * 2 + [self.local_size] * self.num_local
        crops = Resampler(image, boxes, sizes)
        views = [
            self._view(crops.crop(i, chosen[i][0]), chosen[i], jitter, sigmas[i])
            for i, jitter in enumerate(jitters)
        ]
        small = np.array(views[2:], np.uint8).reshape(self.shapes()["local"])
        return {"global": np.stack(views[:2]), "local": small}

    def shapes(self):
        """Shapes of what `draw` gives, by name."""
        counts = {
            "global": (2, self.global_size),
            "local": (self.num_local, self.local_size),
        }
        return {name: (count, s, s, 3) for name, (count, s) in counts.items()}

    def with_shapes(self, pixels):
        """The dictionary of views, their shapes known, of a pair of tensors."""
        import tensorflow as tf

        named = zip(self.shapes().items(), pixels, strict=True)
        return {name: tf.ensure_shape(views, shape) for (name, shape), views in named}

    def finish(self, views):
        """Normalise what `draw` gave, or a batch of it.

        Args:
            views: Dictionary of uint8 tensors (..., S, S, 3).

        Returns:
            The same in float32, normalised.
        """
        import tensorflow as tf

        def normalized(pixels):
            result = tf.numpy_function(
                lambda array: normalize_array(array, self.mean, self.std),
                [pixels],
                tf.float32,
                stateful=False,
            )
            return tf.ensure_shape(result, pixels.shape)

        return {name: normalized(pixels) for name, pixels in views.items()}

    def reduction(self, height, width, margin):
        """By how much a photo may be made smaller before views are drawn of it.

        Args:
            height: Of the photo, in pixels.
            width: Of the photo, in pixels.
            margin: Every crop shall keep so many times the pixels a side of its view.

        Returns:
            1, 2, 4 or 8.
        """
        least = min(self.aspect[0], 1 / self.aspect[1])
        ratios = [8, 4, 2]
        kinds = [(self.global_size, self.global_scale[0])]
        if self.num_local:
            kinds.append((self.local_size, self.local_scale[0]))
        for size, share in kinds:
            side = min(math.sqrt(share * height * width * least), height, width)
            ratios = [ratio for ratio in ratios if side / ratio >= margin * size]
        return ratios[0] if ratios else 1

    def reduction_with(self, margin):
        """`reduction` with a margin: a function (height, width) that can be pickled.

        Args:
            margin: As for `reduction`; None makes no photo smaller.

        Returns:
            The function, None for None.
        """
        return None if margin is None else partial(self.reduction, margin=margin)

    def _odds(self):
        """Probabilities of flip, jitter, grey, blur and solarise, a row per view."""
        base = [self.flip, self.jitter, self.grayscale]
        large = zip(self.global_blur, self.solarize, strict=True)
        small = [base + [self.local_blur, 0.0]] * self.num_local
        return [base + [blur, invert] for blur, invert in large] + small

    def _view(self, view, chosen, jitter_draws, sigma):
        """Change the colours of one crop; `chosen` says by which operations."""
        _, jitter, gray, blur, solarize = chosen
        if jitter:
            view = augment.color_jitter(view, *jitter_draws)
        if gray:
            view = augment.grayscale(view)
        if blur:
            view = augment.gaussian_blur(view, sigma)
        if solarize:
            view = augment.solarize(view, self.solarize_threshold)
        return view


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
