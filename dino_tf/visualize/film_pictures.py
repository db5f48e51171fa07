"""Attention drawn on the frames of a film, with colours that do not flicker."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from dino_tf.analysis.attention import keep_mass_mask
from dino_tf.errors import UserError
from dino_tf.visualize import draw
from dino_tf.visualize.attention import DARK, LONGEST_SIDE

DRAWINGS = ("overlay", "side", "map", "masked")
KEEP_MASS = 0.6
# Where attention is as strong as the top of the scale, so much of a pixel is colour.
OPACITY = 0.8
# The scale's top follows the film within about so many seconds: a single frame does
# not move it, and after a cut the colours are soon full again.
SCALE_SECONDS = 2.0
# One patch in a hundred may be stronger than the last colour.
TOP = 0.99
# The mask's edge is found on a grid so much finer than that of the patches.
FINER = 4


class RunningScale:
    """The attention that has the last colour, frame by frame.

    It is the exponential running mean, over `SCALE_SECONDS`, of the logarithm of each
    frame's 99 % quantile; the first colour is 0 throughout. The published script scales
    every frame by its own smallest and largest value, so that one spike darkens all the
    rest of its frame.

    Args:
        rate: Frames a second.

    Reference:
        facebookresearch/dino, `video_generation.py`, `plt.imsave`.
    """

    def __init__(self, rate):
        self._weight = 1 - math.exp(-1 / (float(rate) * SCALE_SECONDS))
        self._mean = None

    def __call__(self, maps):
        """Tops (heads,) for the next frame, whose attention is `maps` (heads, h, w)."""
        tops = np.quantile(maps, TOP, axis=(1, 2)).astype(np.float64)
        now = np.log(np.maximum(tops, np.finfo(np.float32).tiny))
        if self._mean is None:
            self._mean = now
        self._mean = self._mean + self._weight * (now - self._mean)
        return np.exp(self._mean)


@dataclass
class FramePainter:
    """Draws attention on the frames of one film.

    Args:
        shape: (height, width) of the frames, even numbers.
        rate: Frames a second.
        drawing: One of `DRAWINGS`: the attention in colours over the frame, frame and
            attention side by side, the attention alone, or the frame with its
            background darkened.
        keep_mass: Share of each map's attention that is drawn, in (0, 1]; what is
            outside of it has no colour, or is darkened. None draws all; "masked" has
            0.6 then.
        head: Number of a head, "mean", or "all": every head in a tile of its own.
    """

    shape: tuple[int, int]
    rate: float
    drawing: str = "overlay"
    keep_mass: float | None = None
    head: str | int = "mean"

    def __post_init__(self):
        if self.drawing not in DRAWINGS:
            allowed = ", ".join(DRAWINGS)
            raise UserError(f"drawing: got {self.drawing!r}, allowed: {allowed}")
        if self.keep_mass is not None and not 0 < self.keep_mass <= 1:
            raise UserError(
                f"keep_mass is {self.keep_mass}; allowed: above 0, at most 1"
            )
        if self.drawing == "masked" and self.keep_mass is None:
            self.keep_mass = KEEP_MASS
        self._scale = RunningScale(self.rate)
        colours = draw.colour_table("inferno")
        opacity = OPACITY * np.arange(256) / 255
        self._colours = colours
        self._tint = np.round(colours * opacity[:, None]).astype(np.uint8)
        self._rest = np.round(255 * (1 - opacity)).astype(np.uint8)

    def chosen(self, maps):
        """The maps that are drawn, (n, h, w), of those of all heads.

        Raises:
            UserError: There is no such head.
        """
        if self.head == "mean":
            return maps.mean(axis=0, keepdims=True)
        if self.head == "all":
            return maps
        if not isinstance(self.head, int) or not 0 <= self.head < len(maps):
            raise UserError(
                f"head: got {self.head}, allowed: mean, all, 0 to {len(maps) - 1}"
            )
        return maps[self.head : self.head + 1]

    def __call__(self, frame, maps):
        """Draws the next frame.

        Args:
            frame: uint8 (H, W, 3).
            maps: float32 (heads, h, w), not negative.

        Returns:
            uint8 (H', W', 3), both even.
        """
        maps = self.chosen(maps)
        tops = self._scale(maps)
        if self.head == "all":
            shape = tuple(max(2, side // 4 * 2) for side in self.shape)
            frame = cv2.resize(frame, shape[::-1], interpolation=cv2.INTER_AREA)
        pictures = [self._one(frame, *pair) for pair in zip(maps, tops, strict=True)]
        return pictures[0] if self.head != "all" else _grid(pictures)

    def _one(self, frame, attention, top):
        """One map drawn on a frame."""
        mask = None
        if self.keep_mass is not None:
            mask = _smooth_mask(attention, self.keep_mass, frame.shape[:2])
        if self.drawing == "masked":
            left = np.round(255 * (DARK + (1 - DARK) * mask)).astype(np.uint8)
            return _times(frame, left)
        size = frame.shape[1::-1]
        wide = cv2.resize(attention, size, interpolation=cv2.INTER_CUBIC)
        share = np.clip(wide * np.float32(255 / top), 0, 255)
        if mask is not None:
            share *= mask
        share = np.rint(share).astype(np.uint8)
        if self.drawing == "overlay":
            tint = np.take(self._tint, share, axis=0)
            return cv2.add(_times(frame, np.take(self._rest, share)), tint)
        heat = np.take(self._colours, share, axis=0)
        return heat if self.drawing == "map" else np.hstack([frame, heat])


def film_shape(shape):
    """Shape in which a film is written: its own, even, no side above 2048 pixels."""
    scale = min(1.0, LONGEST_SIDE / max(shape))
    return tuple(max(2, round(side * scale / 2) * 2) for side in shape)


def _smooth_mask(attention, keep_mass, shape):
    """float32 (H, W), 1 where the kept mass lies and 0 elsewhere, softened between."""
    rows, columns = attention.shape
    size = (columns * FINER, rows * FINER)
    fine = cv2.resize(attention, size, interpolation=cv2.INTER_CUBIC)
    mask = keep_mass_mask(np.maximum(fine, 0)[None], keep_mass)[0]
    size = shape[::-1]
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)


def _times(frame, share):
    """A frame uint8 (H, W, 3) times shares uint8 (H, W) of 255."""
    return cv2.multiply(frame, cv2.merge([share] * 3), scale=1 / 255)


def _grid(pictures):
    """Pictures of one shape in rows, black where there are none."""
    columns = math.ceil(math.sqrt(len(pictures)))
    empty = np.zeros_like(pictures[0])
    pictures = pictures + [empty] * (-len(pictures) % columns)
    starts = range(0, len(pictures), columns)
    return np.vstack([np.hstack(pictures[i : i + columns]) for i in starts])
