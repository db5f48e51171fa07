"""JPEG photos for training: the pixels of `image.decode`, sooner, or fewer of them."""

import cv2
import numpy as np

from ..errors import first_line
from ..photo_headers import photo_header
from .first_frame import first_frame, is_for_pillow

# OpenCV's flags of a decoding to RGB by the denominator of its scale. A photo lies as
# its pixels do, whatever its EXIF data say, as everywhere in the program.
_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_FLAGS = {
    1: _AS_STORED,
    2: _AS_STORED | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: _AS_STORED | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: _AS_STORED | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
# To be raised when a file gives other pixels than before, for caches on disk.
DECODING_VERSION = 2
_END = b"\xff\xd9"


def try_decode_photo(read, reduction=None):
    """`image.try_decode`, with the same pixels and refusals, for training.

    OpenCV has the newer libjpeg-turbo, a quarter faster than TensorFlow's. Colour and
    grey JPEG files with a proper end are left to it, all others to TensorFlow.

    Args:
        read: Function without arguments that returns the bytes of one file.
        reduction: Function (height, width) -> 1, 2, 4 or 8, by which both sides of such
            a JPEG file are divided (rounded up) by its inverse DCT. None: always 1.

    Returns:
        Tuple (uint8 array (H, W, 3), None), or (None, reason in one line).
    """
    try:
        data = read()
        header = photo_header(data)
        if is_for_pillow(header):
            return first_frame(data, header.kind), None
    except OSError as error:
        return None, first_line(error)
    if header.kind == "JPEG" and header.channels in (1, 3) and data[-2:] == _END:
        image = _decode(data, _FLAGS[_ratio(header, reduction)])
        if image is not None:
            return image, None
    return _try_decode(data)


def _ratio(header, reduction):
    if reduction is None:
        return header.scale
    return max(header.scale, reduction(header.height, header.width))


def _try_decode(data):
    # Not above: most processes that draw views never need TensorFlow.
    from .image import try_decode

    return try_decode(lambda: data)


def _decode(data, flags):
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # such as too many pixels
        return None
