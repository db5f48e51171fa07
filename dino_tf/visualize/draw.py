"""Drawing on photos: colour maps, overlays, captions, grids of pictures, PNG files.

A picture is uint8 (H, W, 3), RGB. Everything composes with Pillow; matplotlib gives
its colour tables and its font.
"""

import functools
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps, get_data_path
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from dino_tf.errors import naming

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Distinct, bright on a dark photo, and still apart for most colour-blind people.
COLOURS = (
    (255, 94, 87),
    (72, 201, 255),
    (255, 209, 71),
    (88, 224, 142),
    (214, 135, 255),
    (255, 150, 60),
    (120, 150, 255),
    (190, 235, 70),
    (255, 130, 200),
    (60, 230, 215),
    (225, 190, 150),
    (215, 60, 130),
)
PAPER = (255, 255, 255)
INK = (28, 28, 32)
FAINT_INK = (88, 88, 96)
GAP = 14
LINE = 28


def resize(picture, shape, method="lanczos"):
    """Resize a picture, or a map of numbers, antialiased when it shrinks.

    Args:
        picture: uint8 (H, W, 3), or float (h, w).
        shape: (height, width) of the result.
        method: "nearest", "bicubic" or "lanczos".

    Returns:
        uint8 (height, width, 3) or float32 (height, width). Except for "nearest" a
        map may swing a little beyond its own range.
    """
    height, width = shape
    picture = np.asarray(picture)
    if picture.dtype != np.uint8:
        picture = picture.astype(np.float32)
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((width, height), RESAMPLING[method]))


@functools.cache
def colour_table(name):
    """uint8 (256, 3): matplotlib's colour map `name`, from low to high."""
    return np.round(255 * colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)


def colour_map(values, name="inferno", low=None, high=None):
    """Paint a map of numbers.

    Args:
        values: (h, w).
        name: a colour map of matplotlib.
        low: value of the first colour; the smallest value when left out.
        high: value of the last colour; the largest value when left out.

    Returns:
        uint8 (h, w, 3); all in the first colour when `high` is not above `low`.
    """
    values = np.asarray(values, dtype=np.float32)
    low = values.min() if low is None else low
    high = values.max() if high is None else high
    share = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return colour_table(name)[np.round(255 * np.clip(share, 0, 1)).astype(np.uint8)]


def overlay(picture, top, opacity):
    """Blend `top` over `picture`.

    Args:
        picture: uint8 (H, W, 3).
        top: uint8 (H, W, 3), or one colour (3,).
        opacity: in [0, 1], one number or (H, W).

    Returns:
        uint8 (H, W, 3).
    """
    opacity = np.asarray(opacity, dtype=np.float32)
    if opacity.ndim == 2:
        opacity = opacity[..., None]
    mixed = picture * (1 - opacity) + np.asarray(top, dtype=np.float32) * opacity
    return np.round(mixed).astype(np.uint8)


def soften(mask, radius=1.0):
    """float32 (H, W) in [0, 1]: `mask` with an edge smoothed over `radius` pixels."""
    return ndimage.gaussian_filter(np.asarray(mask, dtype=np.float32), radius)


@dataclass(frozen=True)
class Tile:
    """A picture with a line of text under it.

    Attributes:
        picture: uint8 (H, W, 3).
        caption: one line.
        colour: of a small square before the caption; None draws none.
    """

    picture: np.ndarray
    caption: str
    colour: tuple[int, int, int] | None = None


def compose(rows, title, gap=GAP):
    """Put tiles in rows under a title.

    Args:
        rows: lists of `Tile`; a row is as high as its highest picture.
        title: one line above all rows.
        gap: pixels between tiles and around them.

    Returns:
        Pillow image, RGB, as wide as the widest row.
    """
    widths = [sum(t.picture.shape[1] + gap for t in row) for row in rows]
    heights = [max(t.picture.shape[0] for t in row) + LINE + gap for row in rows]
    top, width = gap + LINE + gap // 2, max(widths) + gap
    sheet = Image.new("RGB", (width, top + sum(heights)), PAPER)
    write(sheet, title, (gap, gap), width - 2 * gap, 22, INK)
    for row, height in zip(rows, heights, strict=True):
        left = gap
        for tile in row:
            place(sheet, tile, left, top)
            left += tile.picture.shape[1] + gap
        top += height
    return sheet


def place(sheet, tile, left, top):
    """Paste one tile onto a Pillow image, its caption below it."""
    height, width = tile.picture.shape[:2]
    sheet.paste(Image.fromarray(tile.picture), (left, top))
    below = top + height + 6
    if tile.colour:
        square = (left, below + 3, left + 12, below + 15)
        ImageDraw.Draw(sheet).rectangle(square, fill=tile.colour)
        left, width = left + 19, width - 19
    write(sheet, tile.caption, (left, below), width, 17, FAINT_INK)


def with_legend(sheet, entries, gap=GAP):
    """The sheet with coloured squares and their meaning below, in even columns.

    Args:
        sheet: Pillow image, RGB.
        entries: (colour, text) of each square.
        gap: pixels around the legend.

    Returns:
        Pillow image, RGB, as wide as `sheet` and higher.
    """
    widest = max(font(17).getlength(text) for _, text in entries)
    columns = max(
        1, min(len(entries), int((sheet.width - gap) // (widest + 19 + 2 * gap)))
    )
    lines = -(-len(entries) // columns)
    whole = Image.new("RGB", (sheet.width, sheet.height + LINE * lines + gap), PAPER)
    whole.paste(sheet, (0, 0))
    step = (sheet.width - gap) // columns
    for i, (colour, text) in enumerate(entries):
        left = gap + step * (i % columns)
        top = sheet.height + LINE * (i // columns)
        square = (left, top + 3, left + 12, top + 15)
        ImageDraw.Draw(whole).rectangle(square, fill=tuple(colour))
        write(whole, text, (left + 19, top), step - 19 - gap, 17, FAINT_INK)
    return whole


def write(sheet, text, corner, width, size, ink):
    """Write one line, smaller where it would not fit into `width` pixels."""
    face = fitting_font(text, width, size)
    ImageDraw.Draw(sheet).text(corner, text, fill=ink, font=face)


@functools.cache
def font(size):
    """DejaVu Sans from matplotlib: same on every machine, accents and Greek as well."""
    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def fitting_font(text, width, size, smallest=9):
    """The largest font up to `size` in which `text` is at most `width` pixels wide."""
    while size > smallest and font(size).getlength(text) > width:
        size -= 1
    return font(size)


def save_png(picture, path):
    """Write a picture so that no reader ever finds half a file.

    Args:
        picture: uint8 (H, W, 3) or (H, W), or a Pillow image.
        path: where to; folders above it are made, an old file is replaced.

    Returns:
        `pathlib.Path` of the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(np.ascontiguousarray(picture))
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, suffix=".unfinished")
    try:
        with naming(path), os.fdopen(descriptor, "wb") as file:
            # Sheets of photos in less than half the time, and at most 3 % larger.
            picture.save(file, format="PNG", compress_level=3)
        # mkstemp keeps the file to its owner; a picture is for whoever reads the run.
        os.chmod(unfinished, 0o644)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
    return path
