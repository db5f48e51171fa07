"""Ranked lists as pictures."""

import numpy as np
import pytest

from dino_tf.visualize import draw
from dino_tf.visualize.neighbours import GREEN, RED
from dino_tf.visualize.ranked import (
    GREY,
    SIDE,
    Found,
    Search,
    clipped_box,
    fitted,
    ranked_sheet,
)

PHOTO = np.full((20, 40, 3), 100, np.uint8)


def test_a_whole_photo_in_a_frame():
    found = fitted(PHOTO, RED)
    assert found.shape == (SIDE, SIDE, 3)
    assert tuple(found[0, 0]) == RED and tuple(found[10, 10]) == (100, 100, 100)
    # 40 pixels became 122, 20 became 61; below is paper.
    assert tuple(found[70, 131]) == RED and tuple(found[71, 131]) == draw.PAPER


@pytest.mark.parametrize(
    ("box", "drawn"),
    [((10, 5, 30, 15), True), ((-9, -9, 99, 99), True), ((30, 5, 10, 15), False)],
)
def test_box_of_a_query(box, drawn):
    found = fitted(PHOTO, draw.PAPER, box)
    assert (found == draw.COLOURS[2]).all(axis=2).any() == drawn


def test_boxes_are_clipped():
    assert clipped_box((-3, 1.6, 50, 18.4), PHOTO.shape) == (0, 2, 40, 18)
    assert clipped_box((60, 0, 70, 5), PHOTO.shape) == (40, 0, 40, 5)


def test_frames_tell_what_was_found():
    found = [Found(PHOTO, good, "0.9") for good in (True, False, None)]
    sheet = ranked_sheet([Search(PHOTO, "q", None, tuple(found))], "Title")
    colours = {colour for _, colour in sheet.getcolors(1 << 20)}
    assert {GREEN, RED, GREY} <= colours
