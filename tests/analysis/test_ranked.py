"""Average precision by trapezoids, worked out by hand, and counts block by block."""

import numpy as np
import pytest

from dino_tf.analysis.ranked import (
    Positions,
    before,
    precision_within,
    trapezoid_precision,
    without,
)


@pytest.mark.parametrize(
    ("ranks", "total", "expected"),
    [
        ([0], 1, 1.0),
        # Left of the second place the precision is 0, right of it 1/2.
        ([1], 1, 0.25),
        # (1 + 1) / 4 for the first; (1/2 + 2/3) / 4 for the one in third place.
        ([0, 2], 2, 0.5 + (1 / 2 + 2 / 3) / 4),
        ([2, 0], 2, 0.5 + (1 / 2 + 2 / 3) / 4),
        ([0], 2, 0.5),
        ([], 3, 0.0),
        ([0, 1, 2], 3, 1.0),
    ],
)
def test_trapezoids(ranks, total, expected):
    assert trapezoid_precision(ranks, total) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ranks", "k", "expected"),
    [
        ([0, 3], 1, 1.0),
        # Not looked at beyond the last one, in fourth place: 2 of 4.
        ([0, 3], 10, 0.5),
        ([0, 3], 3, 1 / 3),
        ([4], 1, 0.0),
        ([0, np.inf], 5, 0.2),
        ([np.inf], 10, 0.0),
    ],
)
def test_precision_within_the_first(ranks, k, expected):
    assert precision_within(ranks, k) == pytest.approx(expected)


def test_what_is_ignored_leaves_the_list():
    places, ahead = np.array([3, 5, 8, 9]), [0, 4, 2, np.inf]
    assert without(places, ahead, [5, 8], [3]).tolist() == [3, 1]
    assert without(places, ahead, [5], [3, 8, 9]).tolist() == [2]
    # Looked for and ignored at once: it does not stand in its own way.
    assert without(places, ahead, [5, 9], [5]).tolist() == [4, np.inf]
    assert without(places, ahead, [3], []).tolist() == [0]


def test_of_equals_the_lower_place_comes_first():
    row, places = np.array([0.5, 0.9, 0.5, 0.1]), np.array([0, 1, 2, 3])
    assert before(row, places, [0.5, 0.5, 0.1], [0, 2, 3]).tolist() == [1, 2, 3]


@pytest.mark.parametrize("block", [1, 3, 7, 40])
def test_blocks_of_any_size_give_the_same_lists(block):
    rng = np.random.default_rng(1)
    # Few different numbers, so that many are equal.
    rows = rng.integers(0, 8, (3, 40)).astype(np.float32)
    judged = [np.array([4, 30]), np.array([], np.int64), np.array([39])]
    scores = [row[places] for row, places in zip(rows, judged, strict=True)]
    positions = Positions(scores, judged, keep=5)
    shuffled = rng.permutation(40)
    for start in range(0, 40, block):
        places = shuffled[start : start + block]
        positions.add(rows[:, places], places)
    for row, places, ahead, first in zip(
        rows, judged, positions.ahead, positions.first, strict=True
    ):
        order = np.lexsort((np.arange(40), -row))
        assert ahead.tolist() == [order.tolist().index(p) for p in places]
        assert first[1].tolist() == order[:5].tolist()
        assert first[0].tolist() == row[order[:5]].tolist()
