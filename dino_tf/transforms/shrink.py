"""Photos made smaller for good, before they are kept."""

import io
import warnings

import numpy as np
from PIL import Image

from ..photo_headers import photo_header
from ..pillow_errors import UNREADABLE
from .image import try_decode

_ORIENTATION = 0x0112  # EXIF tag


def shrink(data, max_side, quality):
    """Make the longer side of an encoded photo at most `max_side` pixels.

    Pixels are those that training sees, and keep the order in which they lie in the
    file; orientation and colour profile are only noted in it, by most cameras, and
    are carried over, so that other programs show the photo upright and in its
    colours. (Profiles of grey and CMYK files do not fit the RGB that is written.)

    Args:
        data: Content of one image file.
        max_side: Largest side allowed, in pixels.
        quality: Of the JPEG file, 1 to 95 in Pillow's scale.

    Returns:
        Tuple (bytes, size before, size after); sizes are (width, height). A photo
        that is small enough keeps its bytes, and both sizes are None.

    Raises:
        OSError: The photo cannot be decoded; the reason in one line.
    """
    header = photo_header(data)
    before = header.width, header.height
    if max(before) <= max_side:
        return data, None, None
    pixels, reason = try_decode(lambda: data)
    if pixels is None:
        raise OSError(reason)
    scale = max_side / max(before)
    after = tuple(max(round(side * scale), 1) for side in before)
    file = io.BytesIO()
    smaller = Image.fromarray(pixels).resize(after, Image.Resampling.BICUBIC)
    smaller.save(file, "JPEG", quality=quality, **_facts(data))
    return file.getvalue(), before, after


def resize_nearest(array, size):
    """The nearest value for every pixel of another size, as masks need it.

    Args:
        array: (H, W) of any type.
        size: (width, height) wanted.

    Returns:
        Array (height, width) of the same type.
    """
    columns, rows = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(size, array.shape[::-1], strict=True)
    )
    return np.ascontiguousarray(array[rows[:, None], columns])


def _facts(data):
    """What of the header goes into the smaller file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                orientation = image.getexif().get(_ORIENTATION)
                profile = image.info.get("icc_profile") or b""
    except UNREADABLE:
        return {}
    facts = {}
    if orientation in range(2, 9):
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        facts["exif"] = exif
    if profile[16:20] == b"RGB ":
        facts["icc_profile"] = profile
    return facts
