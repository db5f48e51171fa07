"""Block masks: their form, their number, and what they depend on."""

import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.masking import PatchMasks, block_mask, draw_masks, upper_bound


class Draws:
    """Stands in for a generator: gives rows of four numbers in turn."""

    def __init__(self, *rows):
        self.rows = iter(rows)

    def random(self, count):
        return next(self.rows)


def test_blocks_by_hand():
    # Area 4 + (8 - 4) / 2 = 6, square: sides round(2.449) = 2; from row and column
    # int(0.9 * 4) = 3 and int(0.3 * 4) = 1. Left are 4: area 4, aspect 0.3 ** 0.5 =
    # 0.548: height round(1.480) = 1, width round(2.702) = 3; at row 3, column 0, of
    # which columns 1 and 2 are hidden already. Left are 3: area 4 - 1 / 2 = 3.5,
    # sides 2 by 2 are one too many; then 1 by 2 at the lower right end. Left is 1: 2 by
    # 2 hide two, and 1 by 1 in the upper right corner ends it.
    draws = Draws(
        (0.5, 0.5, 0.9, 0.3),
        (0.3, 0.25, 0.61, 0.0),
        (0.5, 0.5, 0.0, 0.0),
        (1.0, 0.25, 0.99, 0.99),
        (0.0, 0.5, 0.99, 0.99),
        (0.9, 0.5, 0.0, 0.99),
    )
    mask = block_mask(draws, (5, 5), 8)
    expected = [
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1],
    ]
    np.testing.assert_array_equal(mask, np.array(expected, bool))


def test_blocks_hide_what_they_should():
    shares = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(0, 100))
        hidden = block_mask(rng, (14, 14), count).sum()
        assert hidden <= count
        shares.append(hidden / max(count, 1))
    # Some stop short of it, when no more block fits.
    assert np.mean(shares) > 0.97


def test_bound_by_hand():
    # Two of five views: shares up to 0.3 and 0.5 of 49 patches, 14 and 24.
    assert upper_bound(5, 49, (0.1, 0.5), 0.5) == 38
    assert upper_bound(1, 49, (0.1, 0.5), 0.5) == 0
    assert upper_bound(8, 16, (0.25, 0.25), 0.5) == 16


def test_every_list_has_its_part_of_masked_views():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        masks = draw_masks(rng, 16, (7, 7), (0.1, 0.5), 0.5)
        counts = np.sort(masks.sum(axis=1))
        assert masks.shape == (16, 49) and not counts[:8].any()
        # Each from its own eighth of 0.1 to 0.5, cut off to whole patches.
        assert (counts[8:] <= 49 * np.linspace(0.15, 0.5, 8)).all()
        assert counts.sum() <= upper_bound(16, 49, (0.1, 0.5), 0.5)
        assert counts[-1] >= 10


def test_masks_are_a_function_of_seed_and_position():
    masks, shape = PatchMasks(8, parts=2), (8, 2, 32, 32, 3)
    first = masks.draw(3, 16, shape)
    assert first.shape == (8, 2, 16) and first.dtype == bool
    np.testing.assert_array_equal(first, PatchMasks(8, parts=2).draw(3, 16, shape))
    for other in (masks.draw(3, 24, shape), masks.draw(4, 16, shape)):
        assert (first != other).any()


def test_each_part_of_a_batch_is_a_list_of_its_own():
    masks, shape = PatchMasks(8, (0.3, 0.3), parts=4), (8, 2, 32, 32, 3)
    whole = masks.draw(0, 0, shape)
    assert [int(part.any(axis=-1).sum()) for part in np.split(whole, 4)] == [2] * 4
    half = (4, *shape[1:])
    halves = [masks.draw(0, 0, half, (i, 2)) for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), whole)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"ratio": (0.5, 0.1)}, None),
        ({"ratio": (0.0, 0.0)}, None),
        ({"probability": 0.0}, None),
        ({"parts": 0}, None),
        ({"parts": 3}, (8, 2, 32, 32, 3)),
    ],
)
def test_refusals(options, shape):
    with pytest.raises(UserError, match="masks: got .* allowed: "):
        PatchMasks(8, **options).draw(0, 0, shape)
