"""The bilateral solver against numbers of the published program."""

import numpy as np
import pytest

from dino_tf.analysis.bilateral import (
    bilateral_grid,
    bilateral_solve,
    largest_part,
    refine_mask,
)

ROWS, COLUMNS = np.mgrid[:40, :56]
DISC = (ROWS - 19) ** 2 + (COLUMNS - 28) ** 2 < 14**2
PLACES = ((19, 28), (2, 2), (10, 18), (19, 41), (31, 39))


@pytest.fixture
def image():
    """An orange disc on a background that grows brighter to the right and down."""
    image = np.stack([20 + 2 * COLUMNS, 60 + ROWS, np.full_like(ROWS, 40)], axis=-1)
    image[DISC] = (210, 150, 40)
    return image.astype(np.uint8)


@pytest.fixture
def square():
    """A mask of 24 x 24 pixels for the disc of 28 across."""
    mask = np.zeros((40, 56), bool)
    mask[8:32, 16:40] = True
    return mask


@pytest.mark.parametrize(
    ("widths", "mean", "deviation", "values"),
    [
        (
            (16, 16, 8),
            0.25710201737947114,
            0.3796888278717483,
            (
                0.8797973907784381,
                0.021298738020732896,
                0.8780911713804419,
                0.8780911713804419,
                0.036716714553272446,
            ),
        ),
        (
            (6, 10, 4),
            0.25747093697137113,
            0.3806106090468217,
            (
                0.8852888169264116,
                0.01349467790903816,
                0.8773659244796514,
                0.8733076913061505,
                0.0651986127568176,
            ),
        ),
    ],
)
def test_published_numbers(image, square, widths, mean, deviation, values):
    soft, binary = refine_mask(image, square, *widths)
    assert soft.mean() == pytest.approx(mean, abs=1e-9)
    assert soft.std() == pytest.approx(deviation, abs=1e-9)
    found = [soft[place] for place in PLACES]
    np.testing.assert_allclose(found, values, atol=1e-9)
    np.testing.assert_array_equal(binary, DISC)


def test_an_object_over_half_of_the_photo_is_not_turned_round(image):
    mask = np.ones((40, 56))
    mask[:, :12] = 0
    image[:, :12] = (0, 0, 255)
    _, binary = refine_mask(image, mask)
    np.testing.assert_array_equal(binary, mask > 0)


def test_nothing_and_everything_stay(image):
    assert not refine_mask(image, np.zeros((40, 56)))[1].any()
    assert refine_mask(image, np.ones((40, 56)))[1].all()


def test_without_smoothness_each_vertex_has_the_trusted_mean(image):
    target = COLUMNS / 55
    vertex_of, _ = bilateral_grid(image)
    weights = np.where(ROWS < 20, 1.0, 3.0)
    found = bilateral_solve(image, target, weights, smoothness=0)
    for vertex in (0, 5, vertex_of.max()):
        there = (vertex_of == vertex).reshape(40, 56)
        mean = np.average(target[there], weights=weights[there])
        np.testing.assert_allclose(found[there], mean, atol=1e-12)


def test_grid_of_one_colour_is_the_grid_of_places():
    image = np.full((8, 12, 3), 77, np.uint8)
    vertex_of, blur = bilateral_grid(image, 4, 16, 8)
    assert vertex_of.reshape(8, 12)[::4, ::4].tolist() == [[0, 1, 2], [3, 4, 5]]
    # Two rows of three: each box has the neighbours left, right, above and below.
    assert blur.toarray().tolist() == [
        [10, 1, 0, 1, 0, 0],
        [1, 10, 1, 0, 1, 0],
        [0, 1, 10, 0, 0, 1],
        [1, 0, 0, 10, 1, 0],
        [0, 1, 0, 1, 10, 1],
        [0, 0, 1, 0, 1, 10],
    ]


def test_largest_part():
    mask = np.array([[1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]], bool)
    assert largest_part(mask).tolist() == [
        [False] * 4,
        [False] * 4,
        [True, True, False, False],
    ]
    assert not largest_part(np.zeros((2, 2), bool)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((4, 4, 3))}, "image is float64"),
        ({"mask": np.zeros((4, 5))}, r"a mask of \(4, 5\)"),
        ({"sigma_luma": 0}, r"widths \(16, 0, 8\)"),
    ],
)
def test_refuses_other_forms(change, message):
    arguments = {"image": np.zeros((4, 4, 3), np.uint8), "mask": np.zeros((4, 4))}
    with pytest.raises(ValueError, match=message):
        refine_mask(**arguments | change)
