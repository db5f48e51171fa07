"""Similarity of position embeddings, a small map for each patch."""

import numpy as np
from PIL import Image, ImageDraw

from dino_tf.errors import UserError
from dino_tf.visualize import draw

SIDE = 1100  # pixels of the longer side of all maps together, about
MOST = 16  # maps in a row or column
BETWEEN = 4
BAR = 22
COLOURS = "viridis"


def position_sheet(similarity, title="Similarity of position embeddings"):
    """A grid of maps: where its patch lies, so does its map.

    Args:
        similarity: (h, w, h, w), from `position_similarity`.
        title: one line above.

    Returns:
        Pillow image, RGB. Of grids of more than 16 rows or columns every second (or
        third, ...) map is drawn, each of them whole.

    Raises:
        UserError: the similarities have another form.
    """
    similarity = np.asarray(similarity)
    rows, columns = similarity.shape[:2] if similarity.ndim == 4 else (0, 0)
    if not rows or similarity.shape != (rows, columns, rows, columns):
        raise UserError(
            f"similarities are {similarity.shape}; allowed: (h, w, h, w) of a grid"
        )
    step = -(-max(rows, columns) // MOST)
    chosen = [range((n - 1) % step // 2, n, step) for n in (rows, columns)]
    low = float(similarity.min())
    maps = _tiled(similarity, chosen, low)
    ticks = draw.GAP + 4 + draw.font(15).getlength(str(rows))
    left, top = int(ticks) + draw.LINE, 2 * draw.GAP + draw.LINE
    size = (left + maps.width + 110, top + maps.height + 2 * draw.LINE + 2 * draw.GAP)
    sheet = Image.new("RGB", (max(size[0], 560), size[1]), draw.PAPER)
    draw.write(
        sheet, title, (draw.GAP, draw.GAP), sheet.width - 2 * draw.GAP, 22, draw.INK
    )
    sheet.paste(maps, (left, top))
    _number(sheet, chosen, (left, top), maps.size)
    _bar(sheet, (left + maps.width + draw.GAP, top), maps.height, low)
    below = f"map in row i, column j: cosine of that patch with all {rows} x {columns}"
    if step > 1:
        below += (
            f"; every {step}{'nd' if step == 2 else 'rd' if step == 3 else 'th'} map"
        )
    place = (left, sheet.height - draw.LINE - draw.GAP // 2)
    draw.write(sheet, below, place, sheet.width - left - draw.GAP, 16, draw.FAINT_INK)
    return sheet


def _tiled(similarity, chosen, low):
    """All chosen maps in one picture, `BETWEEN` pixels apart."""
    rows, columns = similarity.shape[:2]
    count = max(map(len, chosen))
    pixel = max(1, (SIDE // count - BETWEEN) // max(rows, columns))
    high, wide = rows * pixel, columns * pixel
    size = (
        len(chosen[1]) * (wide + BETWEEN) - BETWEEN,
        len(chosen[0]) * (high + BETWEEN) - BETWEEN,
    )
    picture = Image.new("RGB", size, draw.PAPER)
    for y, i in enumerate(chosen[0]):
        for x, j in enumerate(chosen[1]):
            painted = draw.colour_map(similarity[i, j], COLOURS, low, 1.0)
            painted = draw.resize(painted, (high, wide), "nearest")
            place = (x * (wide + BETWEEN), y * (high + BETWEEN))
            picture.paste(Image.fromarray(painted), place)
    return picture


def _number(sheet, chosen, corner, size):
    """Writes rows and columns of the patches beside their maps, and what they are."""
    canvas, face = ImageDraw.Draw(sheet), draw.font(15)
    left, top = corner
    for x, j in enumerate(chosen[1]):
        place = (left + (x + 0.5) * size[0] / len(chosen[1]), top + size[1] + 6)
        canvas.text(place, str(j + 1), draw.FAINT_INK, face, anchor="mt")
    for y, i in enumerate(chosen[0]):
        place = (left - 8, top + (y + 0.5) * size[1] / len(chosen[0]))
        canvas.text(place, str(i + 1), draw.FAINT_INK, face, anchor="rm")


def _bar(sheet, corner, height, low):
    """What the colours mean, from the least cosine to 1."""
    left, top = corner
    ramp = np.linspace(1, low, height)[:, None].repeat(BAR, 1)
    painted = draw.colour_map(ramp, COLOURS, low, 1.0)
    sheet.paste(Image.fromarray(painted), corner)
    canvas, face = ImageDraw.Draw(sheet), draw.font(15)
    marks = {1.0: "1", low: f"{low:.2f}", (1 + low) / 2: f"{(1 + low) / 2:.2f}"}
    for value, text in marks.items():
        share = (1 - value) / max(1 - low, 1e-6)
        place = (left + BAR + 6, top + 8 + share * (height - 16))
        canvas.text(place, text, draw.FAINT_INK, face, anchor="lm")
