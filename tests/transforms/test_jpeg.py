"""Decoding for training, beside `image.try_decode`."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dino_tf.errors import first_line
from dino_tf.photo_headers import jpeg_frame
from dino_tf.transforms import jpeg
from dino_tf.transforms.image import try_decode
from dino_tf.transforms.jpeg import try_decode_photo

SMALL = np.random.default_rng(0).integers(0, 256, (10, 13, 3), np.uint8)
PHOTO = Image.fromarray(SMALL).resize((123, 77), Image.Resampling.BICUBIC)


def encode(picture, form="JPEG", **options):
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def same(data):
    ours, theirs = try_decode_photo(lambda: data), try_decode(lambda: data)
    assert ours[1] == theirs[1]
    np.testing.assert_array_equal(ours[0], theirs[0])
    return ours[0]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}]
)
def test_the_pixels_are_those_of_decode(mode, options):
    assert same(encode(PHOTO.convert(mode), **options)).shape == (77, 123, 3)


def test_opencv_reads_colour_and_grey(monkeypatch):
    monkeypatch.setattr(jpeg, "_try_decode", None)
    for mode in ("RGB", "L"):
        data = encode(PHOTO.convert(mode))
        assert try_decode_photo(lambda data=data: data)[0].shape == (77, 123, 3)


def test_other_formats_and_trailing_bytes_are_read_too():
    for form in ("PNG", "GIF", "BMP", "WEBP"):
        assert same(encode(PHOTO, form)).shape == (77, 123, 3)
    assert same(encode(PHOTO) + b"more").shape == (77, 123, 3)


def test_orientation_in_the_file_is_not_followed():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert same(encode(PHOTO, exif=exif)).shape == (77, 123, 3)


@pytest.mark.parametrize("part", [0, 2, 20, 300, -2, -1])
def test_what_is_not_whole_is_refused_alike(part):
    assert same(encode(PHOTO)[:part]) is None


def test_a_damaged_file_with_an_end_is_refused_alike():
    data = encode(PHOTO)
    for place in range(2, 600, 40):
        same(data[:place] + b"\x55" * 8 + data[place + 8 :])


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("gone"),
        FileNotFoundError(2, "No such file or directory", "/photos/a.jpg"),
        OSError("damaged\nsecond line"),
        TimeoutError(),
    ],
)
def test_a_file_that_cannot_be_read_is_tried_once(error):
    tries = []

    def read():
        tries.append(1)
        raise error

    found = try_decode_photo(read)
    assert len(tries) == 1
    assert found == try_decode(read)
    assert found == (None, first_line(error))


@pytest.mark.parametrize("ratio, shape", [(2, (39, 62)), (4, (20, 31)), (8, (10, 16))])
def test_a_reduced_photo_is_libjpegs(ratio, shape):
    asked = []

    def reduction(height, width):
        asked.append((height, width))
        return ratio

    data = encode(PHOTO, quality=90)
    image, reason = try_decode_photo(lambda: data, reduction)
    assert reason is None and asked == [(77, 123)]
    assert image.shape == (*shape, 3)
    theirs = tf.io.decode_jpeg(data, 3, ratio, dct_method="INTEGER_ACCURATE")
    np.testing.assert_array_equal(image, theirs)


def test_other_formats_are_never_reduced():
    data = encode(PHOTO, "PNG")
    assert try_decode_photo(lambda: data, lambda *_: 8)[0].shape == (77, 123, 3)


def test_frame():
    assert jpeg_frame(encode(PHOTO)) == (77, 123, 3)
    assert jpeg_frame(encode(PHOTO.convert("L"), progressive=True)) == (77, 123, 1)
    assert jpeg_frame(encode(PHOTO, comment=b"\xff\xc0" * 9)) == (77, 123, 3)
    assert jpeg_frame(b"\xff\xd8\xff\xe0\x00\x10") is None
