import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dino_tf.errors import UserError
from dino_tf.transforms import image as image_ops
from dino_tf.transforms.pixels import normalize_array

RED = (200, 30, 60)


def encode(picture, form, **options):
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def plain(mode, color):
    return Image.new(mode, (5, 4), color)


@pytest.mark.parametrize(
    "data, pixel",
    [
        (encode(plain("RGB", RED), "PNG"), RED),
        (encode(plain("RGBA", (*RED, 128)), "PNG"), RED),
        (encode(plain("L", 77), "PNG"), (77, 77, 77)),
        (encode(plain("LA", (77, 9)), "PNG"), (77, 77, 77)),
        (encode(plain("P", 0).convert("RGB"), "GIF"), (0, 0, 0)),
        (encode(plain("I;16", 77 * 256), "PNG"), (77, 77, 77)),
        (encode(plain("RGB", RED), "BMP"), RED),
        (encode(plain("L", 77), "BMP"), (77, 77, 77)),
        (encode(plain("RGBA", (*RED, 128)), "BMP"), RED),
        (encode(plain("RGB", RED), "WEBP", lossless=True), RED),
    ],
)
def test_decode_gives_rgb(data, pixel):
    decoded = image_ops.decode(data)
    assert decoded.dtype == tf.uint8
    assert decoded.shape == (4, 5, 3)
    np.testing.assert_array_equal(decoded[2, 3], pixel)


@pytest.mark.parametrize("mode, color", [("L", 77), ("CMYK", (0, 0, 0, 178))])
def test_decode_jpeg_of_other_modes(mode, color):
    decoded = image_ops.decode(encode(plain(mode, color), "JPEG", quality=95))
    np.testing.assert_allclose(decoded, np.full((4, 5, 3), 77), atol=3)


def test_jpeg_has_the_pixels_that_pillow_gives():
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    data = encode(Image.fromarray(noise), "JPEG", quality=80)
    with Image.open(io.BytesIO(data)) as photo:
        expected = np.asarray(photo)
    np.testing.assert_array_equal(image_ops.decode(data), expected)
    np.testing.assert_array_equal(tf.function(image_ops.decode)(data), expected)


def test_first_frame_of_animations():
    frames = [plain("RGB", RED), plain("RGB", (0, 0, 255))]
    more = {"save_all": True, "append_images": frames[1:], "lossless": True}
    for form in ("WEBP", "GIF"):
        data = encode(frames[0], form, **more)
        image, reason = image_ops.try_decode(lambda data=data: data)
        assert reason is None
        np.testing.assert_allclose(image, np.full((4, 5, 3), RED), atol=3)
    half = encode(frames[0], "WEBP", **more)[:40]
    image, reason = image_ops.try_decode(lambda: half)
    assert image is None and reason


def test_decode_in_graph():
    decode = tf.function(image_ops.decode)
    assert decode(encode(plain("L", 77), "PNG")).shape == (4, 5, 3)


@pytest.mark.parametrize("cut", [0, 10, 60])
def test_decode_refuses_broken_data(cut):
    with pytest.raises(tf.errors.InvalidArgumentError):
        image_ops.decode(encode(plain("RGB", RED), "PNG")[:cut])


@pytest.mark.parametrize("size", [(7, 11), (60, 20), (30, 40)])
def test_resize_is_that_of_tensorflow(size):
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    theirs = tf.image.resize(picture, size, method="bicubic", antialias=True)
    ours = image_ops.resize(picture, size)
    np.testing.assert_allclose(ours, np.clip(theirs, 0, 255), atol=1e-3)


@pytest.mark.parametrize("known", [True, False])
def test_normalize_literal(known):
    shape = (1, 2, 3) if known else (1, None, 3)
    normalize = tf.function(
        lambda x: image_ops.normalize(x, (0.0, 0.2, 0.4), (1.0, 0.5, 0.1)),
        input_signature=[tf.TensorSpec(shape, tf.float32)],
    )
    result = normalize(tf.constant([[[255.0, 51.0, 0.0], [0.0, 0.0, 102.0]]]))
    expected = [[[1.0, 0.0, -4.0], [0.0, -0.4, 0.0]]]
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_normalize_array_has_the_bits_of_normalize():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 50, 60, 3), np.uint8)
    ours = normalize_array(pixels)
    assert ours.dtype == np.float32 and ours.ctypes.data % 64 == 0
    np.testing.assert_array_equal(ours, image_ops.normalize(pixels))
    assert normalize_array(np.zeros((2, 0, 4, 4, 3), np.uint8)).size == 0


def test_center_crop_agrees_with_pillow():
    waves = np.sin(np.arange(90 * 150 * 3) / 700.0).reshape(90, 150, 3)
    picture = np.uint8(127 + 120 * waves)
    resized = Image.fromarray(picture).resize((106, 64), Image.BICUBIC)
    expected = np.asarray(resized)[4:60, 25:81]
    ours = image_ops.center_crop(picture, 56, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert ours.shape == (56, 56, 3)
    assert np.abs(np.asarray(ours) * 255 - expected).mean() < 0.5


@pytest.mark.parametrize(
    ("shape", "resized", "corner"),
    [
        ((90, 150), (106, 64), (25, 4)),
        ((150, 90), (64, 106), (4, 25)),
        # Half of 9 and of 7 pixels goes to the even neighbour.
        ((64, 65), (65, 64), (4, 4)),
        ((640, 670), (67, 64), (6, 4)),
        ((3, 2), (64, 96), (4, 20)),
    ],
)
def test_pillow_center_crop_is_that_of_torchvision(shape, resized, corner):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    whole = np.asarray(Image.fromarray(picture).resize(resized, Image.BICUBIC))
    left, top = corner
    expected = whole[top : top + 56, left : left + 56]
    np.testing.assert_array_equal(image_ops.pillow_center_crop(picture, 56), expected)


@pytest.mark.parametrize(
    ("size", "resized", "box"),
    [
        # 56 * 256 / 224 = 64 and 28 * 256 / 224 = 32: the picture just covers both.
        ((56, 28), (106, 64), (39, 4, 67, 60)),
        ((28, 56), (64, 38), (4, 5, 60, 33)),
    ],
)
def test_center_crop_of_another_shape_agrees_with_pillow(size, resized, box):
    waves = np.sin(np.arange(90 * 150 * 3) / 700.0).reshape(90, 150, 3)
    picture = np.uint8(127 + 120 * waves)
    expected = Image.fromarray(picture).resize(resized, Image.BICUBIC).crop(box)
    ours = image_ops.center_crop(picture, size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert ours.shape == (*size, 3)
    assert np.abs(np.asarray(ours) * 255 - np.asarray(expected)).mean() < 0.5


@pytest.mark.parametrize(
    "size, side, expected",
    [
        (48, "shorter", (48, 80)),
        (48, "longer", (16, 48)),
        (None, "shorter", (96, 160)),
    ],
)
def test_resize_to_patch(size, side, expected):
    picture = np.zeros((100, 170, 3), np.uint8)
    assert image_ops.resize_to_patch(picture, size, 16, side).shape == (*expected, 3)


def test_resize_to_patch_keeps_one_patch_of_a_thin_photo():
    picture = np.zeros((4, 170, 3), np.uint8)
    assert image_ops.resize_to_patch(picture, 64, 16, "longer").shape == (16, 64, 3)


@pytest.mark.parametrize("arguments", [(8, 16, "shorter"), (32, 16, "both")])
def test_resize_to_patch_refuses(arguments):
    with pytest.raises(UserError):
        image_ops.resize_to_patch(np.zeros((9, 9, 3), np.uint8), *arguments)
