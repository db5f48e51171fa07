"""Masks drawn on photos of a few pixels."""

import numpy as np

from dino_tf.visualize import draw
from dino_tf.visualize.masks import object_tiles, outline, tile_shape, tint

PHOTO = np.full((40, 60, 3), 100, np.uint8)


def test_outline_lies_inside_of_its_mask():
    mask = np.zeros((1, 10, 10), bool)
    mask[0, 2:9, 2:9] = True
    drawn = outline(PHOTO[:10, :10], mask, [(255, 0, 0)])
    red = (drawn == (255, 0, 0)).all(axis=-1)
    assert not red[~mask[0]].any() and red[2, 2] and red[3, 5]
    assert red.sum() == 49 - 9
    assert (drawn[~red] == 100).all()


def test_tint_darkens_the_rest():
    masks = np.zeros((2, 10, 10), bool)
    masks[0, :5], masks[1, 4:6] = True, True
    drawn = tint(PHOTO[:10, :10], masks, [(255, 0, 0), (0, 0, 255)])
    assert (drawn[9] == 30).all()
    assert drawn[0, 0, 0] > drawn[0, 0, 2] and drawn[4, 0, 2] > drawn[4, 0, 0]


def test_rows_have_equal_tiles_and_colours_of_objects():
    objects = np.zeros((20, 30), np.uint8)
    objects[:5, :5], objects[10:, 10:], objects[0] = 4, 9, 255
    found = {"heads": np.stack([objects == 4, objects == 9]), "mean": objects[None] > 0}
    tiles = object_tiles(PHOTO, objects, ("a", "b"), found)
    assert [tile.caption for tile in tiles] == ["a", "b", "heads", "mean"]
    assert {tile.picture.shape for tile in tiles} == {(240, 360, 3)}
    colours = tiles[1].picture.reshape(-1, 3)
    for colour in draw.COLOURS[:2]:
        assert (colours == colour).all(axis=1).any()


def test_shapes_of_tiles():
    assert tile_shape((480, 480)) == (240, 240)
    assert tile_shape((100, 1000)) == (36, 360)
    assert tile_shape((1000, 1)) == (240, 1)
