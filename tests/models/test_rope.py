"""Rotary positions: periods, angles, and what attention sees of them."""

import numpy as np
import pytest

from dino_tf.models.rope import Rotation, published_periods, rotation_tables


def test_published_periods():
    # 100^(0/16, 4/16, 8/16, 12/16): roots of 10.
    expected = (1.0, 10**0.5, 10.0, 10**1.5)
    assert published_periods(16) == pytest.approx(expected)
    assert published_periods(8, base=16.0) == pytest.approx((1.0, 4.0))
    assert len(published_periods(64)) == 16
    for width in (0, 6, 2):
        with pytest.raises(ValueError, match=f"a head of {width} channels"):
            published_periods(width)


def test_angles_of_a_small_grid():
    # Rows at -1/2 and 1/2; columns at -3/4, -1/4, 1/4 and 3/4; periods 1 and 4.
    cosine, sine = rotation_tables((2, 4), (1.0, 4.0), 1)
    assert cosine.shape == sine.shape == (9, 8) and cosine.dtype == np.float32
    np.testing.assert_array_equal(cosine[0], np.ones(8))
    np.testing.assert_array_equal(sine[0], np.zeros(8))
    # In turns: row / 1, row / 4, column / 1, column / 4, and once more.
    turns = {1: (-4, -1, -6, -1.5), 4: (-4, -1, 6, 1.5), 6: (4, 1, -2, -0.5)}
    for token, eighths in turns.items():
        angles = np.tile(eighths, 2) * np.pi / 4
        np.testing.assert_allclose(cosine[token], np.cos(angles), atol=1e-6)
        np.testing.assert_allclose(sine[token], np.sin(angles), atol=1e-6)


def test_axes_are_scaled_by_themselves():
    # Of three rows the middle one lies at 0, however many columns there are.
    for columns in (1, 5):
        sine = rotation_tables((3, columns), (1.0,))[1].reshape(3, columns, 4)
        np.testing.assert_array_equal(sine[1, :, 0], np.zeros(columns))
        ends = np.sin(2 * np.pi * np.array([-2 / 3, 2 / 3]))
        np.testing.assert_allclose(sine[[0, 2], 0, 0], ends, atol=1e-6)


def test_each_pair_of_channels_is_turned_as_a_complex_number():
    grid, periods, prefix = (3, 2), (1.0, 10.0), 2
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype("float32")
    turned = np.array(Rotation(grid, periods, prefix)(x))
    np.testing.assert_array_equal(turned[:, :, :prefix], x[:, :, :prefix])
    for patch in range(6):
        row, column = (patch // 2 - 1) * 2 / 3, patch % 2 - 0.5
        angles = 2j * np.pi * np.array([row, row / 10, column, column / 10])
        pairs = x[:, :, prefix + patch, :4] + 1j * x[:, :, prefix + patch, 4:]
        pairs = pairs * np.exp(angles)
        expected = np.concatenate([pairs.real, pairs.imag], axis=-1)
        np.testing.assert_allclose(turned[:, :, prefix + patch], expected, atol=1e-5)


def test_products_depend_on_where_patches_lie_to_each_other():
    one, two = np.random.default_rng(1).normal(size=(2, 1, 1, 1, 16))
    rotation = Rotation((4, 5), published_periods(16), 0)
    spread = np.ones((1, 1, 20, 1))
    queries, keys = (np.array(rotation(v * spread))[0, 0] for v in (one, two))
    products = (queries @ keys.T).reshape(4, 5, 4, 5)
    np.testing.assert_allclose(products[0, 0, 1, 2], products[2, 1, 3, 3], atol=1e-4)
    np.testing.assert_allclose(products[3, 4, 1, 4], products[2, 0, 0, 0], atol=1e-4)
    assert abs(products[0, 0, 1, 2] - products[1, 2, 0, 0]) > 1e-2


def test_the_first_tokens_alone_and_half_precision():
    x = np.random.default_rng(2).normal(size=(1, 2, 5, 4)).astype("float32")
    rotation = Rotation((2, 2), (1.0,), 1)
    np.testing.assert_array_equal(rotation(x[:, :, :1]), x[:, :, :1])
    np.testing.assert_array_equal(rotation(x[:, :, :3]), rotation(x)[:, :, :3])
    half = rotation(x.astype("float16"))
    assert half.dtype == "float16"
    np.testing.assert_allclose(half, rotation(x), atol=5e-3)
