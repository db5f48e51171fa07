"""Resized crops, beside those of Pillow."""

import numpy as np
import pytest
from PIL import Image

from dino_tf.transforms import resample
from dino_tf.transforms.resample import Resampler

CURVES = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
NOISE = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
# Waves, on which Pillow's clipping between the directions does nothing.
WAVES = np.uint8(127 + 120 * np.sin(np.arange(90 * 130 * 3) / 70.0)).reshape(90, 130, 3)
BOXES = [(0, 0, 90, 130), (13, 20, 70, 33), (5, 100, 7, 30), (89, 129, 1, 1)]


@pytest.mark.parametrize("kernel", CURVES)
@pytest.mark.parametrize("size", [1, 16, 45, 112])
@pytest.mark.parametrize("box", BOXES)
def test_a_crop_is_pillows(box, size, kernel):
    top, left, height, width = box
    whole = Image.fromarray(WAVES).crop((left, top, left + width, top + height))
    expected = np.asarray(whole.resize((size, size), CURVES[kernel]), int)
    crops = Resampler(WAVES, [box], [size], kernel)
    # Pillow rounds after each direction, here it is done once.
    np.testing.assert_allclose(crops.crop(0).astype(int), expected, atol=1)
    np.testing.assert_array_equal(crops.crop(0, flip=True), crops.crop(0)[:, ::-1])


def test_a_crop_at_its_own_size_is_itself():
    crops = Resampler(NOISE, [(7, 9, 64, 64)], [64])
    np.testing.assert_array_equal(crops.crop(0), NOISE[7:71, 9:73])


def test_pixels_outside_have_no_influence():
    photo = NOISE.copy()
    photo[20:60, 30:80] = 100
    crops = Resampler(photo, [(20, 30, 40, 50), (0, 0, 90, 130)], [28, 8])
    np.testing.assert_array_equal(crops.crop(0), np.full((28, 28, 3), 100))


def test_many_crops_are_those_of_one_each():
    sizes = [30, 16, 50, 8]
    together = Resampler(NOISE, BOXES, sizes)
    for i, (box, size) in enumerate(zip(BOXES, sizes, strict=True)):
        alone = Resampler(NOISE, [box], [size]).crop(0)
        np.testing.assert_array_equal(together.crop(i), alone)


@pytest.mark.parametrize("length, wanted", [(400, 224), (96, 96), (20, 96), (999, 7)])
def test_filter_weighs_each_output_to_one(length, wanted):
    filter = resample.make_filter(length, wanted)
    weights = filter.weights.reshape(-1, filter.weights.shape[2])[filter.places]
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)
    assert len(set(filter.places.tolist())) == wanted


def test_products_stay_small(monkeypatch):
    # Cut into many parts the products are the same.
    box, size = (3, 4, 80, 120), 40
    whole = Resampler(NOISE, [box], [size]).crop(0)
    monkeypatch.setattr(resample, "_LARGEST_PRODUCT", 2000)
    np.testing.assert_array_equal(Resampler(NOISE, [box], [size]).crop(0), whole)
