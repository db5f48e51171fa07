"""Pictures small enough to lie inside of a page."""

import base64
import io
import math

import numpy as np
from PIL import Image

from dino_tf.errors import first_line
from dino_tf.pillow_errors import UNREADABLE
from dino_tf.visualize import draw

QUALITY = 80
MOST_PIXELS = 100_000_000  # of a picture in a run folder


def jpeg_uri(picture, longest, quality=QUALITY):
    """A picture as the text of a `data:` address.

    Args:
        picture: uint8 (H, W, 3) or (H, W).
        longest: pixels of its longer side; smaller pictures keep their size.
        quality: of the JPEG, 1 to 95.
    """
    picture = np.ascontiguousarray(picture)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    height, width = picture.shape[:2]
    if max(height, width) > longest:
        scale = longest / max(height, width)
        shape = tuple(max(1, round(side * scale)) for side in (height, width))
        picture = draw.resize(picture, shape)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def file_uri(path, longest, quality=QUALITY):
    """`jpeg_uri` of a picture file.

    Raises:
        OSError: there is no such picture.
    """
    try:
        # Of other formats Pillow hands some to other programs.
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            if math.prod(picture.size) > MOST_PIXELS:
                raise OSError(f"{path} has too many pixels")
            # A box filter first: the pictures of a run are large, and there are many.
            picture.draft("RGB", (longest, longest))
            ratio = max(picture.size) // (2 * longest)
            small = picture.convert("RGB")
            pixels = small.reduce(ratio) if ratio > 1 else small
            return jpeg_uri(np.asarray(pixels), longest, quality)
    except UNREADABLE as error:
        raise OSError(f"{path} cannot be read ({first_line(error)})") from error


def square(picture, side):
    """The central square of a picture: uint8 (side, side, 3)."""
    height, width = picture.shape[:2]
    cut = min(height, width)
    top, left = (height - cut) // 2, (width - cut) // 2
    return draw.resize(picture[top : top + cut, left : left + cut], (side, side))
