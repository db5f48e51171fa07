"""The attention baseline against answers of the published program."""

import numpy as np
import pytest

from dino_tf.analysis.dino_seg import dino_seg
from dino_tf.errors import UserError

ROWS, COLUMNS = np.mgrid[:5, :6]


def with_parts(*parts):
    """A faint map of 5 x 6 patches with strong parts: (rows, columns, strength).

    No two patches are equal: which of equals is kept the published sort leaves open.
    """
    attention = np.full((5, 6), 0.1)
    for rows, columns, strength in parts:
        attention[rows, columns] = strength
    return attention + 1e-3 * np.arange(30).reshape(5, 6)


@pytest.mark.parametrize(
    ("attention", "box"),
    [
        (
            with_parts(
                (0, slice(0, 2), 5), (slice(1, 4), slice(3, 6), 4), (4, slice(0, 1), 6)
            ),
            [48, 32, 96, 64],
        ),
        # A single part: the published program takes what lies outside of it.
        (with_parts((slice(1, 3), slice(2, 4), 5)), [0, 0, 96, 80]),
        # The part that begins last is never chosen, however large.
        (
            with_parts((slice(0, 2), 0, 9), (slice(2, 5), slice(2, 6), 5)),
            [0, 0, 16, 32],
        ),
        (1 + (3 * COLUMNS + 5 * ROWS) % 7 + 0.01 * COLUMNS, [32, 0, 48, 32]),
    ],
)
def test_published_boxes(attention, box):
    found = dino_seg(attention, 16)
    assert found.box.tolist() == box
    rows, columns = np.nonzero(found.mask)
    assert [columns.min() * 16, rows.min() * 16] == box[:2]


def test_one_part_that_fills_the_photo_is_the_object():
    assert dino_seg([[1.0]], 8).box.tolist() == [0, 0, 8, 8]
    assert dino_seg(np.ones((2, 3)), 8, keep_mass=1.0).box.tolist() == [0, 0, 24, 16]


def test_refuses_a_share_out_of_range():
    with pytest.raises(UserError, match="keep_mass is 0"):
        dino_seg(np.ones((2, 2)), 8, keep_mass=0)
