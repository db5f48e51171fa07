"""Neighbours, votes and average precision with numbers worked out by hand."""

import numpy as np
import pytest

from dino_tf.analysis import neighbours
from dino_tf.analysis.neighbours import (
    average_precisions,
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


@pytest.mark.parametrize("rising", [False, True])
def test_nearest_among_many_in_any_order(monkeypatch, rising):
    monkeypatch.setattr(neighbours, "GALLERY_AT_ONCE", 256)
    train, test = unit(1000), unit(5, seed=1)
    if rising:
        train = train[np.argsort(train @ test[0])]
    whole = test @ train.T
    for k in (1, 3, 40, 255, 256, 257, 1000):
        found = nearest(train, test, k)[1]
        np.testing.assert_array_equal(found, np.argsort(-whole, axis=1)[:, :k])


@pytest.mark.parametrize("pieces", [4, 64])
def test_of_equals_the_first_come_first(monkeypatch, pieces):
    monkeypatch.setattr(neighbours, "GALLERY_AT_ONCE", pieces)
    train = np.tile(np.eye(2, dtype=np.float32), (20, 1))
    indices = nearest(train, train[:2], 5)[1]
    assert indices.tolist() == [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
    indices = nearest(train, train[:1], 22)[1]
    assert indices[0].tolist() == [*range(0, 40, 2), 1, 3]
    # Zeros are equally far from all.
    assert nearest(train, np.zeros((1, 2)), 3)[1].tolist() == [[0, 1, 2]]


def test_refuses_what_is_no_number():
    broken = unit(5)
    broken[3, 2] = np.nan
    with pytest.raises(UserError, match="1 of 5 training features have NaN"):
        nearest(broken, unit(2), 1)
    broken[3, 2] = np.inf
    with pytest.raises(UserError, match="1 of 5 test features"):
        nearest(unit(2), broken, 1)


def test_tells_how_far_it_is(monkeypatch):
    monkeypatch.setattr(neighbours, "QUERIES_AT_ONCE", 4)
    done = []
    nearest(unit(9), unit(10), 2, done.append)
    assert done == [4, 4, 2]


@pytest.mark.parametrize("k", [0, 6])
def test_refuses_more_neighbours_than_photos(k):
    with pytest.raises(UserError, match=f"k is {k}; allowed: 1 to 5"):
        nearest(unit(5), unit(2), k)


def test_two_far_neighbours_outvote_a_near_one_only_when_warm():
    similarities, labels = [[0.9, 0.8, 0.8]], [[2, 0, 0]]
    assert rank_classes(similarities, labels, 0.07, 3)[0].tolist() == [2, 0, 1]
    assert rank_classes(similarities, labels, 1.0, 3)[0].tolist() == [0, 2, 1]


def test_equal_votes_keep_the_order_of_the_classes(monkeypatch):
    monkeypatch.setattr(neighbours, "VOTES_AT_ONCE", 14)
    labels = [[3, 1], [6, 6], [5, 0]]
    ranked = rank_classes([[0.5, 0.5]] * 3, labels, 0.07, 7)
    assert ranked.tolist() == [[1, 3], [6, 0], [0, 5]]


def test_a_tiny_temperature_lets_the_nearest_decide():
    similarities, labels = [[0.9, 0.8, 0.8]], [[2, 0, 0]]
    assert rank_classes(similarities, labels, 1e-5, 3)[0, 0] == 2
    shares = class_shares(similarities, [[0, 1, 2]], np.eye(3), 1e-5)
    np.testing.assert_allclose(shares, [[1, 0, 0]])


@pytest.mark.parametrize("temperature", [0.0, -0.07, float("nan")])
def test_refuses_temperatures(temperature):
    with pytest.raises(UserError, match="temperature is .*; allowed: above 0"):
        rank_classes([[0.5]], [[0]], temperature, 2)


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


def test_class_shares_do_not_depend_on_the_pieces(monkeypatch):
    rng = np.random.default_rng(0)
    similarities, indices = rng.random((11, 4)), rng.integers(0, 9, (11, 4))
    targets = rng.integers(0, 2, (9, 3))
    whole = class_shares(similarities, indices, targets, 0.5)
    monkeypatch.setattr(neighbours, "SHARES_AT_ONCE", 3)
    pieces = class_shares(similarities, indices, targets, 0.5)
    np.testing.assert_array_equal(pieces, whole)
    assert whole.dtype == np.float32


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
    found = average_precisions([[1.0, 1.0], [0.0, 0.0]], targets)
    np.testing.assert_array_equal(found, [100.0, np.nan])
    with pytest.raises(ValueError, match="no photo"):
        mean_average_precision([[1.0]], [[0]])
