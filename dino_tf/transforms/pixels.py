"""What the numbers of a picture mean to a network: mean and deviation of its channels.

Here without TensorFlow, for processes that only draw views.
"""

import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_ALIGNED = 64  # bytes, at whose multiples TensorFlow takes an array without a copy
_AT_ONCE = 2**16  # numbers, few enough to stay in the cache between two operations


def normalize_array(pixels, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """`image.normalize` of an array: one pass over the memory, one thread.

    Args:
        pixels: uint8 (..., W, 3), contiguous.
        mean: Mean of each channel, in 0..1.
        std: Standard deviation of each channel, in 0..1.

    Returns:
        float32 array of the same shape.
    """
    room = np.empty(4 * pixels.size + _ALIGNED, np.uint8)
    start = -room.ctypes.data % _ALIGNED
    result = room[start : start + 4 * pixels.size].view(np.float32)
    width = pixels.shape[-2]
    lines, out = pixels.reshape(-1, 3 * width), result.reshape(-1, 3 * width)
    std = np.asarray(std)
    scale = np.tile((1 / (255 * std)).astype(np.float32), width)
    offset = np.tile((mean / std).astype(np.float32), width)
    step = max(_AT_ONCE // max(3 * width, 1), 1)
    for first in range(0, len(lines), step):
        part = out[first : first + step]
        np.multiply(lines[first : first + step], scale, out=part)
        np.subtract(part, offset, out=part)
    return result.reshape(pixels.shape)
