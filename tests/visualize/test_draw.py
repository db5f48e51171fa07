"""Drawing primitives on pictures of a few pixels."""

import numpy as np
import pytest
from PIL import Image

from dino_tf.visualize import draw


def test_colour_map_runs_from_low_to_high():
    painted = draw.colour_map(np.array([[0.0, 1.0, 2.0]]), "viridis")
    assert painted.dtype == np.uint8
    assert painted[0, 0].tolist() == [68, 1, 84]
    assert painted[0, 2].tolist() == [253, 231, 37]


def test_colour_map_cuts_at_its_limits_and_bears_a_flat_map():
    clipped = draw.colour_map(np.array([[1.0, 5.0, 9.0]]), low=4, high=5)
    assert clipped[0, 1].tolist() == clipped[0, 2].tolist()
    flat = draw.colour_map(np.full((2, 2), 3.0))
    assert (flat == draw.colour_table("inferno")[0]).all()


def test_resize_keeps_whole_pixels_with_nearest():
    small = np.array([[0.25, 1.0]], np.float32)
    large = draw.resize(small, (2, 4), "nearest")
    np.testing.assert_array_equal(large, [[0.25, 0.25, 1, 1]] * 2)


def test_resize_takes_height_first():
    photo = np.zeros((10, 20, 3), np.uint8)
    assert draw.resize(photo, (5, 7)).shape == (5, 7, 3)


def test_overlay_blends_by_opacity():
    photo = np.full((1, 2, 3), 100, np.uint8)
    mixed = draw.overlay(photo, (200, 0, 100), np.array([[0.0, 0.5]]))
    assert mixed.tolist() == [[[100, 100, 100], [150, 50, 100]]]


def test_soften_keeps_flat_places():
    mask = np.zeros((9, 40), bool)
    mask[:, 20:] = True
    soft = draw.soften(mask, 1.0)
    assert soft[4, 0] == 0 and soft[4, 39] == pytest.approx(1)
    assert 0 < soft[4, 19] < 0.5 < soft[4, 20] < 1


def test_captions_shrink_to_their_place():
    text = "A caption of many words in a small place"
    assert draw.fitting_font("Head 0", 200, 17).size == 17
    assert draw.fitting_font(text, 300, 17).getlength(text) <= 300
    assert draw.fitting_font(text, 20, 17).size == 9


def test_compose_puts_tiles_in_rows():
    red = np.full((20, 30, 3), (255, 0, 0), np.uint8)
    blue = np.full((10, 30, 3), (0, 0, 255), np.uint8)
    rows = [[draw.Tile(red, "a"), draw.Tile(red, "b")], [draw.Tile(blue, "c")]]
    sheet = draw.compose(rows, "title", gap=10)
    assert sheet.size == (90, 10 + 28 + 5 + (20 + 28 + 10) + (10 + 28 + 10))
    assert sheet.getpixel((10, 43)) == (255, 0, 0)
    assert sheet.getpixel((79, 62)) == (255, 0, 0)
    assert sheet.getpixel((45, 50)) == (255, 255, 255)
    assert sheet.getpixel((10, 101)) == (0, 0, 255)
    assert np.asarray(sheet)[10:38, 10:80].min() < 60


def test_save_png_replaces_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "picture.png"
    draw.save_png(np.zeros((4, 4), np.uint8), path)
    draw.save_png(np.full((4, 4), 7, np.uint8), path)
    assert np.asarray(Image.open(path)).max() == 7
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = draw.save_png(np.full((4, 4), 7, np.uint8), tmp_path / "picture.png")

    def fail(self, file, **options):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        draw.save_png(np.zeros((4, 4), np.uint8), path)
    monkeypatch.undo()
    assert np.asarray(Image.open(path)).max() == 7
    assert len(list(tmp_path.iterdir())) == 1


def test_legend_below_a_sheet():
    sheet = Image.new("RGB", (500, 50), draw.PAPER)
    entries = [((200, 0, 0), "one"), ((0, 200, 0), "another one"), ((0, 0, 200), "x")]
    whole = np.asarray(draw.with_legend(sheet, entries))
    # All three fit beside each other, at a third of the width.
    assert whole.shape == (50 + draw.LINE + draw.GAP, 500, 3)
    found = [whole[50 + 8, 14 + 6 + 162 * i].tolist() for i in range(3)]
    assert found == [[200, 0, 0], [0, 200, 0], [0, 0, 200]]
    narrow = draw.with_legend(Image.new("RGB", (120, 50)), entries)
    assert narrow.size == (120, 50 + 3 * draw.LINE + draw.GAP)
