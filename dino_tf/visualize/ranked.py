"""What was searched for and what was found, as pictures."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dino_tf.visualize import draw
from dino_tf.visualize.neighbours import GREEN, RED

GREY = (150, 150, 156)
SIDE, FRAME = 132, 5


@dataclass(frozen=True)
class Found:
    """A photo that was found.

    Attributes:
        photo: uint8 (H, W, 3).
        good: True for what was looked for, False for all else, None for what is not
            judged.
        caption: one line.
    """

    photo: np.ndarray
    good: bool | None
    caption: str


@dataclass(frozen=True)
class Search:
    """A photo and what was found for it.

    Attributes:
        photo: uint8 (H, W, 3).
        caption: one line.
        box: (left, top, right, bottom) in pixels; None draws none.
        found: `Found`s, the first one first.
    """

    photo: np.ndarray
    caption: str
    box: tuple | None
    found: tuple[Found, ...]


def ranked_sheet(searches, title):
    """A row for every search: its photo with its box, then what was found.

    Frames are green around what was looked for, red around all else, and grey around
    what is not judged.

    Args:
        searches: `Search`es, at least one.
        title: one line above.

    Returns:
        Pillow image, RGB.
    """
    rows = []
    for search in searches:
        row = [draw.Tile(fitted(search.photo, draw.PAPER, search.box), search.caption)]
        for found in search.found:
            colour = GREY if found.good is None else GREEN if found.good else RED
            row.append(draw.Tile(fitted(found.photo, colour), found.caption, colour))
        rows.append(row)
    return draw.compose(rows, title)


def fitted(photo, colour, box=None, side=SIDE, frame=FRAME):
    """A whole photo in a frame, on a square of paper.

    Args:
        photo: uint8 (H, W, 3).
        colour: of the frame.
        box: (left, top, right, bottom) to draw, in pixels of the photo; None for none,
            as for boxes that hold nothing of it.
        side: of the square in pixels.
        frame: width of the frame in pixels.

    Returns:
        uint8 (side, side, 3).
    """
    height, width = photo.shape[:2]
    scale = (side - 2 * frame) / max(height, width)
    shape = [max(round(scale * length), 1) for length in (height, width)]
    inner = Image.fromarray(draw.resize(photo, shape))
    if box is not None:
        left, top, right, bottom = (scale * x for x in clipped_box(box, photo.shape))
        if left < right and top < bottom:
            edges = (left, top, right - 1, bottom - 1)
            edges = (*edges[:2], max(edges[0], edges[2]), max(edges[1], edges[3]))
            ImageDraw.Draw(inner).rectangle(edges, outline=draw.COLOURS[2], width=2)
    picture = np.empty((side, side, 3), np.uint8)
    picture[:] = draw.PAPER
    tall, wide = (length + 2 * frame for length in shape)
    picture[:tall, :wide] = colour
    picture[frame : frame + shape[0], frame : frame + shape[1]] = np.asarray(inner)
    return picture


def clipped_box(box, shape):
    """A box in whole pixels, rounded as Pillow does, without what is outside.

    Args:
        box: (left, top, right, bottom) in pixels.
        shape: (H, W, ...) of the photo.

    Returns:
        Tuple of int; right is not above left where nothing remains, or bottom not
        above top.
    """
    limits = (shape[1], shape[0], shape[1], shape[0])
    pairs = zip(box, limits, strict=True)
    return tuple(min(max(round(edge), 0), most) for edge, most in pairs)
