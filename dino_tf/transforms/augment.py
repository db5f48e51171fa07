"""Colour and blur operations in 8 bits, and the random draws that choose them.

Every operation takes one picture uint8 (H, W, 3) and fixed parameters, and returns
the same, clipped to 0..255 and rounded: Pillow's operations, whose results they come
within one grey level of (two for the hue, as Pillow's own circle has 255 steps). Every
function that draws takes a `numpy.random.Generator`.
"""

import functools
import math

import cv2
import numpy as np

# Photos are worked on side by side; threads inside one operation only get in the way.
cv2.setNumThreads(0)
# ITU-R 601, the weights of Pillow's conversion to "L".
_GRAY_WEIGHTS = np.array([0.299, 0.587, 0.114])
_TRIES = 10  # boxes drawn before the central one is taken


def generator(seed):
    """Random numbers that are a function of a pair of integers alone.

    Args:
        seed: Two integers of 64 bits, such as (seed of the run, position).
    """
    key = np.asarray(seed, np.int64).view(np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def brightness(image, factor):
    """Blend with black: 0 gives black, 1 the picture itself."""
    return cv2.convertScaleAbs(image, alpha=factor)


def contrast(image, factor):
    """Blend with the mean grey of the picture: 0 gives flat grey."""
    mean = float(np.dot(cv2.mean(image)[:3], _GRAY_WEIGHTS))
    return cv2.addWeighted(image, factor, image, 0.0, mean * (1.0 - factor))


def saturation(image, factor):
    """Blend each pixel with its own grey: 0 gives a grey picture."""
    matrix = factor * np.eye(3) + (1.0 - factor) * _GRAY_WEIGHTS
    return cv2.transform(image, matrix)


def hue(image, shift):
    """Turn the colour circle by `shift` of a full turn (-0.5..0.5).

    Reference:
        torchvision, `adjust_hue` of a Pillow image: so many of 256 steps, cut off.
    """
    circle = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    turned = circle[..., 0]
    np.add(turned, np.uint8(int(shift * 255) % 256), out=turned)
    return cv2.cvtColor(circle, cv2.COLOR_HSV2RGB_FULL)


def grayscale(image):
    """Give each pixel its grey in all three channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def solarize(image, threshold=128):
    """Invert the values at and above `threshold` (0..256)."""
    return cv2.LUT(image, _inverted_from(threshold))


@functools.cache
def _inverted_from(threshold):
    values = np.arange(256)
    return np.where(values < threshold, values, 255 - values).astype(np.uint8)


def gaussian_blur(image, sigma):
    """Blur with a Gaussian; pixels beyond the border repeat the border.

    Args:
        image: uint8 or float32 (H, W, 3), 0..255.
        sigma: Standard deviation in pixels (what Pillow calls the radius), above 0;
            the Gaussian ends at three of them.

    Returns:
        Array like `image`.
    """
    taps = cv2.getGaussianKernel(2 * math.ceil(3 * sigma) + 1, sigma, cv2.CV_32F)
    return cv2.sepFilter2D(image, -1, taps, taps, borderType=cv2.BORDER_REPLICATE)


_JITTER = (brightness, contrast, saturation, hue)


def draw_jitter(rng, count, brightness, contrast, saturation, hue):
    """Draw `count` colour jitters.

    Args:
        rng: `numpy.random.Generator`.
        count: Number of jitters.
        brightness: Largest deviation of the factor from 1 (0.4: 0.6 to 1.4).
        contrast: As brightness.
        saturation: As brightness.
        hue: Largest turn of the colour circle, 0..0.5.

    Returns:
        Tuple (parameters float64 (count, 4), order int64 (count, 4)): a factor for
        brightness, contrast and saturation and a turn of the hue; and the order in
        which these four are applied.

    Reference:
        torchvision, `transforms.ColorJitter`.
    """
    spread = np.array([brightness, contrast, saturation])
    low = np.array([*np.maximum(0.0, 1.0 - spread), -hue])
    high = np.array([*(1.0 + spread), hue])
    draws = rng.random((2, count, 4))
    return low + draws[0] * (high - low), np.argsort(draws[1], axis=1)


def color_jitter(image, parameters, order):
    """Apply one jitter of `draw_jitter` (a row of each) to uint8 (H, W, 3)."""
    for which in order:
        image = _JITTER[which](image, parameters[which])
    return image


def random_boxes(rng, count, height, width, scale, aspect):
    """Draw the boxes of `count` random resized crops of one picture.

    Ten boxes are drawn for each and the first that lies inside the picture is taken;
    if none does, the largest central box whose shape is allowed.

    Args:
        rng: `numpy.random.Generator`.
        count: Number of boxes.
        height: Height of the picture in pixels.
        width: Width of the picture in pixels.
        scale: Smallest and largest share of the area.
        aspect: Smallest and largest width over height, even on a log scale.

    Returns:
        int64 (count, 4): top, left, height, width in pixels.

    Reference:
        torchvision, `transforms.RandomResizedCrop.get_params`.
    """
    draws = rng.random((4, count, _TRIES))
    area = height * width * (scale[0] + draws[0] * (scale[1] - scale[0]))
    low, high = math.log(aspect[0]), math.log(aspect[1])
    shape = np.exp(low + draws[1] * (high - low))
    wide, tall = np.rint(np.sqrt(area * shape)), np.rint(np.sqrt(area / shape))
    fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    chosen = np.arange(count), fits.argmax(axis=1)
    wide, tall = wide[chosen], tall[chosen]
    top = np.floor(draws[2, :, 0] * (height - tall + 1))
    left = np.floor(draws[3, :, 0] * (width - wide + 1))
    boxes = np.stack([top, left, tall, wide], axis=1).astype(np.int64)
    boxes[~fits[chosen]] = _central_box(height, width, aspect)
    return boxes


def _central_box(height, width, aspect):
    wide = min(width, round(height * aspect[1]))
    tall = min(height, round(width / aspect[0]))
    return (height - tall) // 2, (width - wide) // 2, tall, wide
