"""The linear map learns what can be known in advance."""

import numpy as np
import pytest

from dino_tf.analysis.softmax_regression import LinearMap, fit_softmax
from dino_tf.errors import UserError


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def test_logits_of_a_map_worked_out_by_hand():
    linear = LinearMap(*map(np.float32, ([1, 2], [2, 1], [[1], [10]], [3])))
    # 2 * (2 - 1) * 1 + (5 - 2) * 10 + 3
    np.testing.assert_allclose(linear(np.array([[2.0, 5.0]])), [[35.0]])


def test_without_information_the_shares_are_their_mean():
    shares = np.tile([[0.5, 0.25, 0.0], [0.0, 0.75, 0.0]], (200, 1))
    linear = fit_softmax(np.ones((400, 4)), shares, 40, 0.1, batch_size=100)
    found = softmax(linear(np.ones((1, 4))))
    # Weighted by their sums: 0.5 and 1.0 out of 1.5.
    np.testing.assert_allclose(found, [[1 / 3, 2 / 3, 0]], atol=0.01)


def test_tells_clouds_apart_whatever_their_scale():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    centers = 4 * rng.standard_normal((3, 5))
    features = 100 + 0.01 * (centers[labels] + rng.standard_normal((600, 5)))
    seen = []
    linear = fit_softmax(features, np.eye(3)[labels], advance=seen.append)
    assert (linear(features).argmax(axis=1) == labels).mean() > 0.97
    assert sum(seen) == 10 * 600


def test_rows_without_shares_take_no_part():
    features = np.array([[0.0], [1.0], [1e4]])
    shares = np.array([[1, 0], [0, 1], [0, 0]])
    linear = fit_softmax(features, shares, 1)
    assert linear.mean == pytest.approx(0.5)
    assert linear.scale == pytest.approx(2.0)


def test_equal_seeds_give_equal_maps():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((50, 3)).astype(np.float16)
    shares = np.eye(2)[rng.integers(0, 2, 50)]
    one, two = (fit_softmax(features, shares, 2, batch_size=8) for _ in range(2))
    np.testing.assert_array_equal(one.kernel, two.kernel)


@pytest.mark.parametrize(
    ("features", "shares", "epochs", "words"),
    [
        ([[1.0]], [[0.0]], 1, "nothing to learn from"),
        ([[np.nan]], [[1.0]], 1, "a feature is not finite"),
        ([[1.0]], [[1.0]], 0, "epochs: got 0, allowed: from 1"),
    ],
)
def test_refuses(features, shares, epochs, words):
    with pytest.raises(UserError, match=words):
        fit_softmax(np.array(features), np.array(shares), epochs)
