"""The ten species of `scenes`: outline, texture and marks of each.

Every species is a function of local coordinates: `u` to the right and `v` down, with
the animal or plant hardly larger than the unit circle. It returns

- distance to the outline (negative inside), good enough near it,
- texture in 0..1, which mixes the two colours of a palette,
- marks: (distance, grey) pairs painted on top, such as eyes.

All arrays are float32 of one shape, so that a scene can be drawn at any size.
"""

import math

import numpy as np

TWO_PI = 2 * np.pi


def ellipse(u, v, x, y, a, b, angle=0.0):
    """Distance to an ellipse with centre (x, y) and half axes a, b."""
    u, v = _turn(u - x, v - y, angle)
    return (np.sqrt((u / a) ** 2 + (v / b) ** 2) - 1) * min(a, b)


def capsule(u, v, x0, y0, x1, y1, r):
    """Distance to a thick line from (x0, y0) to (x1, y1)."""
    dx, dy = x1 - x0, y1 - y0
    t = np.clip(((u - x0) * dx + (v - y0) * dy) / (dx * dx + dy * dy), 0, 1)
    return np.hypot(u - x0 - t * dx, v - y0 - t * dy) - r


def convex(u, v, *points):
    """Distance to a convex polygon; points in clockwise order (v points down)."""
    edges = zip(points, points[1:] + points[:1], strict=True)
    lines = []
    for (x0, y0), (x1, y1) in edges:
        length = math.hypot(x1 - x0, y1 - y0)
        lines.append(((u - x0) * (y1 - y0) - (v - y0) * (x1 - x0)) / length)
    return _union(np.maximum, lines)


def wave(x, sharpness=3.0):
    """A stripe pattern in 0..1 with period 1 and edges a few pixels wide."""
    return np.clip(0.5 + 0.5 * sharpness * np.sin(TWO_PI * x), 0, 1)


def dots(u, v, density, radius=0.3, shift=0.5):
    """Round dots in staggered rows; 1 inside a dot."""
    row = np.floor(v * density)
    x = u * density + shift * (row % 2)
    x, y = x - np.floor(x) - 0.5, v * density - row - 0.5
    return np.clip((radius - np.hypot(x, y)) * 8 + 0.5, 0, 1)


def fish(u, v):
    """Oval body with a forked tail and fins; vertical stripes."""
    body = ellipse(u, v, 0.15, 0, 0.72, 0.42)
    upper = convex(u, v, (-0.95, -0.55), (-0.42, -0.02), (-0.42, 0.1), (-0.8, 0.05))
    lower = convex(u, v, (-0.8, -0.05), (-0.42, -0.1), (-0.42, 0.02), (-0.95, 0.55))
    fin = convex(u, v, (-0.2, -0.68), (0.4, -0.3), (-0.15, -0.3))
    eye = ellipse(u, v, 0.58, -0.1, 0.1, 0.1)
    pupil = ellipse(u, v, 0.6, -0.1, 0.05, 0.05)
    texture = wave(2.6 * (u + 0.25 * v * v))
    return _any(body, upper, lower, fin), texture, [(eye, 1.0), (pupil, 0.05)]


def jellyfish(u, v):
    """A bell over waving tentacles; ribs that spread from the top."""
    bell = np.maximum(ellipse(u, v, 0, -0.1, 0.72, 0.78), v - 0.08)
    sway = u + 0.09 * np.sin(7 * v)
    arms = [
        capsule(sway, v, x, 0.0, 1.15 * x, end, 0.065)
        for x, end in ((-0.5, 0.65), (-0.2, 0.9), (0.14, 0.8), (0.46, 0.7))
    ]
    texture = wave(1.3 * np.arctan2(u, 1.05 + v) * 2.4)
    return _any(bell, *arms), texture, []


def butterfly(u, v):
    """Two pairs of wings around a thin dark body; round spots."""
    side = np.abs(u)
    upper = ellipse(side, v, 0.47, -0.3, 0.54, 0.36, -0.7)
    lower = ellipse(side, v, 0.36, 0.4, 0.4, 0.28, 0.75)
    body = ellipse(u, v, 0, 0.05, 0.08, 0.55)
    horn = capsule(side, v, 0.02, -0.4, 0.24, -0.85, 0.03)
    spots = [
        ellipse(side, v, x, y, r, r)
        for x, y, r in ((0.58, -0.42, 0.17), (0.32, -0.12, 0.1), (0.42, 0.45, 0.13))
    ]
    texture = np.clip(0.5 - 12 * _any(*spots), 0, 1)
    return _any(upper, lower, body, horn), texture, [(body, 0.1), (horn, 0.1)]


def flower(u, v):
    """Six round petals with fine rays, and a round centre."""
    r, angle = np.hypot(u, v), np.arctan2(v, u)
    outline = (r - 0.68 - 0.26 * np.cos(6 * angle)) * 0.75
    centre = ellipse(u, v, 0, 0, 0.25, 0.25)
    texture = np.clip(1.9 * r - 0.7 + 0.3 * np.cos(18 * angle), 0, 1)
    return outline, texture, [(centre, 0.95), (centre + 0.13, 0.35)]


def beetle(u, v):
    """A round back with a middle line, large dots, a dark head and six legs."""
    side = np.abs(u)
    back = ellipse(u, v, 0, 0.12, 0.62, 0.7)
    head = ellipse(u, v, 0, -0.66, 0.32, 0.24)
    legs = [
        capsule(side, v, 0.4, y, 0.86, end, 0.05)
        for y, end in ((-0.2, -0.5), (0.15, 0.12), (0.45, 0.72))
    ]
    spots = [
        ellipse(side, v, x, y, 0.14, 0.14)
        for x, y in ((0.3, -0.2), (0.38, 0.2), (0.24, 0.55))
    ]
    texture = np.clip(0.5 - 12 * _any(*spots), 0, 1)
    line = np.maximum(side - 0.03, back)
    limbs = np.maximum(_any(*legs), -back)
    marks = [(head, 0.08), (line, 0.08), (limbs, 0.08)]
    return _any(back, head, *legs), texture, marks


def mushroom(u, v):
    """A wide cap with small dots on a pale stem."""
    cap = np.maximum(ellipse(u, v, 0, 0.05, 0.85, 0.9), v - 0.1)
    stem = capsule(u, v, 0, 0.0, 0, 0.68, 0.22 + 0.06 * np.clip(v, 0, 1))
    texture = dots(u, v + 0.07, 3.4, radius=0.3)
    return _any(cap, stem), texture, [(np.maximum(stem, 0.1 - v), 0.9)]


def cactus(u, v):
    """A column with two raised arms; narrow upright ribs."""
    trunk = capsule(u, v, 0, -0.68, 0, 0.82, 0.25)
    left = _any(
        capsule(u, v, -0.6, 0.2, 0, 0.2, 0.14),
        capsule(u, v, -0.6, -0.25, -0.6, 0.2, 0.14),
    )
    right = _any(
        capsule(u, v, 0, 0.42, 0.58, 0.42, 0.13),
        capsule(u, v, 0.58, -0.1, 0.58, 0.42, 0.13),
    )
    return _any(trunk, left, right), wave(6 * u, 1.5), []


def snail(u, v):
    """A spiral shell on a long foot with two feelers."""
    shell = ellipse(u, v, -0.12, -0.1, 0.62, 0.6)
    foot = np.maximum(ellipse(u, v, -0.05, 0.62, 0.9, 0.32), v - 0.72)
    neck = capsule(u, v, 0.6, 0.6, 0.76, 0.1, 0.14)
    feelers = _any(
        capsule(u, v, 0.7, 0.1, 0.58, -0.3, 0.035),
        capsule(u, v, 0.8, 0.1, 0.92, -0.28, 0.035),
    )
    x, y = u + 0.12, v + 0.1
    texture = wave(4.2 * np.hypot(x, y) - np.arctan2(y, x) / TWO_PI, 2.5)
    skin = np.maximum(_any(foot, neck, feelers), -shell)
    return _any(shell, foot, neck, feelers), texture, [(skin, 0.78)]


def bird(u, v):
    """Body, head, beak and tail from the side; a wing with chevrons."""
    body = ellipse(u, v, -0.02, 0.12, 0.6, 0.38, 0.25)
    head = ellipse(u, v, 0.52, -0.3, 0.27, 0.26)
    beak = convex(u, v, (0.72, -0.4), (1.0, -0.24), (0.7, -0.16))
    tail = convex(u, v, (-0.98, -0.2), (-0.4, -0.08), (-0.3, 0.2), (-0.9, 0.06))
    legs = _any(
        capsule(u, v, -0.05, 0.4, -0.05, 0.85, 0.035),
        capsule(u, v, 0.15, 0.4, 0.15, 0.85, 0.035),
    )
    texture = wave(3.2 * (u + np.abs(v - 0.1 - 0.2 * u)), 2.5)
    eye = ellipse(u, v, 0.58, -0.35, 0.07, 0.07)
    marks = [(beak, 0.85), (np.maximum(legs, -body), 0.15), (eye, 0.02)]
    return _any(body, head, beak, tail, legs), texture, marks


def owl(u, v):
    """An upright egg with ear tufts and two large eyes; rows of scales."""
    side = np.abs(u)
    body = ellipse(u, v, 0, 0.12, 0.6, 0.82)
    ear = convex(side, v, (0.5, -0.95), (0.58, -0.3), (0.12, -0.62))
    row = np.floor(v * 4)
    x = u * 4 + 0.5 * (row % 2)
    x, y = x - np.floor(x) - 0.5, v * 4 - row
    texture = np.clip((y - 0.75 + 1.6 * x * x) * 5 + 0.5, 0, 1)
    eye = ellipse(side, v, 0.25, -0.3, 0.23, 0.23)
    pupil = ellipse(side, v, 0.24, -0.3, 0.11, 0.11)
    beak = convex(u, v, (-0.09, -0.16), (0.09, -0.16), (0.0, 0.06))
    return _any(body, ear), texture, [(eye, 0.95), (pupil, 0.04), (beak, 0.25)]


# Name, function and largest turn in degrees: plants stand, swimmers tilt, others lie.
SPECIES = (
    ("beetle", beetle, 180),
    ("bird", bird, 20),
    ("butterfly", butterfly, 60),
    ("cactus", cactus, 8),
    ("fish", fish, 35),
    ("flower", flower, 180),
    ("jellyfish", jellyfish, 25),
    ("mushroom", mushroom, 12),
    ("owl", owl, 12),
    ("snail", snail, 12),
)


def _turn(u, v, angle):
    if not angle:
        return u, v
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * u + s * v, c * v - s * u


def _any(*distances):
    return _union(np.minimum, distances)


def _union(combine, arrays):
    result = arrays[0]
    for array in arrays[1:]:
        result = combine(result, array)
    return result
