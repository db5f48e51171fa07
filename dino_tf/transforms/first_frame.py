"""Photos that Pillow decodes: GIF, BMP and animated WebP files.

TensorFlow decodes all frames of a GIF file at once, takes places in the palette of a
BMP file for greys, and is ended by the second frame of a WebP file.
"""

import io

import numpy as np
from PIL import Image

from ..errors import first_line
from ..photo_headers import MOST_PIXELS, Refused, require_size
from ..pillow_errors import UNREADABLE


def is_for_pillow(header):
    """Whether `first_frame` is for a file with this `photo_headers.Header`."""
    return header.kind in ("GIF", "BMP") or header.animated


def first_frame(data, kind):
    """Decode the first frame; transparency is dropped, not blended.

    Args:
        data: Content of a file, bytes.
        kind: "GIF", "BMP" or "WEBP".

    Returns:
        uint8 array (H, W, 3).

    Raises:
        OSError: It is no whole photo of this kind.
    """
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            # A frame of a GIF file may be larger than the header says.
            require_size(image.height, image.width)
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except Image.DecompressionBombError as error:
        raise Refused(f"too many pixels; allowed: {MOST_PIXELS:,} in all") from error
    except Image.UnidentifiedImageError as error:
        raise OSError(f"damaged {kind} file") from error
    except UNREADABLE as error:
        if isinstance(error, Refused):
            raise
        raise OSError(f"damaged {kind} file: {first_line(error)}") from error
