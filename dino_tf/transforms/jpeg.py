"""JPEG photos for training: the pixels of `image.decode`, sooner, or fewer of them."""

import struct

import cv2
import numpy as np

from ..errors import first_line

# OpenCV's flags of a decoding to RGB by the denominator of its scale. A photo lies as
# its pixels do, whatever its EXIF data say, as everywhere in the program.
_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_FLAGS = {
    1: _AS_STORED,
    2: _AS_STORED | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: _AS_STORED | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: _AS_STORED | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
# Markers of a frame (C0 to CF) that say something else, and those without a length.
_NO_FRAME = (0xC4, 0xC8, 0xCC)
_BARE = (0x01, *range(0xD0, 0xD9))


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
    except OSError as error:
        return None, first_line(error)
    frame = jpeg_frame(data) if data[:3] == _START and data[-2:] == _END else None
    if frame and frame[2] in (1, 3):
        ratio = 1 if reduction is None else reduction(*frame[:2])
        image = _decode(data, _FLAGS[ratio])
        if image is not None:
            return image, None
    return _try_decode(data)


def _try_decode(data):
    # Not above: most processes that draw views never need TensorFlow.
    from .image import try_decode

    return try_decode(lambda: data)


def _decode(data, flags):
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # such as too many pixels
        return None


def jpeg_frame(data):
    """(height, width, channels) that the header of a JPEG file tells, or None."""
    place, end = 2, len(data) - 9
    while place < end and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
        elif marker in _BARE:
            place += 2
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width, channels = struct.unpack_from(">HHB", data, place + 5)
            return (height, width, channels) if height and width else None
        else:
            place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    return None
