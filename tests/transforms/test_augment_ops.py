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


def jitter(picture, seed, *strengths):
    (parameters,), (order,) = map(tf.unstack, augment.draw_jitter(seed, 1, *strengths))
    return augment.color_jitter(picture, parameters, order)


def test_jitter_of_no_strength_changes_nothing():
    result = jitter(tf.constant(PIXELS, tf.float32), [1, 2], 0.0, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(result, PIXELS, atol=0.01)


def test_jitter_draws_its_whole_range():
    parameters, _ = augment.draw_jitter([1, 2], 2000, 0.4, 0.3, 0.2, 0.1)
    np.testing.assert_allclose(np.min(parameters, 0), [0.6, 0.7, 0.8, -0.1], atol=0.01)
    np.testing.assert_allclose(np.max(parameters, 0), [1.4, 1.3, 1.2, 0.1], atol=0.01)


def test_jitter_draws_every_order(monkeypatch):
    # Each operation appends its digit, so the value of a pixel tells the order.
    digits = [lambda image, _, d=d: image * 10 + d for d in (1.0, 2.0, 3.0, 4.0)]
    monkeypatch.setattr(augment, "_JITTER", digits)
    point = tf.zeros((1, 1, 3))
    draw = tf.function(lambda k: jitter(point, tf.stack([0, k]), 0.4, 0.4, 0.2, 0.1))
    orders = {int(draw(k)[0, 0, 0]) for k in tf.range(300)}
    assert len(orders) == 24
    assert all(sorted(str(order)) == ["1", "2", "3", "4"] for order in orders)


def test_apply_if():
    picture = tf.constant(PIXELS)
    flipped = augment.apply_if(tf.constant(True), augment.hflip, picture)
    kept = augment.apply_if(tf.constant(False), augment.hflip, picture)
    np.testing.assert_array_equal(flipped, PIXELS[:, ::-1])
    np.testing.assert_array_equal(kept, PIXELS)


@pytest.mark.parametrize("height, width", [(1, 1), (3, 200), (200, 3), (60, 80)])
def test_box_lies_inside(height, width):
    boxes = augment.random_boxes(
        [7, 1], 100, height, width, (0.05, 1.0), (3 / 4, 4 / 3)
    )
    top, left, tall, wide = np.transpose(boxes)
    assert min(top) >= 0 and min(left) >= 0 and min(tall) >= 1 and min(wide) >= 1
    assert max(top + tall) <= height and max(left + wide) <= width


def test_box_falls_back_to_the_centre():
    boxes = augment.random_boxes([0, 0], 2, 100, 400, (0.9, 1.0), (3 / 4, 4 / 3))
    np.testing.assert_array_equal(boxes, [[0, 133, 100, 133]] * 2)
