"""Photos as points of a plane, in the colours of their classes, or as themselves."""

from collections import Counter

import numpy as np
from matplotlib import patheffects
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from dino_tf.errors import UserError
from dino_tf.visualize import draw
from dino_tf.visualize.figure import DISTINCT, FAINT, plot

MARKERS = "osD^vPX"
# A colour and a marker each: 10 and 7 meet again after 70.
MOST_CLASSES = 20
NO_CLASS, OTHERS = None, "other classes"
THUMBNAIL, MOST_THUMBNAILS = 84, 120


def plane_plot(places, classes=None, photos=None, title="", note=""):
    """A map of features with colours for classes.

    Args:
        places: (N, 2), from `embed_2d`.
        classes: name of the class of each photo, None for one without, or with
            several; None where no classes are known.
        photos: uint8 (h, w, 3) each, to be drawn where there is room for them; None
            draws points alone.
        title: one line above.
        note: a second line, in small letters.

    Returns:
        Pillow image, RGB. The 20 most frequent classes have a colour and a marker
        each; all others are grey.

    Raises:
        UserError: lengths differ.
    """
    places = np.asarray(places, np.float64)
    for what, given in (("classes", classes), ("photos", photos)):
        if given is not None and len(given) != len(places):
            raise UserError(f"{len(given)} {what} for {len(places)} places")
    classes = [NO_CLASS] * len(places) if classes is None else list(classes)

    def paint(axis):
        styles = class_styles(classes)
        size = float(np.clip(20000 / len(places), 12, 70))
        for name, (colour, marker) in styles.items():
            own = np.array([_shown_as(c, styles) == name for c in classes])
            axis.scatter(
                *places[own].T,
                s=size,
                c=colour,
                marker=marker,
                alpha=0.8 if name not in (NO_CLASS, OTHERS) else 0.6,
                linewidths=0.4,
                edgecolors="white",
                zorder=2 if name not in (NO_CLASS, OTHERS) else 1,
            )
        _frame(axis, places)
        if photos is not None:
            _thumbnails(axis, places, classes, photos, styles)
        _legend(axis, styles, any(c is not NO_CLASS for c in classes))
        axis.set_title(f"{title}\n", pad=2)
        axis.text(0, 1.01, note, transform=axis.transAxes, fontsize=9, color="#585860")

    return plot(paint, 10.5, 8.0)


def class_styles(classes):
    """{name: (colour, marker)} of the classes that are told apart.

    Args:
        classes: name of the class of each photo; None has none.

    Returns:
        Dictionary; the most frequent 20 in the order of their names, then, where
        there are such, "other classes" and None.
    """
    counts = Counter(c for c in classes if c is not NO_CLASS)
    # Equally frequent ones by name, so that the order of the photos does not matter.
    frequent = sorted(counts, key=lambda name: (-counts[name], name))[:MOST_CLASSES]
    styles = {
        name: (DISTINCT[i % len(DISTINCT)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(sorted(frequent))
    }
    if len(counts) > len(frequent):
        styles[OTHERS] = ("#8a8c94", ".")
    if NO_CLASS in classes:
        styles[NO_CLASS] = (FAINT, ".")
    return styles


def _shown_as(name, styles):
    return name if name in styles else OTHERS


def _frame(axis, places):
    """The whole plane and a margin; distances alike in both directions."""
    low, high = places.min(axis=0), places.max(axis=0)
    middle, reach = (low + high) / 2, 0.5 * max(float((high - low).max()), 1e-9)
    axis.set_xlim(middle[0] - 1.1 * reach, middle[0] + 1.1 * reach)
    height = max(0.5 * float(high[1] - low[1]), 0.6 * reach)
    axis.set_ylim(middle[1] - 1.1 * height, middle[1] + 1.1 * height)
    axis.set_xticks([])
    axis.set_yticks([])
    for side in ("left", "bottom", "top", "right"):
        axis.spines[side].set_visible(True)
        axis.spines[side].set_color("#e4e5ea")


def chosen_thumbnails(places, apart, most=MOST_THUMBNAILS):
    """Places in the list of photos that can be drawn without covering each other.

    Args:
        places: (N, 2), measured in widths of a thumbnail.
        apart: least distance in either direction between two of them.
        most: how many, at most.

    Returns:
        List of indices; the earlier photo stays where two are too near.
    """
    chosen = []
    for i, place in enumerate(places):
        gaps = np.abs(places[chosen] - place).max(axis=1) if chosen else np.array([])
        if not (gaps < apart).any():
            chosen.append(i)
        if len(chosen) == most:
            break
    return chosen


def _thumbnails(axis, places, classes, photos, styles):
    """Puts photos over their points, framed in the colour of their class."""
    axis.figure.canvas.draw()  # Only now is it known how large the axes are.
    pixels = axis.transData.transform(places)
    for i in chosen_thumbnails(pixels / THUMBNAIL, 1.2):
        shape = np.array(photos[i].shape[:2])
        shape = np.maximum(1, np.round(THUMBNAIL * shape / shape.max())).astype(int)
        zoom = 72 / axis.figure.dpi
        box = OffsetImage(draw.resize(photos[i], tuple(shape)), zoom=zoom)
        colour, _ = styles[_shown_as(classes[i], styles)]
        frame = {"edgecolor": colour, "linewidth": 1.6}
        axis.add_artist(
            AnnotationBbox(box, places[i], pad=0.05, bboxprops=frame, zorder=4)
        )


def _legend(axis, styles, known):
    """Names of the classes beside the plane; nothing where none is known."""
    if not known:
        return
    names = {NO_CLASS: "no class, or several"}
    handles = [
        Line2D([], [], linestyle="", marker=m, color=c, label=names.get(n, n))
        for n, (c, m) in styles.items()
    ]
    legend = axis.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0,
        markerscale=1.3,
    )
    for text in legend.get_texts():
        text.set_path_effects([patheffects.withStroke(linewidth=2, foreground="white")])
