"""Neighbours, votes and average precision with numbers worked out by hand."""

import numpy as np
import pytest

from dino_tf.analysis import neighbours
from dino_tf.analysis.neighbours import (
    class_shares,
    knn_accuracy,
    knn_predict,
    mean_average_precision,
    nearest,
    rank_classes,
)
from dino_tf.errors import UserError


def unit(rows, width=8, seed=0):
    rows = np.random.default_rng(seed).standard_normal((rows, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_nearest_does_not_depend_on_the_pieces(monkeypatch):
    train, test = unit(101), unit(23, seed=1)
    similarities, indices = nearest(train, test, 7)
    whole = test @ train.T
    np.testing.assert_array_equal(indices, np.argsort(-whole, axis=1)[:, :7])
    np.testing.assert_allclose(similarities, -np.sort(-whole, axis=1)[:, :7], atol=1e-6)
    monkeypatch.setattr(neighbours, "GALLERY_AT_ONCE", 10)
    monkeypatch.setattr(neighbours, "QUERIES_AT_ONCE", 4)
    np.testing.assert_array_equal(nearest(train, test, 7)[1], indices)


@pytest.mark.parametrize("k", [0, 6])
def test_refuses_more_neighbours_than_photos(k):
    with pytest.raises(UserError, match=f"k is {k}; allowed: 1 to 5"):
        nearest(unit(5), unit(2), k)


def test_two_far_neighbours_outvote_a_near_one_only_when_warm():
    similarities, labels = [[0.9, 0.8, 0.8]], [[2, 0, 0]]
    assert rank_classes(similarities, labels, 0.07, 3)[0].tolist() == [2, 0, 1]
    assert rank_classes(similarities, labels, 1.0, 3)[0].tolist() == [0, 2, 1]


def test_prediction_ranks_at_most_five_classes():
    train = np.eye(8, dtype=np.float32)
    ranked = knn_predict(train, np.arange(8), train[[3, 6]], k=6, num_classes=8)
    assert ranked.shape == (2, 5)
    assert ranked[:, 0].tolist() == [3, 6]
    assert knn_predict(train, np.arange(8), train, k=2).shape == (8, 2)


def test_accuracy_in_percent():
    ranked = np.array([[0, 1], [1, 0], [2, 0], [2, 1]])
    assert knn_accuracy(ranked, [0, 0, 1, 2]) == (50.0, 75.0)


def test_class_shares_of_two_neighbours():
    targets = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 1]])
    shares = class_shares([[np.log(3), 0.0]], np.array([[0, 1]]), targets, 1.0)
    np.testing.assert_allclose(shares, [[0.75, 0.25, 1.0]])


def test_mean_average_precision():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    targets = np.array([[1, 0], [0, 0], [1, 0], [0, 1]])
    # First class: hits at ranks 1 and 3, (1 + 2/3) / 2; second class: a hit at 1.
    expected = 100 * ((1 + 2 / 3) / 2 + 1) / 2
    assert mean_average_precision(scores, targets) == pytest.approx(expected)


def test_equal_scores_give_the_share_of_the_class():
    targets = np.array([[1], [0], [0], [0]])
    assert mean_average_precision(np.zeros((4, 1)), targets) == 25.0
    assert mean_average_precision(np.zeros((4, 1)), targets[::-1]) == 25.0


def test_classes_that_no_photo_shows_do_not_count():
    targets = np.array([[1, 0], [0, 0]])
    assert mean_average_precision([[1.0, 1.0], [0.0, 0.0]], targets) == 100.0
    with pytest.raises(ValueError, match="no photo"):
        mean_average_precision([[1.0]], [[0]])
