"""Colour and blur operations, and the random draws that choose them.

Every operation takes one picture (H, W, 3) with values 0..255 and a fixed
parameter, and returns float32 clipped to 0..255. They follow Pillow, but do not
round to 8 bits in between. Every `random_*` function takes a seed, an integer
tensor of shape (2,): the same seed gives the same outcome.
"""

import math
from functools import partial

import numpy as np
import tensorflow as tf

# ITU-R 601, the weights of Pillow's conversion to "L".
_GRAY_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)
_BLUR_BLOCK = 32


def _clip(image):
    return tf.clip_by_value(image, 0.0, 255.0)


def _mix_channels(image, matrix):
    """Multiply the channels of (H, W, 3) by a (3, 3) matrix.

    Eight pixels in a row make a product twice as fast as one by one.
    """
    image = tf.cast(image, tf.float32)
    pixels = image.shape[:2].num_elements()
    together = 8 if pixels and pixels % 8 == 0 else 1
    side = 3 * together
    blocks = np.eye(together, dtype=np.float32)[:, None, :, None]
    blocks = tf.reshape(blocks * tf.reshape(matrix, (1, 3, 1, 3)), (side, side))
    mixed = tf.matmul(tf.reshape(image, (-1, side)), blocks)
    return tf.ensure_shape(tf.reshape(mixed, tf.shape(image)), image.shape)


def brightness(image, factor):
    """Blend with black: 0 gives black, 1 the picture itself."""
    return _clip(tf.cast(image, tf.float32) * factor)


def contrast(image, factor):
    """Blend with the mean grey of the picture: 0 gives flat grey."""
    image = tf.cast(image, tf.float32)
    # One axis after the other is four times faster than both at once.
    means = tf.reduce_mean(tf.reduce_mean(image, 0), 0)
    mean = tf.reduce_sum(means * _GRAY_WEIGHTS)
    return _clip(image * factor + mean * (1.0 - factor))


def saturation(image, factor):
    """Blend each pixel with its own grey: 0 gives a grey picture."""
    gray = np.repeat(_GRAY_WEIGHTS[:, None], 3, axis=1)
    matrix = factor * np.eye(3, dtype=np.float32) + (1.0 - factor) * gray
    return _clip(_mix_channels(image, matrix))


def hue(image, shift):
    """Turn the colour circle by `shift` of a full turn (-0.5..0.5)."""
    image = tf.cast(image, tf.float32)
    return _clip(tf.raw_ops.AdjustHue(images=image, delta=shift))


def grayscale(image):
    """Give each pixel its grey in all three channels."""
    return _mix_channels(image, np.repeat(_GRAY_WEIGHTS[:, None], 3, axis=1))


def solarize(image, threshold=128):
    """Invert the values at and above `threshold` (0..256)."""
    image = tf.cast(image, tf.float32)
    # Pillow compares whole numbers, so the border lies half a step lower.
    border = tf.cast(threshold, tf.float32) - 0.5
    return tf.where(image < border, image, 255.0 - image)


def hflip(image):
    """Mirror left and right."""
    return tf.reverse(image, (1,))


def gaussian_blur(image, sigma, radius):
    """Blur with a Gaussian; pixels beyond the border repeat the border.

    Args:
        image: (H, W, 3), 0..255, of known height and width.
        sigma: Standard deviation in pixels (what Pillow calls the radius), above 0.
        radius: Taps on each side of the centre; 3 times the largest sigma is ample.

    Returns:
        float32 (H, W, 3), 0..255.
    """
    image = tf.cast(image, tf.float32)
    taps = np.arange(_BLUR_BLOCK + 2 * radius)[None]
    offset = (taps - np.arange(_BLUR_BLOCK)[:, None] - radius).astype(np.float32)
    weights = tf.exp(-(offset**2) / (2.0 * sigma * sigma)) * (abs(offset) <= radius)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    turned = tf.transpose(_blur_rows(image, weights, radius), (1, 0, 2))
    return tf.transpose(_blur_rows(turned, weights, radius), (1, 0, 2))


def _blur_rows(image, weights, radius):
    """Filter axis 0 as matrix products of short blocks of rows.

    A banded matrix of the whole side would be five times the work at 224 pixels.
    """
    rows, columns, channels = image.shape
    blocks = -(-rows // _BLUR_BLOCK)
    first = np.arange(blocks)[:, None] * _BLUR_BLOCK - radius
    taken = np.clip(first + np.arange(_BLUR_BLOCK + 2 * radius), 0, rows - 1)
    lines = tf.gather(tf.reshape(image, (rows, columns * channels)), taken)
    weights = tf.broadcast_to(weights, (blocks, *weights.shape))
    blurred = tf.reshape(tf.matmul(weights, lines), (-1, columns, channels))
    return blurred[:rows]


def _uniform(seed, shape=(), low=0.0, high=1.0):
    return tf.random.stateless_uniform(shape, seed, low, high)


def apply_if(drawn, operation, image):
    """Apply `operation(image)` where a draw says so; otherwise it costs nothing."""
    return tf.cond(drawn, lambda: operation(image), lambda: image)


_JITTER = (brightness, contrast, saturation, hue)


def draw_jitter(seed, count, brightness, contrast, saturation, hue):
    """Draw `count` colour jitters.

    Args:
        seed: Integer tensor (2,).
        count: Number of jitters.
        brightness: Largest deviation of the factor from 1 (0.4: 0.6 to 1.4).
        contrast: As brightness.
        saturation: As brightness.
        hue: Largest turn of the colour circle, 0..0.5.

    Returns:
        Tuple (parameters (count, 4) float32, order (count, 4) int32): a factor for
        brightness, contrast and saturation and a turn of the hue; and the order in
        which these four are applied.

    Reference:
        torchvision, `transforms.ColorJitter`.
    """
    draws = _uniform(seed, (2, count, 4))
    spread = np.array([brightness, contrast, saturation], np.float32)
    low = np.array([*np.maximum(0, 1 - spread), -hue], np.float32)
    high = np.array([*(1 + spread), hue], np.float32)
    return low + draws[0] * (high - low), tf.argsort(draws[1])


def color_jitter(image, parameters, order):
    """Apply one jitter of `draw_jitter` to (H, W, 3), 0..255; returns the same."""
    choices = list(zip(_JITTER, tf.unstack(parameters), strict=True))
    for which in tf.unstack(order):
        image = tf.switch_case(which, [partial(f, image, p) for f, p in choices])
    return image


def random_boxes(seed, count, height, width, scale, aspect):
    """Draw the boxes of `count` random resized crops of one picture.

    Ten boxes are drawn for each and the first that lies inside the picture is taken;
    if none does, the largest central box whose shape is allowed.

    Args:
        seed: Integer tensor (2,).
        count: Number of boxes.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        scale: Smallest and largest share of the area.
        aspect: Smallest and largest width over height, even on a log scale.

    Returns:
        int32 (count, 4): top, left, height, width in pixels.

    Reference:
        torchvision, `transforms.RandomResizedCrop.get_params`.
    """
    rows, columns = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    draws = _uniform(seed, (4, count, 10))
    area = rows * columns * (scale[0] + draws[0] * (scale[1] - scale[0]))
    low, high = math.log(aspect[0]), math.log(aspect[1])
    shape = tf.exp(low + draws[1] * (high - low))
    wide, tall = tf.round(tf.sqrt(area * shape)), tf.round(tf.sqrt(area / shape))
    fits = (wide >= 1) & (wide <= columns) & (tall >= 1) & (tall <= rows)
    first = tf.argmax(fits, axis=1)
    wide, tall = (tf.gather(sides, first, batch_dims=1) for sides in (wide, tall))
    top = tf.floor(draws[2, :, 0] * (rows - tall + 1))
    left = tf.floor(draws[3, :, 0] * (columns - wide + 1))
    drawn = tf.stack([top, left, tall, wide], axis=1)
    central = _central_box(rows, columns, aspect)
    some_fits = tf.reduce_any(fits, axis=1, keepdims=True)
    return tf.cast(tf.where(some_fits, drawn, central), tf.int32)


def _central_box(rows, columns, aspect):
    wide = tf.minimum(columns, tf.round(rows * aspect[1]))
    tall = tf.minimum(rows, tf.round(columns / aspect[0]))
    return tf.stack([(rows - tall) // 2, (columns - wide) // 2, tall, wide])
