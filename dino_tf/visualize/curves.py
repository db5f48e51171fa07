"""Numbers of a training, epoch by epoch, as a picture."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DOTS_PER_INCH = 120


def learning_curve(history):
    """Loss on the left; percentages, where there are any, on the right.

    Args:
        history: list of {"epoch": number, "loss": number, name: percentage}; a
            percentage may be missing in some epochs.

    Returns:
        uint8 (H, W, 3).
    """
    names = sorted({name for epoch in history for name in epoch} - {"epoch", "loss"})
    figure = Figure((9, 4) if names else (5, 4), DOTS_PER_INCH, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2 if names else 1, squeeze=False)[0]
    _draw(axes[0], history, ["loss"], "loss on the training photos")
    if names:
        _draw(axes[1], history, names, "per cent")
        axes[1].set_ylim(0, 103)
        axes[1].legend(loc="lower right")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw(axis, history, names, label):
    for name in names:
        points = [(e["epoch"], e[name]) for e in history if name in e]
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
    axis.set_xlabel("epoch")
    axis.set_ylabel(label)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
