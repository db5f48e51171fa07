import numpy as np
import pytest

from dino_tf.analysis.detection import keep_best, voc07_precision

# Two photos; three objects count, one is difficult.
TRUTH = {
    0: (np.array([[0, 0, 10, 10], [20, 0, 30, 10]]), np.array([False, True])),
    1: (np.array([[0, 0, 10, 10], [20, 20, 40, 40]]), np.array([False, False])),
}
RIGHT, DIFFICULT, AWAY = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]


def precision(*found, truth=TRUTH):
    """Of (photo, box) in the order of their scores, the best first."""
    photos, boxes = zip(*found, strict=True) if found else ((), ())
    scores = 1 - np.arange(len(found)) / 10
    return voc07_precision(np.array(photos), np.array(boxes), scores, truth)


@pytest.mark.parametrize(
    ("found", "points"),
    [
        ([], 0),
        # Recalls up to a third: the points 0, 0.1, 0.2, 0.3 of eleven.
        ([(0, RIGHT)], 4),
        # A mistake ahead halves the precision there.
        ([(0, AWAY), (0, RIGHT)], 4 / 2),
        # A second box on one object is a mistake, which comes too late to matter.
        ([(0, RIGHT), (0, RIGHT)], 4),
        ([(0, RIGHT), (0, RIGHT), (1, RIGHT)], 4 + 3 * 2 / 3),
        # Boxes on a difficult object count neither way.
        ([(0, DIFFICULT), (0, DIFFICULT), (0, RIGHT)], 4),
        ([(0, RIGHT), (1, RIGHT), (1, [20, 20, 40, 40])], 11),
        # IoU exactly one half is enough, a little less is not.
        ([(1, [20, 20, 40, 30])], 4),
        ([(1, [20, 20, 40, 29.9])], 0),
        # In a photo without any object.
        ([(7, RIGHT), (0, RIGHT)], 4 / 2),
    ],
)
def test_eleven_points_by_hand(found, points):
    assert precision(*found) == pytest.approx(100 * points / 11)


def test_recall_of_three_tenths_is_reached_by_three_of_ten():
    boxes = np.array([[20 * k, 0, 20 * k + 9, 9] for k in range(10)])
    truth = {0: (boxes, np.zeros(10, bool))}
    assert precision(*((0, b) for b in boxes[:3]), truth=truth) == pytest.approx(
        100 * 4 / 11
    )


def test_where_nothing_counts_there_is_no_number():
    difficult = {0: (np.array([RIGHT]), np.array([True]))}
    assert np.isnan(precision((0, RIGHT), truth=difficult))
    assert np.isnan(precision(truth={}))


def test_of_boxes_that_overlap_the_best_of_each_class_stays():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 5], [0, 0, 10, 10]]
    scores, classes = [0.5, 0.9, 0.8, 0.7], [0, 0, 0, 1]
    assert keep_best(boxes, scores, classes).tolist() == [1, 2, 3]
    assert keep_best(boxes, scores, classes, most=2).tolist() == [1, 2]
    assert keep_best(boxes, scores, classes, overlap=0.4).tolist() == [1, 3]
    assert keep_best(np.zeros((0, 4)), [], []).tolist() == []
