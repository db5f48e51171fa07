"""Photos as the world has them, made when asked for: what is used, what is refused.

`KINDS` is {name of a file: (bytes, outcome)}; the outcome is a colour, that of the
photo's top left, or the beginning of the reason why it is refused.
"""

import io
import os
import socket
import struct
import zlib

import numpy as np
from PIL import Image

RED, SHAPE = (200, 30, 60), (30, 40, 3)
GREY = (85, 85, 85)  # of RED, by Pillow's weights


def photo(mode="RGB", size=(40, 30)):
    """Red, blue in its last quarter, so that places can be told apart."""
    picture = Image.new("RGB", size, RED)
    picture.paste((0, 0, 255), (size[0] * 3 // 4, size[1] * 3 // 4, *size))
    return picture.convert(mode)


def encode(picture, form, **options):
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, depth, colour, raw, interlaced=0):
    """A PNG file by hand, of what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def sixteen(colour, values, interlaced=0):
    """A plain PNG file of 16 bits; its low bytes are above its high ones."""
    pixel = b"".join(bytes([value, 255]) for value in values)
    return png(4, 2, 16, colour, 2 * (b"\0" + 4 * pixel), interlaced)


def with_frame(data, marker=0xC0, **facts):
    """A JPEG file whose frame says something else."""
    start = data.index(b"\xff\xc0")
    layout = {"bits": ("B", 4), "height": (">H", 5), "width": (">H", 7)}
    changed = bytearray(data)
    changed[start + 1] = marker
    for name, value in facts.items():
        form, place = layout[name]
        struct.pack_into(form, changed, start + place, value)
    return bytes(changed)


def exif(orientation=6):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def without_segment(data, start):
    """A JPEG file without the segment that begins at `start`."""
    (length,) = struct.unpack_from(">H", data, start + 2)
    return data[:start] + data[start + 2 + length :]


def large_jpeg(side=9472, **options):
    """A JPEG file of more pixels than are decoded as a whole."""
    return encode(Image.new("L", (side, side), 77), "JPEG", quality=10, **options)


def scanned_again(times):
    """A progressive JPEG file whose last scan comes again and again."""
    data = encode(Image.new("L", (4096, 4096), 77), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * times + data[-2:]


def kinds():
    """The dictionary `KINDS`; takes a second."""
    jpeg, plain = encode(photo(), "JPEG", quality=90), encode(photo(), "PNG")
    cmyk = encode(photo("CMYK"), "JPEG", quality=95)
    ycck = bytearray(cmyk)
    adobe = cmyk.index(b"Adobe")
    two = {"save_all": True, "append_images": [photo().rotate(180)]}
    gif, webp = encode(photo(), "GIF"), encode(photo(), "WEBP", lossless=True)
    data = plain.index(b"IDAT")
    length = struct.unpack_from(">I", plain, data - 4)[0]
    end = data + 4 + length
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(50_000_000)))
    profile = b"\0\0\2\0none\x04\0\0\0mntrRGB XYZ " + bytes(492)
    lossless = {"lossless": True}
    return {
        # Used.
        "plain.jpg": (jpeg, RED),
        "progressive.jpg": (encode(photo(), "JPEG", progressive=True), RED),
        "grey.jpg": (encode(photo("L"), "JPEG"), GREY),
        "cmyk.jpg": (cmyk, RED),
        "cmyk plain.jpg": (without_segment(inverted(photo("CMYK")), 2), RED),
        "exif.jpg": (encode(photo(), "JPEG", exif=exif()), RED),
        "exif.png": (encode(photo(), "PNG", exif=exif()), RED),
        "exif.webp": (encode(photo(), "WEBP", exif=exif(), **lossless), RED),
        "profile.jpg": (encode(photo(), "JPEG", icc_profile=profile), RED),
        "profile.png": (encode(photo(), "PNG", icc_profile=profile), RED),
        "two photos.jpg": (encode(photo(), "MPO", **two), RED),
        "more behind.jpg": (jpeg + b"more" * 99, RED),
        "more between.jpg": (jpeg[:2] + b"\xff\xe0\0\2junk" + jpeg[2:], RED),
        "one pixel.jpg": (encode(photo(size=(1, 1)), "JPEG"), None),
        "one pixel.png": (png(1, 1, 8, 2, b"\0" + bytes(RED)), RED),
        "nearly thin.png": (png(1, 20, 8, 0, bytes(40)), None),
        "16 bit.png": (sixteen(2, RED), RED),
        "16 bit grey.png": (sixteen(0, (85,)), GREY),
        "16 bit grey alpha.png": (sixteen(4, (85, 0)), GREY),
        "16 bit alpha.png": (sixteen(6, (*RED, 0)), RED),
        "1 bit.png": (encode(photo().convert("1"), "PNG"), None),
        "interlaced.png": (png(1, 1, 8, 2, b"\0" + bytes(RED), 1), RED),
        "palette.png": (encode(photo().quantize(8), "PNG"), RED),
        "palette clear.png": (encode(photo().quantize(8), "PNG", transparency=0), RED),
        "grey alpha.png": (encode(clear("LA"), "PNG"), GREY),
        "alpha.png": (encode(clear("RGBA"), "PNG"), RED),
        "animated.png": (encode(photo(), "PNG", **two), RED),
        "much text.png": (plain[:33] + text + plain[33:], RED),
        "plain.gif": (gif, RED),
        "animated.gif": (encode(photo(), "GIF", **two), RED),
        "clear.gif": (encode(photo().quantize(8), "GIF", transparency=0), RED),
        "plain.bmp": (encode(photo(), "BMP"), RED),
        "palette.bmp": (encode(photo().quantize(8), "BMP"), RED),
        "1 bit.bmp": (encode(photo().convert("1"), "BMP"), None),
        "alpha.bmp": (encode(clear("RGBA"), "BMP"), RED),
        "plain.webp": (webp, RED),
        "lossy.webp": (encode(photo(), "WEBP", quality=100), RED),
        "alpha.webp": (encode(clear("RGBA", 128), "WEBP", **lossless), RED),
        "animated.webp": (encode(photo(), "WEBP", **lossless, **two), RED),
        "png called.jpg": (plain, RED),
        "jpeg called.png": (jpeg, RED),
        # Refused.
        "empty.jpg": (b"", "empty file"),
        "zeros.jpg": (bytes(5000), "nothing but zeros"),
        "text.jpg": (b"not a photo\n" * 99, "no photo"),
        "page.jpg": (b"<!DOCTYPE html><html>404</html>", "HTML"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1", "a Git LFS"),
        "drawing.png": (b"<?xml version='1.0'?><svg width='9'/>", "SVG"),
        "cut.jpg": (jpeg[: len(jpeg) * 2 // 3], "truncated or damaged JPEG"),
        "cut early.jpg": (jpeg[:30], "a JPEG file without a whole header"),
        "cut.png": (plain[: len(plain) * 2 // 3], "truncated or damaged PNG"),
        "cut early.png": (plain[:20], "truncated header"),
        "cut.gif": (gif[: len(gif) * 2 // 3], "damaged GIF"),
        "cut.bmp": (encode(photo(), "BMP")[:500], "damaged BMP"),
        "cut.webp": (encode(photo(), "WEBP")[:-20], "truncated or damaged WEBP"),
        "cut animated.webp": (encode(photo(), "WEBP", **two)[:60], "damaged WEBP"),
        "wrong sum.png": (plain[:end] + b"oops" + plain[end + 4 :], "truncated or dam"),
        "no frame.gif": (b"GIF89a\x08\0\x08\0\0\0\0;", "damaged GIF"),
        "12 bits.jpg": (with_frame(jpeg, bits=12), "a JPEG file of 12 bits"),
        "lossless.jpg": (with_frame(jpeg, 0xC3), "lossless JPEG"),
        "no width.jpg": (with_frame(jpeg, width=0), "0 x 30 pixels"),
        "no height.jpg": (with_frame(jpeg, height=0), "40 x 0 pixels"),
        "no width.png": (png(0, 3, 8, 2, b""), "0 x 3 pixels"),
        "claims.jpg": (with_frame(jpeg, height=65500, width=65500), "65500 x 65500"),
        "claims little.jpg": (with_frame(jpeg, height=4000, width=4000), "4000 x 4000"),
        "bomb.png": (png(60000, 60000, 8, 2, bytes(10**6)), "60000 x 60000 pixels; a"),
        "bomb.gif": (gif[:6] + b"\xff" * 4 + gif[10:], "65535 x 65535 pixels; a"),
        "bomb.bmp": (bmp_bomb(), "50000 x 50000 pixels; a"),
        "bomb.webp": (webp_bomb(), "16777216 x 16777216 pixels; a"),
        "scans.jpg": (scanned_again(200), "206 scans of 4096 x 4096 pixels"),
        "large.jpg": (large_jpeg(progressive=True), "9472 x 9472 pixels; a"),
        "thin.png": (png(1, 21, 8, 0, bytes(42)), "1 x 21 pixels; allowed: a side of"),
        "plain.tiff": (encode(photo(), "TIFF"), "TIFF"),
        "other end first.tif": (b"MM\0*\0\0\0\x08" + bytes(99), "TIFF"),
        "float.tif": (encode(photo("F"), "TIFF"), "TIFF"),
        "tiff called.jpg": (encode(photo(), "TIFF"), "TIFF"),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "HEIC"),
        "plain.avif": (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(99), "AVIF"),
        "plain.jxl": (b"\xff\x0a" + bytes(99), "JPEG XL"),
        "plain.jp2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "JPEG 2000"),
        "film.jpg": (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(99), "a film"),
        "layers.png": (b"8BPS\0\1" + bytes(99), "Photoshop"),
        "marker flood.jpg": (
            b"\xff\xd8" + b"\xff\xe1\0\2" * 20000,
            "a JPEG file witho",
        ),
    } | ({"ycck.jpg": (as_ycck(ycck, adobe), None)})


def as_ycck(data, adobe):
    """A CMYK file that says that its first three channels are YCbCr."""
    data[adobe + 11] = 2
    return bytes(data)


def inverted(picture):
    """A CMYK file of the other sign: without Adobe's mark, ink is a high number."""
    ink = Image.fromarray(255 - np.asarray(picture))
    return encode(Image.frombytes("CMYK", picture.size, ink.tobytes()), "JPEG")


def clear(mode, alpha=0):
    picture = photo(mode)
    picture.putalpha(alpha)
    return picture


def bmp_bomb():
    data = bytearray(encode(photo(), "BMP"))
    struct.pack_into("<ii", data, 18, 50000, -50000)
    return bytes(data)


def webp_bomb():
    body = b"WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xff" * 6 + bytes(40)
    return b"RIFF" + struct.pack("<I", len(body)) + body


KINDS = kinds()
USED = {name for name, (_, outcome) in KINDS.items() if not isinstance(outcome, str)}


def write_special(folder):
    """What is no plain file: {name: beginning of the reason}; used ones have None."""
    good = folder / "good.jpg"
    good.write_bytes(KINDS["plain.jpg"][0])
    (folder / "to a file.jpg").symlink_to(good)
    (folder / "to nothing.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "to itself.jpg").symlink_to(folder / "to itself.jpg")
    (folder / "to zeros.jpg").symlink_to("/dev/zero")
    (folder / "to its folder").symlink_to(folder)
    (folder / ".hidden.jpg").write_bytes(b"hidden")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "fifo.jpg")
    # The path of a socket must be short.
    back = os.getcwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind("socket.jpg")
    finally:
        os.chdir(back)
    with open(folder / "sparse.jpg", "wb") as file:
        file.truncate(2**40)
    names = ("new\nline.jpg", "tab\there.jpg", "two  spaces .jpg", "🐶‍🦺.jpg")
    for name in (*names, os.fsdecode(b"byte\xff.jpg"), "<b>&amp;\"'.jpg", "-rf.jpg"):
        (folder / name).write_bytes(KINDS["plain.jpg"][0])
    (folder / os.fsdecode(b"bad\xfe\n.jpg")).write_bytes(b"")
    return {
        "to nothing.jpg": "No such file",
        "to itself.jpg": "Too many levels of symbolic links",
        "to zeros.jpg": "a device",
        "fifo.jpg": "a FIFO",
        "socket.jpg": "a socket",
        "sparse.jpg": "1,099,511,627,776 bytes; allowed",
        "bad__.jpg": "empty file",
    }
