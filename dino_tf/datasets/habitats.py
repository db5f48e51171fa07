"""The five habitats of `scenes`: textured backgrounds, drawn at any size.

Each function takes a generator and a size S and returns float32 (S, S, 3) in 0..1.
Random numbers do not depend on S, so one scene looks the same at every size.
"""

import functools

import numpy as np


def noise(rng, rows, columns, size):
    """Smooth random field (S, S) in about -1..1 with so many cells per side."""
    grid = rng.uniform(-1, 1, (rows + 1, columns + 1)).astype(np.float32)
    return _weights(rows, size) @ grid @ _weights(columns, size).T


def meadow(rng, size):
    """Grass that grows upwards, brighter towards the horizon."""
    y = _down(size)
    bend = noise(rng, 3, 3, size)
    blades = noise(rng, 7, 34, size) * (0.4 + 0.6 * y)
    tone = _mix((150, 178, 84), (48, 104, 44), np.clip(y + 0.25 * bend, 0, 1))
    return tone * (1 + 0.38 * blades)[..., None]


def sea(rng, size):
    """Light from above, folded into bright nets that fade with depth."""
    y = _down(size)
    net = 1 - np.abs(noise(rng, 9, 7, size) + 0.5 * noise(rng, 16, 14, size))
    light = np.clip(net, 0, 1) ** 5 * (1 - 0.6 * y)
    haze = 0.3 * noise(rng, 3, 4, size)
    tone = _mix((92, 178, 186), (18, 66, 118), np.clip(y + haze, 0, 1))
    return tone + 0.3 * light[..., None]


def desert(rng, size):
    """Sand ripples that narrow towards the horizon."""
    y = _down(size)
    warp = noise(rng, 3, 3, size)
    ripple = np.sin(34 * np.sqrt(0.15 + y) + 3.2 * warp)
    grain = noise(rng, 48, 48, size)
    tone = _mix((226, 190, 132), (178, 122, 74), np.clip(y + 0.3 * warp, 0, 1))
    return tone * (1 + 0.11 * ripple + 0.07 * grain)[..., None]


def forest(rng, size):
    """Dark trunks before leaves with spots of light."""
    leaves = noise(rng, 19, 23, size) + 0.8 * noise(rng, 9, 8, size)
    tone = _mix((22, 48, 34), (104, 136, 66), np.clip(0.45 + 0.5 * leaves, 0, 1))
    lean = 0.15 * noise(rng, 2, 2, size)
    trunks = np.clip(4 * (_across(rng, 11, size, lean) - 0.15), 0, 1)[..., None]
    bark = _mix((38, 30, 24), (82, 62, 44), 0.5 + 0.5 * noise(rng, 6, 44, size))
    return tone * (1 - trunks) + bark * trunks


def dusk(rng, size):
    """An evening sky with long clouds."""
    y = _down(size)
    cloud = noise(rng, 7, 3, size) + 0.5 * noise(rng, 15, 6, size)
    shade = np.clip(1.4 * cloud, 0, 1)[..., None]
    tone = _mix((64, 66, 126), (226, 142, 108), np.clip(y + 0.1 * cloud, 0, 1))
    return tone * (1 - 0.55 * shade) + 0.55 * shade * _mix(
        (110, 92, 140), (246, 206, 172), y
    )


HABITATS = (
    ("desert", desert),
    ("dusk", dusk),
    ("forest", forest),
    ("meadow", meadow),
    ("sea", sea),
)


def _across(rng, cells, size, lean):
    """A random profile from left to right, shifted by `lean` (S, S)."""
    profile = rng.uniform(-1, 1, cells + 1).astype(np.float32)
    x = np.linspace(0, cells, size, dtype=np.float32)[None] + cells * lean
    return np.interp(x, np.arange(cells + 1), profile).astype(np.float32)


@functools.lru_cache(maxsize=64)
def _down(size):
    return np.repeat(_centres(size)[:, None], size, 1)


@functools.lru_cache(maxsize=64)
def _weights(cells, size):
    """Smoothstep interpolation matrix (S, cells + 1)."""
    at = _centres(size) * cells
    left = np.minimum(at.astype(int), cells - 1)
    share = at - left
    share = share * share * (3 - 2 * share)
    weights = np.zeros((size, cells + 1), np.float32)
    weights[np.arange(size), left] = 1 - share
    weights[np.arange(size), left + 1] = share
    return weights


@functools.lru_cache(maxsize=64)
def _centres(size):
    return (np.arange(size, dtype=np.float32) + 0.5) / size


def _mix(first, second, share):
    """Colours between two given as 0..255 for a share (S, S) of the second."""
    first = np.asarray(first, np.float32) / 255
    second = np.asarray(second, np.float32) / 255
    return first + share[..., None] * (second - first)
