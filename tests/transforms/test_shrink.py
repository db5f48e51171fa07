import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from dino_tf.transforms.image import try_decode
from dino_tf.transforms.shrink import resize_nearest, shrink


def halves(size=(40, 20), mode="RGB"):
    """Left half dark red, right half light blue."""
    image = Image.new("RGB", size, (150, 40, 40))
    image.paste((160, 190, 250), (size[0] // 2, 0, *size))
    # `convert` would dither to the colours of a fixed palette.
    return image.quantize(8) if mode == "P" else image.convert(mode)


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(data):
    return try_decode(lambda: data)[0].astype(int)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("JPEG", "CMYK")],
)
def test_size_and_colours(kind, mode):
    data = encode(halves(mode=mode), kind)
    smaller, before, after = shrink(data, 20, 90)
    assert (before, after) == ((40, 20), (20, 10))
    with Image.open(io.BytesIO(smaller)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (20, 10))
    # What training sees, pixel by pixel, away from the edge between the halves.
    found, expected = pixels(smaller), pixels(data)[::2, ::2]
    assert np.abs(found - expected)[:, [0, 1, 2, 3, 16, 17, 18, 19]].max() <= 6


def test_the_longer_side_counts_and_is_exact():
    assert shrink(encode(halves((30, 101))), 50, 90)[2] == (15, 50)
    assert shrink(encode(halves((60, 3))), 10, 90)[2] == (10, 1)


def test_small_photos_keep_their_bytes():
    data = encode(halves())
    assert shrink(data, 40, 90) == (data, None, None)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_is_carried_over(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera"
    data = encode(halves(), "JPEG", exif=exif, quality=95)
    smaller, _, _ = shrink(data, 20, 90)
    shown = [
        ImageOps.exif_transpose(Image.open(io.BytesIO(one))) for one in (data, smaller)
    ]
    assert shown[1].size == tuple(side // 2 for side in shown[0].size)
    reduced = np.asarray(shown[0].resize(shown[1].size)).astype(int)
    assert np.abs(reduced - np.asarray(shown[1]))[[0, -1]][:, [0, -1]].max() <= 8
    assert b"a camera" not in smaller


def test_colour_profiles_of_rgb_are_carried_over():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    smaller, _, _ = shrink(encode(halves(), "JPEG", icc_profile=profile), 20, 90)
    assert Image.open(io.BytesIO(smaller)).info["icc_profile"] == profile
    other = profile[:16] + b"GRAY" + profile[20:]
    data = encode(halves(mode="L"), "JPEG", icc_profile=other)
    smaller, _, _ = shrink(data, 20, 90)
    assert "icc_profile" not in Image.open(io.BytesIO(smaller)).info


def test_quality_is_that_asked_for():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise))
    sizes = [len(shrink(data, 32, quality)[0]) for quality in (30, 60, 95)]
    assert sizes == sorted(sizes) and sizes[0] * 1.5 < sizes[2]


@pytest.mark.parametrize("data", [b"", b"no picture", encode(halves())[:60]])
def test_what_is_no_photo_is_told(data):
    with pytest.raises(OSError) as error:
        shrink(data, 20, 90)
    assert str(error.value) and "\n" not in str(error.value)


def test_masks_take_the_nearest_value():
    mask = np.arange(16, dtype=np.int32).reshape(4, 4)
    assert resize_nearest(mask, (2, 2)).tolist() == [[5, 7], [13, 15]]
    assert resize_nearest(mask, (4, 1)).tolist() == [[8, 9, 10, 11]]
    assert resize_nearest(mask, (2, 2)).dtype == np.int32
