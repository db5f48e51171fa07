"""Class masks in colours, beside the photos they belong to."""

from dataclasses import dataclass

import numpy as np

from dino_tf.analysis.overlap import VOID
from dino_tf.visualize import draw

VOID_COLOUR = (224, 224, 192)
WIDTH, LEGEND = 300, (18, 116)
IN_A_ROW = 7


@dataclass(frozen=True)
class Masked:
    """A photo with its true and its predicted classes.

    Attributes:
        photo: uint8 (H, W, 3).
        truth: uint8 (H', W'), 0 background, 1 + class index, 255 void.
        predicted: as `truth`, without void.
        caption: of the photo.
        score: of the prediction.
    """

    photo: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    caption: str
    score: str


def class_colours(count=256):
    """uint8 (count, 3): colours of classes, as masks of PASCAL VOC have them.

    The bits of a class number go round red, green and blue, three at a time, from the
    highest bit of the colour down.

    Reference:
        Everingham and Winn, VOC 2012 development kit, `VOClabelcolormap`.
    """
    classes = np.arange(count)
    colours = np.zeros((count, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = (classes >> (3 * place + channel)) & 1
            colours[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return colours


def paint_classes(mask):
    """A class mask uint8 (H, W) as a picture uint8 (H, W, 3), void in cream."""
    colours = class_colours()
    colours[VOID] = VOID_COLOUR
    return colours[np.asarray(mask, np.uint8)]


def mask_sheet(shown, class_names, title):
    """Photo, truth and prediction in rows, and the colours of the classes below.

    Args:
        shown: `Masked`s, at least one.
        class_names: names of the classes, the background first.
        title: one line above.

    Returns:
        Pillow image, RGB.
    """
    rows = []
    for one in shown:
        height, width = one.truth.shape
        shape = (max(1, round(height * WIDTH / width)), WIDTH)
        masks = (
            draw.resize(paint_classes(m), shape, "nearest")
            for m in (one.truth, one.predicted)
        )
        texts = (one.caption, "truth", one.score)
        pictures = (draw.resize(one.photo, shape), *masks)
        rows.append([draw.Tile(p, t) for p, t in zip(pictures, texts, strict=True)])
    seen = {
        int(c)
        for one in shown
        for m in (one.truth, one.predicted)
        for c in np.unique(m)
    }
    legend = [draw.Tile(_plain(c), class_names[c]) for c in sorted(seen - {VOID})]
    if VOID in seen:
        legend.append(draw.Tile(_plain(VOID), "void"))
    starts = range(0, len(legend), IN_A_ROW)
    rows += [legend[start : start + IN_A_ROW] for start in starts]
    return draw.compose(rows, title)


def _plain(number):
    return paint_classes(np.full(LEGEND, number, np.uint8))
