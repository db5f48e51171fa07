"""Attention on the photo: colours of heads, heat, blocks."""

import keras
import numpy as np
import pytest
from PIL import Image

from dino_tf.errors import UserError
from dino_tf.models.vit import VisionTransformer
from dino_tf.visualize import draw
from dino_tf.visualize.attention import attention_maps
from dino_tf.visualize.heads import (
    block_maps,
    even_columns,
    head_colours,
    heads_sheet,
    layers_sheet,
    overlay_attention,
    overlay_sheet,
    paint_heads,
    strongest_head,
)

PHOTO = np.full((40, 80, 3), 255, np.uint8)


def halves():
    """One head on the left half of the patches, one on the right."""
    maps = np.zeros((2, 2, 4), np.float32)
    maps[0, :, :2], maps[1, :, 2:] = 0.2, 0.1
    return maps


def test_disjoint_heads_have_their_own_places():
    assert strongest_head(halves(), 1.0).tolist() == [[0, 0, 1, 1]] * 2
    # Of four equal patches 60 % need three; which one goes is a tie.
    kept = strongest_head(halves(), 0.6)
    assert [np.count_nonzero(kept == head) for head in (0, 1, -1)] == [3, 3, 2]


def test_of_two_heads_the_larger_share_wins():
    maps = np.array([[[6.0, 3.0, 1.0]], [[0.2, 0.3, 0.5]]])
    assert strongest_head(maps, 1.0).tolist() == [[0, 0, 1]]
    # 55 % of the first are in its first patch, of the second in its last two.
    assert strongest_head(maps, 0.55).tolist() == [[0, 1, 1]]


def test_colours_of_disjoint_heads():
    maps = np.repeat(np.repeat(halves(), 20, axis=1), 20, axis=2)
    picture = paint_heads(PHOTO, maps, 1.0)
    # White at 0.4 is 102; of the colour 0.85 is left, of the white 0.15.
    for column, colour in ((8, draw.COLOURS[0]), (72, draw.COLOURS[1])):
        expected = 0.15 * 102 + 0.85 * np.array(colour)
        np.testing.assert_allclose(picture[35, column], expected, atol=2)
    # Each number stands in the middle of its half, on the colour itself.
    for column, colour in ((20, draw.COLOURS[0]), (60, draw.COLOURS[1])):
        assert picture[10, column].tolist() == list(colour)


def test_head_without_attention_has_no_number():
    maps = halves()
    maps[1] = 0
    picture = paint_heads(PHOTO, maps, 1.0)
    assert (picture[2:-2, 60:] == 102).all()


def test_every_head_has_a_colour_of_its_own():
    colours = head_colours(24)
    assert len({tuple(c) for c in colours.tolist()}) == 24
    np.testing.assert_array_equal(head_colours(3), draw.COLOURS[:3])


def test_heat_grows_with_attention():
    attention = np.zeros((40, 80), np.float32)
    attention[:, 40:] = 0.5
    picture = overlay_attention(PHOTO // 2, attention)
    pale = round(0.8 * 127)
    assert (picture[:, :30] == pale).all()
    hottest = draw.colour_table("inferno")[255]
    expected = 0.15 * pale + 0.85 * hottest
    np.testing.assert_allclose(picture[20, 70], expected, atol=1)
    flat = overlay_attention(PHOTO, np.full((4, 8), 0.3, np.float32))
    assert np.ptp(flat.reshape(-1, 3), axis=0).max() == 0


def test_sheets_show_all_of_it():
    maps = np.random.default_rng(0).random((5, 2, 4)).astype("float32")
    heads = heads_sheet(PHOTO, maps, 0.6, "a photo")
    overlay = overlay_sheet(PHOTO, maps, "a photo")
    layers = layers_sheet(PHOTO, maps, "a photo")
    for sheet in (heads, overlay, layers):
        assert isinstance(sheet, Image.Image) and sheet.width >= 1000
        assert np.asarray(sheet).std() > 10
    # Five squares of the legend, in the colours of the heads.
    found = {tuple(c) for c in np.asarray(heads)[-40:].reshape(-1, 3).tolist()}
    assert set(draw.COLOURS[:5]) <= found


def test_very_wide_photos_stand_above_each_other():
    maps = np.ones((2, 2, 8), np.float32)
    beside = heads_sheet(np.zeros((40, 80, 3), np.uint8), maps)
    above = heads_sheet(np.zeros((20, 80, 3), np.uint8), maps)
    assert beside.width > beside.height
    assert above.height > 2 * 300 and above.width < beside.width


@pytest.mark.parametrize(
    ("count", "some", "expected"),
    [(5, (4, 5, 6, 7), 5), (13, (4, 5, 6, 7), 7), (12, (3, 4, 5, 6), 3)],
)
def test_rows_are_full_where_they_can_be(count, some, expected):
    assert even_columns(count, some) == expected


def test_maps_of_every_block():
    keras.utils.set_random_seed(0)
    vit = VisionTransformer(12, 3, 2, 8, 32, num_registers=1)
    vit.build()
    photo = np.random.default_rng(0).integers(0, 255, (32, 48, 3)).astype("uint8")
    found = block_maps(vit, photo, size=32)
    assert found.shape == (3, 4, 6)
    last = attention_maps(vit, photo, size=32).mean(axis=0)
    np.testing.assert_allclose(found[-1], last, atol=1e-6)


def test_wrong_share():
    with pytest.raises(UserError, match="keep_mass is 0"):
        heads_sheet(PHOTO, halves(), 0)
