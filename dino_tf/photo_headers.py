"""What the first bytes of a photo tell: its format and size, or why it is refused.

Every decoding begins here, so that a file whose header claims more pixels than memory
should hold is never handed to a decoder.
"""

import dataclasses
import struct

# Of one photo; the number above which Pillow warns of a decompression bomb, 268 MB of
# decoded RGB.
MOST_PIXELS = 2**30 // 4 // 3
# Pixels times scans of a JPEG file, a minute of decoding at the most. Photos have about
# ten scans.
MOST_SCANNED = 2 * 10**9
# Longer side to shorter. Where the shorter one is made as long as a network wants it,
# a line of one pixel by ten thousand would be gigabytes.
MOST_STRETCH = 20
SCALES = (1, 2, 4, 8)  # denominators of libjpeg's inverse DCT
READ = "JPEG, PNG, GIF, BMP, WebP"

# A sequential JPEG file spends at least two bits on 64 pixels, a progressive one a bit
# in its first scan: a file that claims more pixels than these a byte lacks the rest.
_PIXELS_A_BYTE = {0xC0: 256, 0xC1: 256, 0xC2: 512}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a length
_SCAN, _END = 0xDA, 0xD9
_MOST_MARKERS = 10_000  # ahead of the pixels; each takes a turn of a Python loop

_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
# Beginnings of files that people take for photos, or find in their place.
_OTHERS = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"\0\0\1\0", "ICO"),
    (b"qoif", "QOI"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"version https://git-lfs", "a Git LFS pointer in the place of the file"),
)
# Brands of the container that ISO 14496-12 describes.
_BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"crx ": "CR3 raw",
    **dict.fromkeys(
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
    ),
}


class Refused(OSError):
    """A photo that no decoder is given; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Header:
    """Format and size of a photo.

    Attributes:
        kind: "JPEG", "PNG", "GIF", "BMP" or "WEBP", as Pillow calls them.
        height: In pixels, as the file lies, without regard to an EXIF orientation.
        width: In pixels.
        channels: Of a JPEG file; 3 for others.
        scale: 1, 2, 4 or 8: what a JPEG file's sides must be divided by, at least.
        animated: Whether a WebP file is an animation.
    """

    kind: str
    height: int
    width: int
    channels: int = 3
    scale: int = 1
    animated: bool = False


def photo_header(data):
    """`Header` of the content of a file; its name plays no part.

    Args:
        data: Content of a file, bytes.

    Raises:
        Refused: It is empty or of another format, its header is damaged, its size is
            not that of a photo (see `require_size`) and it cannot be decoded at a
            reduced scale, or it claims more pixels than its bytes can hold.
    """
    try:
        header = _header(data)
    except struct.error as error:
        raise Refused("truncated header") from error
    scale = header.scale
    require_size(-(-header.height // scale), -(-header.width // scale))
    return header


def require_size(height, width):
    """Refuses a photo that is no surface, too large or too thin.

    Args:
        height: In pixels, as it is decoded.
        width: In pixels.

    Raises:
        Refused: A side is below 1, there are more than `MOST_PIXELS`, or a side is more
            than `MOST_STRETCH` times the other.
    """
    if height < 1 or width < 1:
        allowed = "1 or more"
    elif height * width > MOST_PIXELS:
        allowed = f"{MOST_PIXELS:,} in all"
    elif max(height, width) > MOST_STRETCH * min(height, width):
        allowed = f"a side of at most {MOST_STRETCH} times the other"
    else:
        return
    raise Refused(f"{width} x {height} pixels; allowed: {allowed}")


def _header(data):
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        if data[12:16] != b"IHDR":
            raise Refused("truncated header" if len(data) < 16 else "damaged header")
        width, height = struct.unpack_from(">II", data, 16)
        return Header("PNG", height, width)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        width, height = struct.unpack_from("<HH", data, 6)
        return Header("GIF", height, width)
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        form = "<HH" if data[14] == 12 else "<ii"
        width, height = struct.unpack_from(form, data, 18)
        return Header("BMP", abs(height), width)  # a negative one: upside down
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    raise Refused(f"{_other(data)}; allowed: {READ}")


def _webp(data):
    kind = data[12:16]
    if kind == b"VP8X":
        flags, *sides = struct.unpack_from("<B3xHBHB", data, 20)
        width, height = (low + (high << 16) + 1 for low, high in (sides[:2], sides[2:]))
        return Header("WEBP", height, width, animated=bool(flags & 2))
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return Header("WEBP", (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header("WEBP", height & 0x3FFF, width & 0x3FFF)
    raise Refused("damaged header")


def _other(data):
    """What a file is that is no photo."""
    if not data:
        return "empty file"
    for start, name in _OTHERS:
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a film")
    text = data[:2000].lower()
    if b"<svg" in text:
        return "SVG"
    if b"<html" in text or b"<!doctype html" in text:
        return "HTML"
    return "no photo" if data.strip(b"\0") else "nothing but zeros"


def _jpeg(data):
    frame = _frame(data)
    if frame is None:
        raise Refused("a JPEG file without a whole header")
    marker, bits, height, width, channels, place = frame
    if marker in (0xC3, 0xC7, 0xCB, 0xCF):
        raise Refused("lossless JPEG; allowed: lossy")
    if bits != 8:
        raise Refused(f"a JPEG file of {bits} bits a channel; allowed: 8")
    pixels = height * width
    if pixels > _PIXELS_A_BYTE.get(marker, pixels) * len(data):
        raise Refused(f"{width} x {height} pixels cannot be in {len(data):,} bytes")
    # Every scan of a progressive file goes over all pixels again.
    scans = data.count(b"\xff\xda")
    if scans * pixels > MOST_SCANNED:
        raise Refused(f"{scans} scans of {width} x {height} pixels are too many")
    if pixels <= MOST_PIXELS:
        return Header("JPEG", height, width, channels)
    # All other files are decoded as a whole first, whatever the scale.
    if marker not in (0xC0, 0xC1) or _channels_of_scan(data, place) != channels:
        return Header("JPEG", height, width, channels)
    fit = (s for s in SCALES if -(-height // s) * -(-width // s) <= MOST_PIXELS)
    return Header("JPEG", height, width, channels, next(fit))


def _frame(data):
    """(marker, bits, height, width, channels, place behind) of the frame, or None."""
    for marker, place in _segments(data, 2):
        if marker in _FRAMES:
            if place + 8 > len(data):
                return None
            length, *facts = struct.unpack_from(">HBHHB", data, place)
            return marker, *facts, place + length
        if marker == _SCAN:
            return None
    return None


def _channels_of_scan(data, place):
    """Number of channels in the first scan after a place, or None."""
    for marker, start in _segments(data, place):
        if marker == _SCAN:
            return data[start + 2] if start + 2 < len(data) else None
    return None


def _segments(data, place):
    """(marker, place of its length) of one segment after the other, as libjpeg goes.

    Bytes between segments are passed over, as there.
    """
    for _ in range(_MOST_MARKERS):
        place = data.find(b"\xff", place) + 1
        while place and data[place : place + 1] == b"\xff":
            place += 1
        if not 0 < place < len(data):
            return
        marker, place = data[place], place + 1
        if marker == 0 or marker in _BARE:
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        if marker == _END or length < 2:
            return
        yield marker, place
        place += length


def jpeg_frame(data):
    """(height, width, channels) that the header of a JPEG file tells, or None."""
    frame = _frame(data)
    return frame[2:5] if frame and frame[2] and frame[3] else None
