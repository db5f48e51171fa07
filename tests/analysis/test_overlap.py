"""Masks against objects, by hand."""

import numpy as np
import pytest

from dino_tf.analysis.overlap import enlarge_nearest, jaccard, overlaps
from dino_tf.errors import UserError

OBJECTS = np.array(
    [
        [1, 1, 0, 0, 255, 255],
        [1, 1, 0, 0, 255, 255],
        [0, 0, 3, 3, 0, 0],
        [0, 0, 3, 3, 0, 0],
    ],
    np.uint8,
)


def test_enlarged_by_whole_steps():
    small = np.array([[True, False], [False, True]])
    large = enlarge_nearest(small, (4, 6))
    assert large.dtype == bool
    np.testing.assert_array_equal(large, np.kron(small, np.ones((2, 3), bool)))


def test_sizes_that_do_not_divide():
    """Row i of H shows row floor(i h / H)."""
    column = np.arange(3)[:, None]
    assert enlarge_nearest(column, (7, 1)).ravel().tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert enlarge_nearest(column, (2, 1)).ravel().tolist() == [0, 1]
    stacked = enlarge_nearest(np.arange(4).reshape(1, 2, 2), (2, 4))
    assert stacked.tolist() == [[[0, 0, 1, 1], [2, 2, 3, 3]]]


def test_overlap_of_each_object_with_each_mask():
    left, all_of_it = np.zeros((4, 6), bool), np.ones((4, 6), bool)
    left[:, :3] = True
    numbers, iou = overlaps([left, all_of_it], OBJECTS)
    assert numbers.tolist() == [1, 3]
    # 20 of 24 pixels are judged. Object 1 lies in the left half, object 3 half so.
    np.testing.assert_allclose(iou, [[4 / 12, 4 / 20], [2 / 14, 4 / 20]])


def test_void_counts_neither_way():
    mask = OBJECTS == 1
    more = mask | (OBJECTS == 255)
    _, iou = overlaps([mask, more, ~mask], OBJECTS)
    assert iou[0].tolist() == [1, 1, 0]


def test_no_object_gives_no_rows():
    empty = np.where(OBJECTS == 255, 255, 0)
    numbers, iou = overlaps(np.ones((3, 4, 6)), empty)
    assert numbers.shape == (0,) and iou.shape == (0, 3)


def test_jaccard_of_thresholded_heads():
    """Of the first head 0.2 is dropped: with a 0.25 less than 0.6 would be left."""
    attention = np.array(
        [[[0.25, 0.3], [0.2, 0.25]], [[0.0, 0.0], [0.0, 1.0]]], np.float32
    )
    objects = np.zeros((4, 4), np.uint8)
    objects[:2], objects[2:, 2:] = 1, 2
    np.testing.assert_allclose(jaccard(attention, objects), [[8 / 12, 0], [4 / 12, 1]])
    kept = jaccard(attention, objects, keep_mass=0.25)
    np.testing.assert_allclose(kept, [[4 / 8, 0], [0, 1]])


def test_share_out_of_range():
    with pytest.raises(UserError, match="keep_mass is 1.5"):
        jaccard(np.ones((1, 2, 2)), np.ones((2, 2)), 1.5)
