import numpy as np
import pytest

from dino_tf.transforms import augment

PIXELS = np.array([[[200, 100, 0], [10, 20, 30]]], np.uint8)


@pytest.mark.parametrize(
    "operation, parameter, expected",
    [
        (augment.brightness, 1.5, [[255, 150, 0], [15, 30, 45]]),
        # Mean grey is 68.32: half of each pixel and half of it.
        (augment.contrast, 0.5, [[134.16, 84.16, 34.16], [39.16, 44.16, 49.16]]),
        # 1.4 times each pixel less 0.4 times 68.32, which is clipped at both ends.
        (augment.contrast, 1.4, [[252.67, 112.67, 0], [0, 0.67, 14.67]]),
        (augment.saturation, 0.0, [[118.5, 118.5, 118.5], [18.15, 18.15, 18.15]]),
        (augment.solarize, 100, [[55, 155, 0], [10, 20, 30]]),
    ],
)
def test_literal_outcome(operation, parameter, expected):
    result = operation(PIXELS, parameter)
    assert result.dtype == np.uint8
    np.testing.assert_allclose(result, [expected], atol=0.51)


def test_hue_is_turned():
    np.testing.assert_allclose(
        augment.hue(PIXELS, 1 / 3), [[[0, 200, 100], [30, 10, 20]]], atol=1
    )
    # A turn backwards passes red. Half a step of 42.5 is cut off, and where red begins
    # one is lost, as in Pillow.
    np.testing.assert_allclose(
        augment.hue(PIXELS, -1 / 6), [[[200, 0, 100], [10, 30, 20]]], atol=6
    )


def test_grayscale():
    expected = [[[119] * 3, [18] * 3]]
    np.testing.assert_allclose(augment.grayscale(PIXELS), expected, atol=1)


@pytest.mark.parametrize("side", [20, 40, 64])
def test_blur_of_a_point_is_a_gaussian(side):
    point = np.zeros((side, side, 3), np.float32)
    point[10, 9] = 255.0
    blurred = augment.gaussian_blur(point, 1.0)[..., 0] / 255
    # Of the normal density: exp(0), exp(-1/2), exp(-1) over 2 pi; its tail is cut off.
    np.testing.assert_allclose(blurred[10, 9], 0.15915, atol=2e-4)
    np.testing.assert_allclose(blurred[11, 9], 0.09653, atol=2e-4)
    np.testing.assert_allclose(blurred[11, 8], 0.05855, atol=2e-4)
    np.testing.assert_allclose(blurred.sum(), 1.0, atol=1e-4)


def test_blur_in_8_bits_is_the_rounded_one():
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    for sigma in (0.1, 0.7, 2.0):
        exact = augment.gaussian_blur(noise.astype(np.float32), sigma)
        np.testing.assert_allclose(
            augment.gaussian_blur(noise, sigma), exact, atol=0.51
        )


def test_blur_repeats_the_border():
    flat = np.full((33, 18, 3), 90, np.uint8)
    np.testing.assert_array_equal(augment.gaussian_blur(flat, 2.0), flat)


def jitter(picture, seed, *strengths):
    rng = augment.generator(seed)
    (parameters,), (order,) = augment.draw_jitter(rng, 1, *strengths)
    return augment.color_jitter(picture, parameters, order)


def test_jitter_of_no_strength_changes_nothing():
    result = jitter(PIXELS, (1, 2), 0.0, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(result.astype(int), PIXELS, atol=2)


def test_jitter_draws_its_whole_range():
    rng = augment.generator((1, 2))
    parameters, _ = augment.draw_jitter(rng, 2000, 0.4, 0.3, 0.2, 0.1)
    np.testing.assert_allclose(np.min(parameters, 0), [0.6, 0.7, 0.8, -0.1], atol=0.01)
    np.testing.assert_allclose(np.max(parameters, 0), [1.4, 1.3, 1.2, 0.1], atol=0.01)


def test_jitter_draws_every_order_and_keeps_it(monkeypatch):
    # Each operation appends its digit, so the outcome tells the order.
    digits = [lambda image, _, d=d: image * 10 + d for d in (1, 2, 3, 4)]
    monkeypatch.setattr(augment, "_JITTER", digits)
    orders = {jitter(0, (0, k), 0.4, 0.4, 0.2, 0.1) for k in range(300)}
    assert len(orders) == 24
    assert all(sorted(str(order)) == ["1", "2", "3", "4"] for order in orders)


def test_generator_is_a_function_of_both_integers():
    first = augment.generator((-3, 2**40)).random(4)
    np.testing.assert_array_equal(augment.generator((-3, 2**40)).random(4), first)
    for seed in ((-3, 2**40 + 1), (-2, 2**40), (2**40, -3)):
        assert np.abs(augment.generator(seed).random(4) - first).max() > 0.01


@pytest.mark.parametrize("height, width", [(1, 1), (3, 200), (200, 3), (60, 80)])
def test_box_lies_inside(height, width):
    boxes = augment.random_boxes(
        augment.generator((7, 1)), 100, height, width, (0.05, 1.0), (3 / 4, 4 / 3)
    )
    top, left, tall, wide = np.transpose(boxes)
    assert min(top) >= 0 and min(left) >= 0 and min(tall) >= 1 and min(wide) >= 1
    assert max(top + tall) <= height and max(left + wide) <= width


def test_box_falls_back_to_the_centre():
    rng = augment.generator((0, 0))
    boxes = augment.random_boxes(rng, 2, 100, 400, (0.9, 1.0), (3 / 4, 4 / 3))
    np.testing.assert_array_equal(boxes, [[0, 133, 100, 133]] * 2)
