"""Average precision by VOC's rules, counted by hand."""

import numpy as np
import pytest

from dino_tf.analysis.precision import average_precision, average_precisions
from dino_tf.errors import UserError

SCORES = [0.9, 0.8, 0.7, 0.6, 0.5]
SHOWN = [0, 1, 1, 0, 1]  # precision 1/2, 2/3, 3/5 at recall 1/3, 2/3, 1


def test_envelope_takes_the_best_precision_from_there_on():
    expected = (2 / 3 + 2 / 3 + 3 / 5) / 3
    assert average_precision(SCORES, SHOWN) == pytest.approx(expected)


def test_eleven_points():
    expected = (7 * 2 / 3 + 4 * 3 / 5) / 11
    assert average_precision(SCORES, SHOWN, "11-point") == pytest.approx(expected)


def test_recall_that_is_a_tenth_counts_as_reached():
    # Three of ten hits: recall is 0.3 after the third photo, where precision is 1.
    shown = [1, 1, 1] + [0] * 90 + [1] * 7
    scores = -np.arange(100)
    tail = 10 / 100
    expected = (4 * 1 + 7 * tail) / 11
    assert average_precision(scores, shown, "11-point") == pytest.approx(expected)


def test_equal_scores_enter_together():
    assert average_precision([1, 1, 1, 1], [1, 0, 0, 0]) == pytest.approx(0.25)
    assert average_precision([1, 1, 1, 1], [0, 0, 0, 1]) == pytest.approx(0.25)


def test_perfect_and_absent():
    assert average_precision([3, 2, 1], [1, 0, 0]) == 1
    assert average_precision([3, 2, 1], [1, 0, 0], "11-point") == 1
    assert np.isnan(average_precision([3, 2, 1], [0, 0, 0]))


def test_photos_that_are_not_judged_are_left_out_class_by_class():
    scores = np.array([[3, 1], [2, 2], [1, 3]])
    targets = np.array([[-1, 0], [1, 1], [0, 0]])
    np.testing.assert_allclose(average_precisions(scores, targets), [1, 0.5])


def test_unknown_rule():
    with pytest.raises(UserError, match="allowed: envelope, 11-point"):
        average_precision([1], [1], "12-point")
