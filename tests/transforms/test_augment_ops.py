import numpy as np
import pytest
import tensorflow as tf

from dino_tf.transforms import augment

PIXELS = np.array([[[200, 100, 0], [10, 20, 30]]], np.uint8)


@pytest.mark.parametrize(
    "operation, parameter, expected",
    [
        (augment.brightness, 1.5, [[255, 150, 0], [15, 30, 45]]),
        # Mean grey is 68.32: half of each pixel and half of it.
        (augment.contrast, 0.5, [[134.16, 84.16, 34.16], [39.16, 44.16, 49.16]]),
        (augment.saturation, 0.0, [[118.5, 118.5, 118.5], [18.15, 18.15, 18.15]]),
        (augment.hue, 1 / 3, [[0, 200, 100], [30, 10, 20]]),
        (augment.solarize, 100, [[55, 155, 0], [10, 20, 30]]),
    ],
)
def test_literal_outcome(operation, parameter, expected):
    result = operation(PIXELS, tf.constant(parameter))
    np.testing.assert_allclose(result, [expected], atol=0.01)


def test_grayscale_of_eight_pixels_and_of_two():
    eight = np.tile(PIXELS, (1, 4, 1))
    expected = np.tile([[118.5] * 3, [18.15] * 3], (4, 1))
    np.testing.assert_allclose(augment.grayscale(eight), [expected], atol=0.01)
    np.testing.assert_allclose(augment.grayscale(PIXELS), [expected[:2]], atol=0.01)


def test_hflip():
    np.testing.assert_array_equal(augment.hflip(PIXELS), PIXELS[:, ::-1])


@pytest.mark.parametrize("side", [20, 40, 64])
def test_blur_of_a_point_is_a_gaussian(side):
    point = np.zeros((side, side, 3), np.float32)
    point[10, 9] = 255.0
    blurred = augment.gaussian_blur(point, 1.0, 6).numpy()[..., 0] / 255
    # Of the normal density: exp(0), exp(-1/2), exp(-1) over 2 pi.
    np.testing.assert_allclose(blurred[10, 9], 0.15915, atol=1e-4)
    np.testing.assert_allclose(blurred[11, 9], 0.09653, atol=1e-4)
    np.testing.assert_allclose(blurred[11, 8], 0.05855, atol=1e-4)
    np.testing.assert_allclose(blurred.sum(), 1.0, atol=1e-4)


def test_blur_repeats_the_border():
    flat = np.full((33, 18, 3), 90.0, np.float32)
    np.testing.assert_allclose(augment.gaussian_blur(flat, 2.0, 6), flat, atol=1e-3)


def test_jitter_follows_its_seed():
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    picture = tf.cast(picture, tf.float32)

    def jitter(seed):
        return augment.random_jitter(picture, seed, 0.4, 0.4, 0.2, 0.1).numpy()

    np.testing.assert_array_equal(jitter([1, 2]), jitter([1, 2]))
    assert np.abs(jitter([1, 2]) - jitter([1, 3])).mean() > 1


def test_jitter_of_no_strength_changes_nothing():
    picture = tf.constant(PIXELS, tf.float32)
    result = augment.random_jitter(picture, [1, 2], 0.0, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(result, PIXELS, atol=0.01)


def test_jitter_draws_every_order(monkeypatch):
    # Each operation appends its digit, so the value of a pixel tells the order.
    digits = [lambda image, _, d=d: image * 10 + d for d in (1.0, 2.0, 3.0, 4.0)]
    monkeypatch.setattr(augment, "_JITTER", digits)
    jitter = tf.function(
        lambda k: augment.random_jitter(
            tf.zeros((1, 1, 3)), tf.stack([0, k]), 0.4, 0.4, 0.2, 0.1
        )
    )
    orders = {int(jitter(k)[0, 0, 0]) for k in tf.range(300)}
    assert len(orders) == 24
    assert all(sorted(str(order)) == ["1", "2", "3", "4"] for order in orders)


def test_apply_if():
    picture = tf.constant(PIXELS)
    flipped = augment.apply_if(tf.constant(True), augment.hflip, picture)
    kept = augment.apply_if(tf.constant(False), augment.hflip, picture)
    np.testing.assert_array_equal(flipped, PIXELS[:, ::-1])
    np.testing.assert_array_equal(kept, PIXELS)


def test_random_blur_stays_in_its_range():
    point = np.zeros((15, 15, 3), np.float32)
    point[7, 7] = 255.0
    peaks = [augment.random_blur(point, [0, k], (1.0, 2.0))[7, 7, 0] for k in range(40)]
    # A Gaussian of sigma 1 peaks at 40.6, of sigma 2 at 10.1.
    assert 10.0 < min(peaks) < 13.0
    assert 30.0 < max(peaks) < 40.7


@pytest.mark.parametrize("height, width", [(1, 1), (3, 200), (200, 3), (60, 80)])
def test_box_lies_inside(height, width):
    draw = tf.function(
        lambda k: augment.random_box(
            tf.stack([7, k]), height, width, (0.05, 1.0), (3 / 4, 4 / 3)
        )
    )
    for k in tf.range(100):
        top, left, tall, wide = draw(k).numpy()
        assert top >= 0 and left >= 0 and tall >= 1 and wide >= 1
        assert top + tall <= height and left + wide <= width


def test_box_falls_back_to_the_centre():
    box = augment.random_box([0, 0], 100, 400, (0.9, 1.0), (3 / 4, 4 / 3))
    np.testing.assert_array_equal(box, [0, 133, 100, 133])
