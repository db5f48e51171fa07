"""What Pillow raises for a file that it cannot read as a photo."""

import struct
import zlib

from PIL import Image

# Its decoders let some of Python's own errors through; a photo of too many pixels is
# refused by one that is no `OSError`.
UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
