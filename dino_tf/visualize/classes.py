"""Pictures of what a classifier gets right, class by class."""

import numpy as np
from PIL import Image, ImageDraw

from dino_tf.visualize.draw import (
    FAINT_INK,
    GAP,
    INK,
    LINE,
    PAPER,
    colour_map,
    fitting_font,
    font,
    resize,
    write,
)

MOST_SIDE = 1000  # pixels of the square of a confusion matrix
CELL = (1, 46)  # pixels, smallest and largest
READABLE = 12  # a cell of so many pixels can carry a name beside it
NUMBERED = 30  # and of so many a number inside
NAME_WIDTH = 150
LIST_WIDTH, LISTED, LISTED_LINE = 400, 38, 24
BAR, BAR_WIDTH, BARS_IN_COLUMN = 22, 320, 40
BAR_COLOUR = (64, 112, 178)
TRACK = (232, 234, 238)


def confusion_picture(matrix, names, title):
    """A confusion matrix: truth in rows, answers in columns.

    A cell is the darker, the larger its share of the photos of its row. Names stand
    beside it and the shares in percent inside as long as they can be read; with many
    classes a cell is a few pixels, or one, and the largest mistakes stand in a list.

    Args:
        matrix: int (C, C): photos of the class of a row, answered as the column.
        names: Of the C classes.
        title: One line above.

    Returns:
        Pillow image, RGB.
    """
    matrix = np.asarray(matrix, np.float64)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    cell = int(np.clip(MOST_SIDE // len(matrix), *CELL))
    side = cell * len(matrix)
    named = cell >= READABLE
    # A root makes few mistakes of a class visible beside many right answers.
    pixels = colour_map(shares ** (1 / 2 if named else 1 / 3), "BuPu", 0, 1)
    margin = _longest(names) + 10 if named else LINE
    left, top = GAP + margin, 2 * GAP + LINE + margin
    width = left + side + GAP + (0 if named else LIST_WIDTH)
    sheet = Image.new("RGB", (max(width, 560), top + side + 2 * LINE), PAPER)
    sheet.paste(Image.fromarray(resize(pixels, (side, side), "nearest")), (left, top))
    write(sheet, title, (GAP, GAP), sheet.width - 2 * GAP, 20, INK)
    legend = "rows: class of the photo; columns: answer"
    legend += "; numbers: % of the row" if cell >= NUMBERED else ""
    write(sheet, legend, (GAP, top + side + 8), sheet.width - 2 * GAP, 14, FAINT_INK)
    corner = (left, top)
    if named:
        _names(sheet, names, corner, cell, margin)
    else:
        _ticks(sheet, len(names), corner, cell)
        _mistakes(sheet, shares, names, (left + side + GAP, top))
    if cell >= NUMBERED:
        _numbers(sheet, shares, corner, cell)
    return sheet


def bars_picture(values, names, title):
    """One bar for each class, the longest first.

    Args:
        values: Percentages, one for each class.
        names: Of the classes.
        title: One line above.

    Returns:
        Pillow image, RGB; 40 bars below each other, then a new column.
    """
    order = np.argsort(-np.asarray(values), kind="stable")
    rows = min(len(order), BARS_IN_COLUMN)
    columns = -(-len(order) // BARS_IN_COLUMN)
    label = _longest(names) + 8
    column_width = label + BAR_WIDTH + 60 + GAP
    width = max(GAP + columns * column_width, 480)
    top = 2 * GAP + LINE
    sheet = Image.new("RGB", (width, top + rows * BAR + GAP), PAPER)
    write(sheet, title, (GAP, GAP), width - 2 * GAP, 20, INK)
    for place, index in enumerate(order):
        column, row = divmod(place, BARS_IN_COLUMN)
        corner = (GAP + column * column_width, top + row * BAR)
        _bar(sheet, corner, label, names[index], float(values[index]))
    return sheet


def _bar(sheet, corner, label, name, value):
    left, top = corner
    drawn, middle = ImageDraw.Draw(sheet), top + BAR // 2
    face = fitting_font(name, label - 8, 14)
    start = left + label
    drawn.text((start - 8, middle), name, FAINT_INK, face, anchor="rm")
    drawn.rectangle((start, top + 3, start + BAR_WIDTH, top + BAR - 4), fill=TRACK)
    end = start + round(BAR_WIDTH * np.clip(value, 0, 100) / 100)
    if end > start:
        drawn.rectangle((start, top + 3, end, top + BAR - 4), fill=BAR_COLOUR)
    right = start + BAR_WIDTH + 8
    drawn.text((right, middle), f"{value:.1f}", INK, font(14), anchor="lm")


def _longest(names):
    return min(NAME_WIDTH, int(max(font(14).getlength(name) for name in names)) + 1)


def _names(sheet, names, corner, cell, margin):
    """Names left of the rows and, turned, above the columns."""
    left, top = corner
    faces = [fitting_font(n, margin - 10, min(14, cell - 1), 8) for n in names]
    face = min(faces, key=lambda f: f.size)
    for i, name in enumerate(names):
        line = Image.new("RGB", (margin, cell), PAPER)
        place = (margin - 6, cell // 2)
        ImageDraw.Draw(line).text(place, name, FAINT_INK, face, anchor="rm")
        sheet.paste(line, (left - margin, top + i * cell))
        line.paste(PAPER, (0, 0, margin, cell))
        ImageDraw.Draw(line).text((6, cell // 2), name, FAINT_INK, face, anchor="lm")
        turned = line.transpose(Image.Transpose.ROTATE_90)
        sheet.paste(turned, (left + i * cell, top - margin))


def _ticks(sheet, count, corner, cell):
    """Numbers of some classes, from 0, where names have no place."""
    left, top = corner
    drawn = ImageDraw.Draw(sheet)
    step = 10 if count <= 200 else 100
    for i in range(0, count, step):
        along = int((i + 0.5) * cell)
        drawn.text((left - 5, top + along), str(i), FAINT_INK, font(11), anchor="rm")
        drawn.text((left + along, top - 4), str(i), FAINT_INK, font(11), anchor="ms")


def _mistakes(sheet, shares, names, corner):
    """The largest shares of a class that got another one as the answer."""
    left, top = corner
    wrong = shares * (1 - np.eye(len(shares)))
    largest = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
    write(sheet, "largest mistakes, % of the class", corner, LIST_WIDTH, 14, INK)
    for line, place in enumerate(largest, 1):
        row, column = divmod(int(place), len(shares))
        if wrong[row, column] > 0:
            text = f"{100 * wrong[row, column]:.0f}  {names[row]} as {names[column]}"
            below = (left, top + line * LISTED_LINE)
            write(sheet, text, below, LIST_WIDTH - GAP, 14, FAINT_INK)


def _numbers(sheet, shares, corner, cell):
    left, top = corner
    drawn = ImageDraw.Draw(sheet)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            ink = PAPER if share > 0.3 else INK
            place = (left + (column + 0.5) * cell, top + (row + 0.5) * cell)
            drawn.text(place, f"{100 * share:.0f}", ink, font(12), anchor="mm")
