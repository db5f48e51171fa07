"""Views of one photo that find each other: literal numbers."""

import numpy as np
import pytest

from dino_tf.analysis.matching import matched_views
from dino_tf.errors import UserError


def test_each_view_finds_its_own():
    views = np.eye(4)
    assert matched_views(views, 3 * views + 1) == 100.0
    assert matched_views(views, views[[1, 0, 2, 3]]) == 50.0
    assert matched_views(views, np.roll(views, 1, axis=0)) == 0.0


def test_both_directions_count():
    # About the mean (0, 0.25): (1, -0.25), (-1, -0.25) and (1, 0.75), (-1, -0.25).
    first = [[1.0, 0.0], [-1.0, 0.0]]
    assert matched_views(first, [[1.0, 1.0], [-1.0, 0.0]]) == 100.0
    # About the mean (1, 0.5): (1, -0.5), (-1, 0.5) and (-1, 0), (1, 0).
    first = [[2.0, 0.0], [0.0, 1.0]]
    second = [[0.0, 0.5], [2.0, 0.5]]
    assert matched_views(first, second) == 0.0
    # -3 is as far from both of the others, 1 as near to both: half a match each. Both
    # others find 1, which is right for one of them.
    first, second = [[-3.0], [1.0]], [[1.0], [1.0]]
    assert matched_views(first, second) == 50.0


def test_what_all_views_share_tells_nothing():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(16, 8))
    second = first + 0.1 * rng.normal(size=(16, 8))
    assert matched_views(first, second) == matched_views(first + 1e3, second + 1e3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e20, 1e-30])
def test_features_that_are_all_alike_are_at_chance(value, dtype):
    alike = np.full((8, 5), value, dtype)
    assert matched_views(alike, alike) == 12.5
    assert matched_views(np.tile(alike[:, :1], 7), np.tile(alike[:, :1], 7)) == 12.5


def test_rounding_is_no_match():
    # Alike but for the last bits, and those the same in both views of a photo.
    noise = np.random.default_rng(0).integers(-1, 2, (20, 6)) * 2.0**-24
    alike = (1 + noise).astype(np.float32)
    assert matched_views(alike, alike) == 5.0


def test_equal_photos_share_their_match():
    # Three photos of one kind and one of another.
    views = [[1.0, 0.0]] * 3 + [[0.0, 1.0]]
    assert matched_views(views, views) == pytest.approx(100 * (3 * 1 / 3 + 1) / 4)


def test_features_that_mean_nothing_are_near_chance():
    rng = np.random.default_rng(0)
    found = matched_views(rng.normal(size=(200, 16)), rng.normal(size=(200, 16)))
    assert 0 <= found < 2


@pytest.mark.parametrize(
    ("first", "second"),
    [((3, 2), (4, 2)), ((3, 2), (3, 3)), ((1, 2), (1, 2)), ((3,), (3,)), ((0, 2),) * 2],
)
def test_other_shapes_are_refused(first, second):
    with pytest.raises(UserError, match="have the shapes .* allowed: twice the same"):
        matched_views(np.zeros(first), np.zeros(second))


def test_numbers_that_are_not_finite_are_refused():
    views = np.eye(3)
    views[1] = np.nan
    with pytest.raises(UserError, match="1 of 6 features of views are not finite"):
        matched_views(views, np.eye(3))
