"""Plots of attention distance, maps of positions, sheets of filters."""

import numpy as np
import pytest

from dino_tf.analysis.positions import position_similarity
from dino_tf.errors import UserError
from dino_tf.visualize import draw
from dino_tf.visualize.distance import distance_plot
from dino_tf.visualize.figure import ACCENT, SECOND
from dino_tf.visualize.filters import filter_sheet, principal_sheet
from dino_tf.visualize.positions import BETWEEN, position_sheet


def count_of(picture, colour):
    """Pixels of a colour, given as #rrggbb."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return np.count_nonzero((np.asarray(picture) == rgb).all(axis=-1))


def test_plot_of_distances():
    distances = np.array([[10.0, 30.0], [20.0, 60.0], [70.0, 80.0]])
    plain = distance_plot(distances)
    assert plain.size == (1440, 832)
    assert count_of(plain, ACCENT) > 500  # the line
    pixels = np.asarray(plain).astype(int)
    # Dots are a little transparent: nearly their colour on white.
    second = np.array([int(SECOND[i : i + 2], 16) for i in (1, 3, 5)])
    blended = np.round(0.75 * second + 0.25 * 255)
    dots = np.abs(pixels - blended).max(axis=-1) <= 2
    # Six of them in three columns, the highest on the right.
    columns = np.flatnonzero(dots.any(axis=0))
    assert np.count_nonzero(np.diff(columns) > 100) >= 2
    left, right = dots[:, :700], dots[:, 1000:]
    tops = [np.flatnonzero(part.any(axis=1)).min() for part in (left, right)]
    assert tops[1] < tops[0]
    assert distance_plot(distances, everywhere=50.0).tobytes() != plain.tobytes()


def test_plot_of_something_else():
    for wrong in (np.zeros(3), np.zeros((0, 2))):
        with pytest.raises(UserError, match=r"allowed: \(blocks, heads\)"):
            distance_plot(wrong)


def test_each_position_is_most_like_itself():
    positions = np.eye(6).reshape(2, 3, 6)
    sheet = np.asarray(position_sheet(position_similarity(positions)))
    most = (sheet == draw.colour_table("viridis")[255]).all(axis=-1)
    least = (sheet == draw.colour_table("viridis")[0]).all(axis=-1)
    # Of six maps of six patches one patch each is 1, all others 0; and the bar.
    pixel = (1100 // 3 - BETWEEN) // 3
    assert 6 * pixel**2 <= np.count_nonzero(most) < 6.2 * pixel**2
    assert 30 * pixel**2 <= np.count_nonzero(least) < 30.5 * pixel**2


def test_large_grids_show_some_of_their_maps():
    sheet = position_sheet(np.ones((33, 2, 33, 2), np.float32))
    # Every third of 33 rows and of 2 columns: 11 maps of 33 x 2 patches above
    # each other.
    side = (1100 // 11 - BETWEEN) // 33
    assert sheet.height == 11 * (33 * side + BETWEEN) - BETWEEN + 3 * draw.LINE + 56


def test_positions_of_another_form():
    with pytest.raises(UserError, match="allowed: .h, w, h, w. of a grid"):
        position_sheet(np.ones((2, 3, 3, 2)))
    with pytest.raises(UserError, match="allowed: .h, w, h, w. of a grid"):
        position_sheet(np.ones((6, 6)))


def test_filters_as_they_are():
    kernel = np.zeros((2, 2, 3, 8), np.float32)
    kernel[..., 0, 0], kernel[..., 1, 1] = 0.5, -0.5
    sheet = np.asarray(filter_sheet(kernel, "first layer"))
    colours = [tuple(sheet[80, 14 + 138 * i + 60]) for i in range(3)]
    assert colours == [(255, 128, 128), (128, 1, 128), (128, 128, 128)]
    # Seven in a row, then one.
    assert sheet.shape[1] == 7 * 124 + 8 * draw.GAP
    assert filter_sheet(np.zeros((3, 3, 3, 100))).height < 100 // 14 * 180


def test_principal_components_of_filters():
    kernel = np.zeros((2, 2, 3, 4), np.float32)
    kernel[..., 2, :] = [3.0, -3.0, 3.0, -3.0]
    sheet = np.asarray(principal_sheet(kernel, "patches", 2))
    assert tuple(sheet[80, 60]) == (128, 128, 255)
