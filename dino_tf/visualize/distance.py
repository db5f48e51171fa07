"""How far the heads of each block look, as a plot."""

import numpy as np

from dino_tf.errors import UserError
from dino_tf.visualize.figure import ACCENT, FAINT, SECOND, plot


def distance_plot(distances, everywhere=None, title="Attention distance", note=""):
    """Mean attention distance of every head, block by block.

    Args:
        distances: (blocks, heads), in pixels; see
            `dino_tf.analysis.attention.attention_distance`.
        everywhere: distance of attention that is the same to all patches, drawn as a
            line to compare with; None draws none.
        title: above the plot.
        note: a second line, in small letters.

    Returns:
        Pillow image, RGB.

    Raises:
        UserError: the distances have another form.
    """
    distances = np.asarray(distances, np.float64)
    if distances.ndim != 2 or 0 in distances.shape:
        raise UserError(f"distances are {distances.shape}; allowed: (blocks, heads)")

    def paint(axis):
        blocks = np.arange(1, len(distances) + 1)
        if everywhere is not None:
            same = {"color": FAINT, "linestyle": "--", "linewidth": 1.5}
            axis.axhline(everywhere, label="the same attention everywhere", **same)
        axis.plot(blocks, distances.mean(axis=1), color=ACCENT, label="mean of heads")
        axis.plot(
            np.repeat(blocks, distances.shape[1]),
            distances.ravel(),
            "o",
            color=SECOND,
            markersize=6,
            alpha=0.75,
            markeredgecolor="white",
            label="a head",
        )
        axis.set_xticks(blocks if len(blocks) <= 24 else blocks[::4])
        axis.set_xlim(0.5, len(blocks) + 0.5)
        axis.set_ylim(0, 1.12 * max(np.nanmax(distances), everywhere or 0) or 1)
        axis.set_xlabel("block, from the first to the last")
        axis.set_ylabel("mean attention distance in pixels")
        axis.set_title(f"{title}\n", pad=2)
        axis.text(0, 1.02, note, transform=axis.transAxes, fontsize=9, color="#585860")
        axis.grid(axis="y")
        axis.figure.legend(loc="outside lower center", ncols=3)

    return plot(paint)
