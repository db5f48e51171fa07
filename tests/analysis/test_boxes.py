"""Boxes, overlaps and CorLoc with numbers worked out by hand."""

import numpy as np
import pytest

from dino_tf.analysis.boxes import (
    box_from_mask,
    component_at,
    corloc,
    iou,
    patch_box_to_pixels,
)


def test_box_lies_on_the_edges_of_the_mask():
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:6] = True
    np.testing.assert_array_equal(box_from_mask(mask), [2, 1, 6, 3])


def test_an_empty_mask_has_no_box():
    with pytest.raises(ValueError, match="empty"):
        box_from_mask(np.zeros((2, 2)))


def test_component_does_not_cross_a_corner():
    mask = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 1]])
    expected = [[True, True, False], [False, False, False], [False, False, False]]
    np.testing.assert_array_equal(component_at(mask, 0), expected)
    with pytest.raises(ValueError, match="patch 2"):
        component_at(mask, 2)


def test_pixels_end_at_the_image():
    box = patch_box_to_pixels([1, 0, 3, 2], patch_size=16, image_hw=(30, 45))
    np.testing.assert_array_equal(box, [16, 0, 45, 30])


def test_iou():
    others = [[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [10, 0, 20, 10]]
    np.testing.assert_allclose(iou([0, 0, 10, 10], others), [1, 1 / 3, 0, 0])
    np.testing.assert_array_equal(iou([3, 3, 3, 3], [[3, 3, 3, 3]]), [0])
    assert iou([0, 0, 1, 1], np.zeros((0, 4))).shape == (0,)


def test_corloc_needs_one_object_of_each_photo():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]]
    truth = [
        [[50, 50, 60, 60], [0, 0, 10, 10]],
        [[0, 0, 10, 5]],
        [[0, 0, 10, 4.9]],
        [[90, 90, 99, 99]],
    ]
    assert corloc(boxes, truth) == 50.0
    assert corloc(boxes, truth, threshold=0.4) == 75.0


def test_corloc_refuses_unequal_lists():
    with pytest.raises(ValueError, match="1 boxes for 2 photos"):
        corloc([[0, 0, 1, 1]], [[[0, 0, 1, 1]]] * 2)
    with pytest.raises(ValueError, match="0 boxes"):
        corloc([], [])
