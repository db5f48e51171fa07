"""Plots with axes, in the letters and colours of all other pictures."""

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dino_tf.visualize import draw

DOTS_PER_INCH = 160
# Told apart by colour-blind people: six of Okabe and Ito (their yellow is lost on
# paper), three of Tol's "muted", and ink.
DISTINCT = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#E69F00",
    "#882255",
    "#999933",
    "#332288",
    "#1c1c20",
)
ACCENT, SECOND = DISTINCT[0], DISTINCT[1]
FAINT = "#b8bac2"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": "#1c1c20",
    "axes.labelcolor": "#1c1c20",
    "axes.edgecolor": "#8a8c94",
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#585860",
    "ytick.color": "#585860",
    "grid.color": "#e4e5ea",
    "legend.frameon": False,
}


def plot(paint, width=9.0, height=5.2):
    """A plot on paper.

    Args:
        paint: function that draws into the axes it is given.
        width: inches.
        height: inches.

    Returns:
        Pillow image, RGB, 160 pixels an inch.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure((width, height), DOTS_PER_INCH, layout="constrained")
        figure.set_facecolor(tuple(c / 255 for c in draw.PAPER))
        canvas = FigureCanvasAgg(figure)
        paint(figure.subplots())
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
