"""Pillow's antialiased filters on arrays, many crops of one photo at a time.

Either direction of a resize is a product with a banded matrix. Bands are cut into
blocks of four outputs, each with the few rows it reads, so that the products are
dense, small enough to stay in the cache, and done in one call for all blocks.
"""

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np

# Outputs in a block: more of them multiply more zeros, fewer load more numbers.
_OUTPUTS = 4
# Products up to this many multiplications are not split among threads by OpenBLAS,
# whose threads would wait for each other, as every photo has a thread already.
_LARGEST_PRODUCT = 2**18


@dataclass(frozen=True)
class Filter:
    """One direction of a resize from n to m pixels, as blocks.

    Attributes:
        weights: float32 (k, M, T): block by block, output by output, tap by tap.
        step: Pixels between the first taps of two blocks.
        before: Pixels that the first block reads before the first one (times 0).
        after: Pixels that the last block reads after the last one (times 0).
        places: int64 (m,), where each output lies in the k * M that blocks give.
    """

    weights: np.ndarray
    step: int
    before: int
    after: int
    places: np.ndarray


def _triangle(x):
    return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x):
    x, a = np.abs(x), -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


# Each curve, and how many pixels it reaches to either side.
_KERNELS = {"bilinear": (_triangle, 1.0), "bicubic": (_cubic, 2.0)}


# One takes some 20 kB, and ten times as long to make as to use.
@functools.lru_cache(maxsize=2048)
def make_filter(length, wanted, kernel="bicubic"):
    """The `Filter` from `length` to `wanted` pixels.

    Args:
        length: n, pixels there are.
        wanted: m, pixels asked for.
        kernel: "bicubic" or "bilinear"; stretched where pixels become fewer.

    Reference:
        Pillow, `Image.resize`: src/libImaging/Resample.c, `precompute_coeffs`; what
        lies beyond the border is cut off and the rest scaled to sum 1.
    """
    curve, reach = _KERNELS[kernel]
    scale = length / wanted
    stretch = max(scale, 1.0)
    centers = (np.arange(wanted) + 0.5) * scale
    first = np.maximum(np.floor(centers - reach * stretch + 0.5), 0).astype(int)
    end = np.minimum(np.floor(centers + reach * stretch + 0.5), length).astype(int)
    step = max(int(_OUTPUTS * scale), 1)
    blocks = (centers / step).astype(int)
    within = np.arange(wanted) - np.searchsorted(blocks, blocks)
    before = int(max(np.max(blocks * step - first), 0))
    taps = int(np.max(end - blocks * step)) + before
    pixels = np.arange(taps) + (blocks * step - before)[:, None]
    values = curve((pixels + 0.5 - centers[:, None]) / stretch)
    values *= (pixels >= first[:, None]) & (pixels < end[:, None])
    values /= values.sum(axis=1, keepdims=True)
    count, most = int(blocks[-1]) + 1, int(within.max()) + 1
    weights = np.zeros((count, most, taps), np.float32)
    weights[blocks, within] = values
    after = max((count - 1) * step - before + taps - length, 0)
    return Filter(weights, step, before, after, blocks * most + within)


class Resampler:
    """Resized crops of one photo.

    Args:
        photo: uint8 or float32 (H, W, 3), 0..255.
        boxes: Boxes (top, left, height, width) that will be asked for, in pixels.
        sizes: Side S of the outcome, for each box.
        kernel: "bicubic" or "bilinear".

    Reference:
        Pillow, `Image.resize`, but for its rounding to 8 bits between the directions.
    """

    def __init__(self, photo, boxes, sizes, kernel="bicubic"):
        rows, columns, channels = photo.shape
        self._crops = [
            (box, make_filter(box[2], size, kernel), make_filter(box[3], size, kernel))
            for box, size in zip(boxes, sizes, strict=True)
        ]
        self._before = max(down.before for _, down, _ in self._crops)
        after = max(down.after for _, down, _ in self._crops)
        # One row more, as the last column of products may reach past its own.
        height = self._before + rows + after + 1
        self._pixels = np.empty((height, columns * channels), np.float32)
        self._pixels[: self._before] = 0.0
        self._pixels[self._before + rows :] = 0.0
        inside = self._pixels[self._before : self._before + rows]
        inside.reshape(photo.shape)[...] = photo

    def crop(self, index, flip=False):
        """One crop, resized, clipped to 0..255 and rounded.

        Args:
            index: Place of its box in `boxes`.
            flip: Whether left and right are exchanged.

        Returns:
            uint8 (S, S, 3).
        """
        (top, left, height, width), down, across = self._crops[index]
        start = self._before + top - down.before
        # Down first: whole rows lie next to each other in memory. Columns come out as
        # rows, so that the second direction finds the same.
        columns = _first_products(down, self._pixels, (start, left, width), across)
        lines = _products(across, columns, columns.shape[1])
        places = across.places[::-1] if flip else across.places
        eight = cv2.add(lines, 0.0, dtype=cv2.CV_8U).take(places, axis=0)
        size, rows = len(places), columns.shape[1] // 3
        turned = cv2.transpose(eight[:, : 3 * rows].reshape(3 * size, rows))
        return turned.take(down.places, axis=0).reshape(-1, size, 3)


def _first_products(filter, pixels, place, across):
    """All blocks of a filter times rows of pixels, turned by a quarter.

    Args:
        filter: `Filter` of the rows.
        pixels: float32 (rows, 3 * columns).
        place: First row, first column and number of columns to take.
        across: `Filter` that will be used on the outcome.

    Returns:
        float32 (before + width + after or more, 3 * k * M), what `across` reads: a line
        for each column of pixels, in it all outputs of red, then of green and blue.
    """
    (start, left, width), (count, most, taps) = place, filter.weights.shape
    parts, part = _parts(filter, 3 * width, 3)
    outputs, reached = count * most, parts * part // 3
    total = across.before + max(width + across.after, reached) + 1
    result = np.empty((total, 3 * outputs), np.float32)
    result[: across.before] = 0.0
    result[across.before + reached :] = 0.0
    row, item = pixels.strides
    windows = np.ndarray(
        (count, parts, part, taps),
        np.float32,
        pixels,
        start * row + 3 * left * item,
        (filter.step * row, part * item, item, row),
    )
    out = np.ndarray(
        (count, parts, part, most),
        np.float32,
        result,
        across.before * result.strides[0],
        (most * item, part * outputs * item, outputs * item, item),
    )
    np.matmul(windows, filter.weights.transpose(0, 2, 1)[:, None], out=out)
    return result


def _products(filter, lines, length):
    """All blocks of a filter times lines: float32 (k * M, `length` or a bit more)."""
    count, most, taps = filter.weights.shape
    parts, part = _parts(filter, length, 1)
    line, item = lines.strides
    windows = np.ndarray(
        (count, parts, taps, part),
        np.float32,
        lines,
        0,
        (filter.step * line, part * item, line, item),
    )
    result = np.empty((count, most, parts, part), np.float32)
    np.matmul(filter.weights[:, None], windows, out=result.transpose(0, 2, 1, 3))
    return result.reshape(count * most, parts * part)


def _parts(filter, length, unit):
    """Into how many parts, and of what length, the other side of products is cut.

    The length is a multiple of `unit`, so that all parts may reach over the end.
    """
    _, most, taps = filter.weights.shape
    parts = math.ceil(length / max(_LARGEST_PRODUCT // (most * taps), unit))
    return parts, math.ceil(length / parts / unit) * unit
