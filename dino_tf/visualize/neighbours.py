"""Photos with the training photos that are nearest to them, as one picture."""

from dataclasses import dataclass

import numpy as np

from dino_tf.visualize import draw

GREEN, RED = (34, 150, 84), (208, 52, 48)
SIDE, FRAME = 168, 7
# Of the shorter side: the part that the network sees.
SEEN = 224 / 256


@dataclass(frozen=True)
class Neighbour:
    """A photo and what is said of it.

    Attributes:
        photo: uint8 (H, W, 3).
        classes: names of its classes.
        similarity: to the photo in question.
    """

    photo: np.ndarray
    classes: tuple[str, ...]
    similarity: float


@dataclass(frozen=True)
class Case:
    """A photo in question and its neighbours.

    Attributes:
        photo: uint8 (H, W, 3).
        classes: names of its true classes.
        vote: name of the class that the neighbours vote for; None tells none.
        neighbours: `Neighbour`s, the nearest first.
        name: what to say of a photo whose classes nobody knows.
    """

    photo: np.ndarray
    classes: tuple[str, ...]
    vote: str | None
    neighbours: tuple[Neighbour, ...]
    name: str = ""


def neighbour_sheet(cases, title):
    """A row for every case: the photo, then its neighbours.

    Green frames tell that a neighbour shares a class with the photo, and at the photo
    itself that the vote is right; red ones that it is not so. Where the classes of one
    of the two are not known there is no frame.

    Args:
        cases: `Case`s, at least one.
        title: one line above.

    Returns:
        Pillow image, RGB.
    """
    rows = []
    for case in cases:
        own = ", ".join(case.classes) or case.name
        caption = own if case.vote is None else f"{own}; vote: {case.vote}"
        right = None if case.vote is None else case.vote in case.classes
        row = [draw.Tile(framed(case.photo, right), caption)]
        for near in case.neighbours:
            known = near.classes and case.classes
            same = bool(set(near.classes) & set(case.classes)) if known else None
            text = f"{near.similarity:.3f}  {', '.join(near.classes)}"
            colour = None if same is None else GREEN if same else RED
            row.append(draw.Tile(framed(near.photo, same), text, colour))
        rows.append(row)
    return draw.compose(rows, title)


def framed(photo, good, side=SIDE, frame=FRAME):
    """The central square of a photo in a frame: uint8 (side, side, 3).

    Args:
        photo: uint8 (H, W, 3).
        good: True draws the frame green, False red, None leaves it as paper.
        side: pixels, with the frame.
        frame: width of the frame in pixels.
    """
    height, width = photo.shape[:2]
    cut = max(1, round(min(height, width) * SEEN))
    top, left = (height - cut) // 2, (width - cut) // 2
    inner = photo[top : top + cut, left : left + cut]
    colour = draw.PAPER if good is None else GREEN if good else RED
    picture = np.empty((side, side, 3), np.uint8)
    picture[:] = colour
    within = slice(frame, side - frame)
    picture[within, within] = draw.resize(inner, (side - 2 * frame,) * 2)
    return picture
