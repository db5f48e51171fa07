"""The measures of DAVIS: what is near, empty masks, statistics of a film."""

import numpy as np
import pytest

from dino_tf.analysis.mask_tracks import (
    boundary,
    boundary_accuracy,
    region_similarity,
    track_statistics,
)

EMPTY = np.zeros((60, 80), bool)


def square(left, side=20, shape=(60, 80)):
    mask = np.zeros(shape, bool)
    mask[10 : 10 + side, left : left + side] = True
    return mask


def test_boundary_lies_half_a_pixel_towards_the_origin():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2:4] = True
    np.testing.assert_array_equal(
        boundary(mask).astype(int),
        [[0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]],
    )


def test_the_edge_of_the_frame_is_no_boundary():
    assert not boundary(np.ones((4, 5), bool)).any()
    mask = np.zeros((3, 3), bool)
    mask[:, 2] = True
    np.testing.assert_array_equal(boundary(mask), [[False, True, False]] * 3)


def test_regions():
    # 20 x 20 pixels each, 15 columns in common.
    assert region_similarity(square(10), square(15)) == pytest.approx(300 / 500)
    assert region_similarity(EMPTY, EMPTY) == 1
    assert region_similarity(EMPTY, square(3)) == 0


@pytest.mark.parametrize(
    ("found", "truth", "f"),
    [
        (square(10), square(10), 1.0),
        # The diagonal is 100 pixels: 0.8 are rounded up to one.
        (square(10), square(11), 1.0),
        # Half of each outline lies on the other one or beside it.
        (square(10), square(13), 0.5),
        (square(10), square(45), 0.0),
        (EMPTY, EMPTY, 1.0),
        (EMPTY, square(10), 0.0),
        (square(10), EMPTY, 0.0),
        # Without any boundary, though one is full.
        (~EMPTY, EMPTY, 1.0),
    ],
)
def test_boundaries(found, truth, f):
    assert boundary_accuracy(found, truth) == pytest.approx(f)


def test_near_is_a_disk():
    # (3, 4) pixels are 5 away: near in a frame whose diagonal is 600, 4.8 / 0.008.
    one, other = np.zeros((360, 480), bool), np.zeros((360, 480), bool)
    one[100, 100], other[103, 104] = True, True
    assert boundary_accuracy(one, other) == 1
    other = np.roll(other, 1, axis=0)
    assert boundary_accuracy(one, other) < 1


def test_statistics_of_a_film():
    # Nine frames: the first and the last quarter have three each.
    values = [1.0, 0.9, 0.8, 0.5, 0.5, 0.6, 0.3, 0.2, 0.1]
    mean, recall, decay = track_statistics(values)
    assert mean == pytest.approx(4.9 / 9)
    assert recall == pytest.approx(4 / 9)
    assert decay == pytest.approx(0.9 - 0.2)


@pytest.mark.parametrize(
    ("values", "decay"), [([0.4], 0), ([0.9, 0.4], 0.5), ([1, 0.5, 0.2], 0.55)]
)
def test_short_films(values, decay):
    assert track_statistics(values)[2] == pytest.approx(decay)


def test_long_films_are_cut_at_the_right_places():
    values = np.repeat([1.0, 0.5, 0.5, 0.2], 100)
    assert track_statistics(values)[2] == pytest.approx(0.8, abs=0.01)
