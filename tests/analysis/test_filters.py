"""Principal components of filters with a known structure."""

import numpy as np
import pytest

from dino_tf.analysis.filters import filter_colours, principal_filters
from dino_tf.errors import UserError


def patterns():
    """Three patterns of 2 x 2 pixels, of length one and at right angles."""
    found = np.zeros((3, 2, 2, 3))
    found[0, :, :, 0] = [[0.5, -0.5], [0.5, -0.5]]
    found[1, :, :, 1] = [[0.6, 0.0], [0.0, 0.8]]
    found[2, 1, 1, 2] = 1.0
    return found


def test_the_patterns_that_filters_are_made_of():
    # Each pattern comes with both signs, so that the mean filter is zero.
    strengths = np.array([5.0, 3.0, 1.0])
    each = patterns() * strengths[:, None, None, None]
    kernel = np.moveaxis(np.concatenate([each, -each]), 0, -1)
    filters, shares = principal_filters(kernel, 2)
    assert filters.shape == (2, 2, 2, 3)
    np.testing.assert_allclose(np.abs(filters[0]), np.abs(patterns()[0]), atol=1e-6)
    np.testing.assert_allclose(filters[1], patterns()[1], atol=1e-6)
    np.testing.assert_allclose(shares, [25 / 35, 9 / 35], rtol=1e-6)


def test_what_all_filters_share_is_no_component():
    kernel = np.ones((2, 2, 3, 4))
    kernel[0, 0, 0] += [1, -1, 1, -1]
    filters, shares = principal_filters(kernel, 28)
    assert len(filters) == 4
    np.testing.assert_allclose(shares, [1, 0, 0, 0], atol=1e-9)
    expected = np.zeros((2, 2, 3))
    expected[0, 0, 0] = 1
    np.testing.assert_allclose(filters[0], expected, atol=1e-6)
    assert not principal_filters(np.ones((2, 2, 3, 4)))[1].any()


def test_colours_of_filters():
    filters = np.zeros((2, 1, 2, 3))
    filters[0, 0, 0] = [0.2, -0.1, 0.0]
    found = filter_colours(filters)
    # The strongest number is an end, half of it is half of the way, zero is grey.
    assert found[0, 0].tolist() == [[255, 64, 128], [128, 128, 128]]
    assert (found[1] == 128).all()


def test_other_forms():
    with pytest.raises(UserError, match=r"kernel is \(3, 4\)"):
        principal_filters(np.ones((3, 4)))
    with pytest.raises(UserError, match="count is 0"):
        principal_filters(np.ones((2, 2, 3, 4)), 0)
    with pytest.raises(UserError, match=r"allowed: \(n, p, p, 3\)"):
        filter_colours(np.ones((1, 2, 2, 4)))
