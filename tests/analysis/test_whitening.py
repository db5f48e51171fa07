"""Whitening learnt block by block."""

import numpy as np

from dino_tf.analysis.whitening import Moments


def test_directions_become_equally_strong():
    # Second moments about zero: 4 along the first axis, 1 along the second.
    features = np.array([[2.0, 1], [2, -1], [-2, 1], [-2, -1]])
    moments = Moments(2)
    moments.add(features[:3])
    moments.add(features[3:])
    found = moments.whitening()(features)
    np.testing.assert_allclose(np.sort(np.abs(found)), np.ones((4, 2)), rtol=1e-6)
    np.testing.assert_allclose(found.T @ found / 4, np.eye(2), atol=1e-6)


def test_the_mean_goes_but_counts_for_the_directions():
    moments = Moments(1)
    moments.add([[3.0], [5.0]])
    # Mean 4, second moment 17.
    found = moments.whitening()(np.array([[4.0], [21.0]]))
    np.testing.assert_allclose(np.abs(found), [[0], [17**0.5]], rtol=1e-6)


def test_fewer_photos_than_numbers_and_constant_features_stay_finite():
    moments = Moments(3)
    moments.add([[1.0, 0, 0]])
    found = moments.whitening()(np.array([[2.0, 1, 0], [1, 0, 0]]))
    # Directions that are not there count as 1e-5 of the strongest.
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [(1 + 1e5) ** 0.5, 0])
    empty = Moments(2)
    empty.add(np.zeros((4, 2)))
    assert np.isfinite(empty.whitening()(np.zeros((1, 2)))).all()
