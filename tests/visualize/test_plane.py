"""Photos as points of a plane."""

import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.visualize.figure import DISTINCT, FAINT
from dino_tf.visualize.plane import (
    OTHERS,
    chosen_thumbnails,
    class_styles,
    plane_plot,
)


def test_every_class_has_a_style_of_its_own():
    names = [f"class {i:02}" for i in range(20)]
    styles = class_styles([*names, None])
    assert list(styles) == [*names, None]
    assert len(set(styles.values())) == 21
    assert styles["class 00"] == (DISTINCT[0], "o")
    assert styles["class 10"] == (DISTINCT[0], "^")


def test_rare_classes_are_grey():
    classes = ["z"] * 3 + [f"class {i:02}" for i in range(21)]
    styles = class_styles(classes)
    assert len(styles) == 21 and styles[OTHERS][1] == "."
    # The frequent one is kept, of equally rare ones the first by name.
    assert "z" in styles and "class 18" in styles and "class 19" not in styles
    assert class_styles(classes[::-1]) == styles


def test_thumbnails_do_not_cover_each_other():
    places = np.array([[0, 0], [0.5, 0.5], [1.3, 0], [1.3, 1.1], [5, 5]], float)
    assert chosen_thumbnails(places, 1.2) == [0, 2, 4]
    assert chosen_thumbnails(places, 1.0) == [0, 2, 3, 4]
    assert chosen_thumbnails(places, 0.1, most=2) == [0, 1]


def pixels_of(picture, colour):
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.argwhere((np.abs(np.asarray(picture).astype(int) - rgb) <= 60).all(-1))


def test_points_lie_where_they_belong():
    places = np.array([[-1.0, -1.0], [1.0, 1.0]])
    picture = plane_plot(places, ["a", "b"], title="two photos")
    assert picture.size == (1680, 1280)
    first, second = (pixels_of(picture, DISTINCT[i]) for i in (0, 1))
    # Right of 1550 stands the legend.
    first, second = (points[points[:, 1] < 1550] for points in (first, second))
    assert first[:, 1].max() < 150 and first[:, 0].min() > 1150
    assert second[:, 1].min() > 1450 and second[:, 0].max() < 200


def test_without_classes_there_is_no_legend():
    places = np.random.default_rng(0).normal(size=(30, 2))
    plain = np.asarray(plane_plot(places))
    named = np.asarray(plane_plot(places, ["a"] * 29 + [None]))
    assert (plain[:1000, -60:] == 255).mean() > 0.9
    assert len(pixels_of(plain, FAINT)) > 100
    assert len(pixels_of(named, DISTINCT[0])) > 100


def test_photos_are_drawn_and_only_those_that_have_room():
    class Counted(list):
        asked = 0

        def __getitem__(self, i):
            Counted.asked += 1
            return super().__getitem__(i)

    places = np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], 10, axis=0)
    photos = Counted([np.full((30, 60, 3), (255, 0, 255), np.uint8)] * 30)
    picture = plane_plot(places, photos=photos)
    assert 3 <= Counted.asked <= 6
    assert len(pixels_of(picture, "#ff00ff")) > 3 * 80 * 38


def test_one_photo():
    assert plane_plot(np.zeros((1, 2)), ["a"]).size == (1680, 1280)


def test_lengths_that_differ():
    with pytest.raises(UserError, match="1 classes for 2 places"):
        plane_plot(np.zeros((2, 2)), ["a"])
