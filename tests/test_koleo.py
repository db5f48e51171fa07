"""KoLeo by distances known by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from dino_tf.koleo import koleo

# Directions (0.6, 0.8), (0, 1), (-1, 0), (0, -1): the squared distances to the nearest
# are 0.4, 0.4, 2 and 2.
FEATURES = np.array([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0], [0.0, -5.0]], "float32")


def test_distances_by_hand():
    assert float(koleo(FEATURES)) == pytest.approx(-math.log(0.8) / 4, abs=1e-6)


def test_opposite_features_are_the_least():
    found = koleo(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    assert float(found) == pytest.approx(-math.log(2.0), abs=1e-6)


def test_equal_features_are_finite():
    features = tf.Variable([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    with tf.GradientTape() as tape:
        loss = koleo(features)
    slope = tape.gradient(loss, features).numpy()
    # The distance of equal ones is sqrt(2) * 1e-8, and 1e-8 is added to it.
    equal = -math.log((math.sqrt(2.0) + 1.0) * 1e-8)
    expected = (2 * equal - math.log(math.sqrt(2.0))) / 3
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    # What pushes one of them pushes the other the same way: nothing is left of it.
    np.testing.assert_allclose(slope, [[0, 0], [0, 0], [1 / 6, 0]], atol=1e-6)


def test_slope_moves_both_neighbours():
    features = tf.Variable([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = koleo(features)
    slope = tape.gradient(loss, features).numpy()
    # Against the slope the two near ones go up and down, away from each other.
    assert slope[0, 1] < -1.0 and slope[1, 1] > 1.0
    assert slope[0, 1] == pytest.approx(-slope[1, 1], rel=0.3)


def test_a_feature_of_zeros_has_no_slope():
    features = tf.Variable([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    with tf.GradientTape() as tape:
        loss = koleo(features)
    assert np.isfinite(tape.gradient(loss, features).numpy()).all()


def test_computed_in_float32():
    found = koleo(tf.constant(FEATURES, "bfloat16"))
    assert found.dtype == "float32"
    assert float(found) == pytest.approx(-math.log(0.8) / 4, abs=1e-2)


def test_one_photo_has_no_neighbour():
    with pytest.raises(ValueError, match="KoLeo of 1 photo"):
        koleo(FEATURES[:1])
