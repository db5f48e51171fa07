"""Masks on photos: the outlines of objects, and what was found instead."""

import numpy as np
from scipy import ndimage

from dino_tf.analysis.overlap import VOID, enlarge_nearest
from dino_tf.visualize import draw

HEIGHT = 240
# A wide photo would make all rows as wide.
MOST_WIDTH = 360
LINE = 2
DIMMED = 0.3
TINT = 0.3


def object_tiles(photo, objects, captions, found):
    """A row of tiles: the photo, its objects, and masks that were found for them.

    Args:
        photo: uint8 (H, W, 3).
        objects: integers (h, w) over the whole photo: 0 background, 255 void.
        captions: of the photo and of its objects.
        found: {caption: bool (n, h, w) over the whole photo}; n masks have the
            colours of n objects, a single one has a colour of its own.

    Returns:
        List of `draw.Tile`, 2 + as many as `found`.
    """
    shape = tile_shape(photo.shape[:2])
    photo, objects = draw.resize(photo, shape), enlarge_nearest(objects, shape)
    numbers = [n for n in np.unique(objects).tolist() if n not in (0, VOID)]
    truth = np.array([objects == number for number in numbers]).reshape(-1, *shape)
    colours = [draw.COLOURS[i % len(draw.COLOURS)] for i in range(len(numbers))]
    pictures = (photo, outline(photo, truth, colours))
    tiles = [draw.Tile(*pair) for pair in zip(pictures, captions, strict=True)]
    for caption, masks in found.items():
        masks = enlarge_nearest(masks, shape)
        own = colours if len(masks) == len(colours) > 1 else [draw.COLOURS[2]]
        tiles.append(draw.Tile(outline(tint(photo, masks, own), truth), caption))
    return tiles


def tile_shape(image_hw):
    """(height, width) in which a photo is drawn."""
    height, width = image_hw
    scale = min(HEIGHT / height, MOST_WIDTH / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def tint(photo, masks, colours):
    """The photo, dark outside of all masks and tinted where they are.

    Args:
        photo: uint8 (H, W, 3).
        masks: bool (n, H, W); where two lie, the later one is seen.
        colours: (red, green, blue), one for each mask.

    Returns:
        uint8 (H, W, 3).
    """
    picture = draw.overlay(photo, (0, 0, 0), 1 - DIMMED)
    for mask, colour in zip(masks, colours, strict=True):
        bright = draw.overlay(photo, colour, TINT)
        picture = np.where(mask[..., None], bright, picture)
    return picture


def outline(photo, masks, colours=None):
    """The photo with a line along the inner edge of each mask.

    Args:
        photo: uint8 (H, W, 3).
        masks: bool (n, H, W).
        colours: (red, green, blue), one for each mask; None draws white.

    Returns:
        uint8 (H, W, 3).
    """
    picture = np.array(photo)
    colours = [draw.PAPER] * len(masks) if colours is None else colours
    for mask, colour in zip(masks, colours, strict=True):
        inner = ndimage.binary_erosion(mask, iterations=LINE, border_value=1)
        picture[mask & ~inner] = colour
    return picture
