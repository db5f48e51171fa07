"""Confusion matrices and bars: sizes, colours, many classes."""

import numpy as np
import pytest

from dino_tf.visualize.classes import bars_picture, confusion_picture

DARK, LIGHT = 120, 240


def test_right_answers_are_dark_and_empty_cells_light():
    matrix = np.diag([5, 3, 9])
    sheet = np.asarray(confusion_picture(matrix, ["a", "b", "c"], "title"))
    row = sheet[:, :, 1].min(axis=1)
    assert row.min() < DARK
    # The square of three cells of 46 pixels, with the diagonal along it.
    (rows, columns) = np.nonzero((sheet == sheet[-70, -1]).all(axis=2) == 0)
    assert rows.size and columns.size
    square = sheet[-56 - 138 : -56, :, :]
    left = np.flatnonzero(square[2, :, 1] < DARK)[0]
    cells = [
        [square[46 * r + 3, left + 46 * c + 3, 1] for c in range(3)] for r in range(3)
    ]
    for r in range(3):
        for c in range(3):
            assert cells[r][c] < DARK if r == c else cells[r][c] > LIGHT


@pytest.mark.parametrize("count", [2, 10, 20, 60, 100, 1000])
def test_any_number_of_classes_fits(count):
    rng = np.random.default_rng(0)
    matrix = np.diag(rng.integers(0, 20, count)) + rng.integers(0, 2, (count, count))
    names = [f"class number {i}" for i in range(count)]
    sheet = confusion_picture(matrix, names, "title")
    assert 300 <= max(sheet.size) <= 1500


def test_a_class_without_photos_is_an_empty_row():
    sheet = confusion_picture(np.array([[0, 0], [1, 1]]), ["none", "some"], "title")
    assert np.isfinite(np.asarray(sheet)).all()


def test_bars_are_as_long_as_their_values():
    sheet = np.asarray(
        bars_picture([25.0, 100.0, 0.0], ["low", "full", "zero"], "title")
    )
    blue = (sheet == (64, 112, 178)).all(axis=2)
    lengths = [int(n) for n in np.unique(blue.sum(axis=1))]
    assert lengths == [0, 81, 321]
    assert (
        np.flatnonzero(blue.sum(axis=1) == 321)[0]
        < np.flatnonzero(blue.sum(axis=1) == 81)[0]
    )


def test_many_bars_stand_in_columns():
    one = bars_picture(list(range(40)), [f"class {i}" for i in range(40)], "title")
    two = bars_picture(list(range(80)), [f"class {i}" for i in range(80)], "title")
    assert two.size[1] == one.size[1]
    assert two.size[0] > 1.8 * one.size[0]
