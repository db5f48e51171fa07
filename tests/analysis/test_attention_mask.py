"""`keep_mass_mask` on maps small enough to check by hand."""

import numpy as np
import pytest

from dino_tf.analysis.attention import keep_mass_mask
from dino_tf.errors import UserError


def test_keeps_the_strongest_places():
    attention = np.array([[[0.1, 0.5], [0.3, 0.1]], [[4.0, 0.0], [0.0, 0.0]]])
    expected = [[[False, True], [True, False]], [[True, False], [False, False]]]
    np.testing.assert_array_equal(keep_mass_mask(attention, 0.6), expected)


def test_never_drops_more_than_the_rest_of_the_mass():
    rng = np.random.default_rng(0)
    attention = rng.random((6, 30, 40)) ** 8
    for keep in (0.1, 0.6, 0.95):
        mask = keep_mass_mask(attention, keep)
        held = (attention * mask).sum(axis=(1, 2)) / attention.sum(axis=(1, 2))
        weakest = np.where(mask, attention, np.inf).min(axis=(1, 2), keepdims=True)
        assert (held >= keep - 1e-6).all()
        assert (attention[~mask] <= np.broadcast_to(weakest, mask.shape)[~mask]).all()


def test_more_mass_means_more_places():
    attention = np.random.default_rng(1).random((1, 8, 8))
    small, large = keep_mass_mask(attention, 0.3), keep_mass_mask(attention, 0.8)
    assert small.sum() < large.sum()
    assert large[small].all()


@pytest.mark.parametrize("keep_mass", [0, -0.1, 1.5])
def test_refuses_shares_out_of_range(keep_mass):
    with pytest.raises(UserError, match=f"keep_mass is {keep_mass}"):
        keep_mass_mask(np.ones((1, 2, 2)), keep_mass)
