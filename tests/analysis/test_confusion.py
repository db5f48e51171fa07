"""Confusion of classes and its numbers, worked out by hand."""

import numpy as np
import pytest

from dino_tf.analysis.confusion import (
    class_ious,
    confusion_of,
    mean_iou,
    pixel_accuracy,
)
from dino_tf.errors import UserError

TRUTH = np.array([[0, 0, 1], [1, 255, 1]])
PREDICTED = np.array([[0, 1, 1], [1, 7, 2]])
COUNTS = np.array([[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_counts_leave_void_out():
    np.testing.assert_array_equal(confusion_of(PREDICTED, TRUTH, 4), COUNTS)


def test_iou_of_classes_that_are_true_somewhere():
    # Background 1 of 2; class 1: 2 of 4; class 2 is predicted but nowhere true.
    np.testing.assert_allclose(class_ious(COUNTS), [50, 50, np.nan, np.nan])
    assert mean_iou(COUNTS) == 50.0
    assert pixel_accuracy(COUNTS) == 60.0


def test_a_class_that_is_never_found_counts_as_zero():
    assert mean_iou([[3, 0], [1, 0]]) == pytest.approx((75 + 0) / 2)


def test_refuses_empty_truth():
    nothing = confusion_of([[3]], [[255]], 2)
    for number in (mean_iou, pixel_accuracy):
        with pytest.raises(UserError, match="no pixel has a known class"):
            number(nothing)


@pytest.mark.parametrize(
    ("predicted", "truth", "words"),
    [
        ([0, 1], [0], r"predicted classes are \(2,\), true ones \(1,\)"),
        ([0], [2], "a true class is 2; allowed: 0 to 1"),
        ([-1], [1], "a predicted class is -1"),
    ],
)
def test_refuses_other_classes_and_shapes(predicted, truth, words):
    with pytest.raises(UserError, match=words):
        confusion_of(predicted, truth, 2)
