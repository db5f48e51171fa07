"""Effective rank and spread of features with known answers."""

import numpy as np
import pytest

from dino_tf.analysis.feature_rank import effective_rank, feature_std


def test_rank_counts_equal_directions():
    assert effective_rank(np.eye(6)) == pytest.approx(6, rel=1e-4)
    assert effective_rank(np.tile([[1.0, 2.0, 2.0]], (9, 1))) == pytest.approx(
        1, abs=1e-4
    )


def test_rank_of_unequal_directions():
    # Singular values 3 and 1: shares 3/4 and 1/4.
    expected = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert effective_rank(np.diag([3.0, 1.0])) == pytest.approx(expected, rel=1e-5)
    assert effective_rank(np.zeros((4, 3))) == 1.0


def test_spread_is_one_on_a_sphere_and_zero_on_a_point():
    features = np.random.default_rng(0).normal(size=(4000, 16)) * 7
    assert feature_std(features) == pytest.approx(1, abs=0.02)
    assert feature_std(np.ones((5, 16))) == pytest.approx(0, abs=1e-12)
    # Lengths do not count: two ends of one axis.
    assert feature_std(np.array([[5.0, 0], [-1.0, 0]])) == pytest.approx(2**0.5 / 2)
