"""One photo of `scenes`, from a random generator, a species and a size."""

from dataclasses import dataclass

import numpy as np

from dino_tf.datasets.habitats import HABITATS
from dino_tf.datasets.species import SPECIES, capsule, ellipse

HABITAT_FIDELITY = 0.75  # how often a species is seen in its own habitat
OBJECT_COUNTS = (0.6, 0.3, 0.1)  # odds of one, two, three objects
MAIN_RADIUS = (0.36, 0.48)  # share of the photo's side
OTHER_RADIUS = (0.55, 0.9)  # share of the main object's radius
SHADOW = 0.18  # width of the soft shadow in radii
OUTLINE_REACH = 1.3  # radii from a centre to the end of outline and shadow
FREE_GAP = 0.4  # distance of two centres against the sum of their radii
STRETCH = 0.12  # largest change of an object's width against its height
COLOUR_CHANGE = 0.08  # standard deviation of each object's colours
EXPOSURE = 0.3  # largest change of a photo's brightness
CONTRAST = 0.5  # largest change of a photo's contrast
SATURATION = 0.5  # largest change of a photo's saturation
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green, blue
PEBBLES = 5  # most small things of no class behind the objects
TWIGS = 2  # most twigs before the objects
# Twigs: foot from left to right, length, half width, brightness; lowest, highest.
TWIG_RANGES = ((0.0, 0.2, 0.012, 0.75), (1.0, 0.6, 0.028, 1.15))

# Two colours each; an object of species number i wears one of the palettes i + step
# (modulo 8) for a step of PALETTE_STEPS, so every palette is shared by several species.
PALETTES = (
    ((232, 96, 70), (255, 226, 178)),
    ((244, 180, 54), (120, 58, 36)),
    ((52, 156, 158), (232, 240, 214)),
    ((116, 84, 170), (238, 190, 220)),
    ((222, 110, 150), (110, 34, 74)),
    ((74, 108, 170), (240, 214, 130)),
    ((146, 170, 62), (52, 66, 44)),
    ((186, 122, 78), (246, 232, 208)),
)
PALETTE_STEPS = (0, 1, 3)
OWN_HABITAT = {
    "beetle": "forest",
    "bird": "dusk",
    "butterfly": "meadow",
    "cactus": "desert",
    "fish": "sea",
    "flower": "meadow",
    "jellyfish": "sea",
    "mushroom": "forest",
    "owl": "dusk",
    "snail": "desert",
}
TWIG_COLOURS = {
    "desert": (122, 86, 52),
    "dusk": (50, 38, 66),
    "forest": (56, 44, 30),
    "meadow": (46, 92, 40),
    "sea": (20, 84, 78),
}
_HABITAT_NAMES = tuple(name for name, _ in HABITATS)


@dataclass(frozen=True)
class Pose:
    """Where an object is: centre, radius in shares of the side; angle in radians."""

    x: float
    y: float
    radius: float
    angle: float
    flip: bool
    stretch: float


def draw_scene(rng: np.random.Generator, species: int, size: int):
    """Draws one scene.

    Args:
        rng: source of every random choice; the choices do not depend on `size`.
        species: index into `SPECIES`.
        size: side S in pixels.

    Returns:
        image uint8 (S, S, 3); number of the object seen at each pixel, int8 (S, S),
        -1 for none; and the pixels each object covered before others hid it.
    """
    habitat = _choose_habitat(rng, species)
    light = choose_light(rng)
    poses = _place_objects(rng, SPECIES[species][2])
    image = HABITATS[habitat][1](rng, size).astype(np.float32)
    draw_pebbles(rng, image)
    instances = np.full((size, size), -1, np.int8)
    painted = []
    for number, pose in enumerate(poses):
        palette = PALETTES[(species + rng.choice(PALETTE_STEPS)) % len(PALETTES)]
        colours = np.array(palette) / 255 + rng.normal(0, COLOUR_CHANGE, (2, 3))
        window, solid = draw_object(image, species, pose, colours.astype(np.float32))
        instances[window][solid] = number
        painted.append(int(solid.sum()))
    draw_twigs(rng, image, instances, TWIG_COLOURS[_HABITAT_NAMES[habitat]])
    return expose(image, *light), instances, painted


def choose_light(rng):
    """Factors of a photo's brightness, contrast and saturation."""
    strengths = np.array([EXPOSURE, CONTRAST, SATURATION])
    return (1 + rng.uniform(-strengths, strengths)).astype(np.float32)


def expose(image, exposure, contrast, saturation):
    """Photo uint8 of a scene in 0..1."""
    grey = (image @ GREY)[..., None]
    image = grey + (image - grey) * saturation
    middle = image.mean(dtype=np.float32)
    image = middle + (image - middle) * contrast
    return np.clip(image * (255 * exposure), 0, 255).astype(np.uint8)


def _choose_habitat(rng, species):
    own = _HABITAT_NAMES.index(OWN_HABITAT[SPECIES[species][0]])
    other = (own + rng.integers(1, len(HABITATS))) % len(HABITATS)
    return int(own if rng.random() < HABITAT_FIDELITY else other)


def _place_objects(rng, max_turn) -> list[Pose]:
    """Poses from back to front; the main object comes last, so it is in front."""
    count = 1 + rng.choice(len(OBJECT_COUNTS), p=OBJECT_COUNTS)
    radius = rng.uniform(*MAIN_RADIUS)
    x, y = rng.uniform(0.3, 0.7, 2)
    poses = [_pose(rng, x, y, radius, max_turn)]
    for _ in range(count - 1):
        other = radius * rng.uniform(*OTHER_RADIUS)
        tries = rng.uniform(0.08, 0.92, (8, 2))
        gaps = [
            min(np.hypot(p.x - tx, p.y - ty) / (p.radius + other) for p in poses)
            for tx, ty in tries
        ]
        # The first place, not the best one: some overlap is welcome.
        best = next(
            (i for i, gap in enumerate(gaps) if gap > FREE_GAP), np.argmax(gaps)
        )
        poses.append(_pose(rng, *tries[best], other, max_turn))
    return poses[::-1]


def _pose(rng, x, y, radius, max_turn):
    angle = np.deg2rad(rng.uniform(-max_turn, max_turn))
    stretch = 1 + rng.uniform(-STRETCH, STRETCH)
    flip = bool(rng.random() < 0.5)
    # Python floats: a NumPy scalar would turn every float32 array into float64.
    return Pose(float(x), float(y), float(radius), float(angle), flip, float(stretch))


def draw_object(image, species, pose, colours):
    """Paints one object; returns the window it lies in and its solid pixels."""
    size = len(image)
    reach = OUTLINE_REACH * pose.radius * max(pose.stretch, 1 / pose.stretch)
    window, x, y = _window(size, pose.x, pose.y, reach)
    c, s = np.float32(np.cos(pose.angle)), np.float32(np.sin(pose.angle))
    u = (c * x + s * y) / np.float32(pose.radius * pose.stretch)
    v = (c * y - s * x) / np.float32(pose.radius / pose.stretch)
    if pose.flip:
        u = -u
    outline, texture, marks = SPECIES[species][1](u, v)
    pixels = pose.radius * size  # per unit of distance
    colour = colours[0] + texture[..., None] * (colours[1] - colours[0])
    for distance, grey in marks:
        cover = np.clip(0.5 - distance * pixels, 0, 1)[..., None]
        colour += cover * (np.float32(grey) * (0.75 + 0.25 * colours[1]) - colour)
    colour *= _light(outline, x, y, pose.radius)[..., None]
    target = image[window]
    cover = np.clip(0.5 - outline * pixels, 0, 1)
    target *= (1 - 0.4 * np.clip(1 - outline / SHADOW, 0, 1) ** 2)[..., None]
    target += cover[..., None] * (colour - target)
    return window, cover > 0.5


def _light(outline, x, y, radius):
    """Light from the upper left, a round edge and a dark rim."""
    side = 1.06 - (0.16 * x + 0.22 * y) / np.float32(radius)
    rim = np.clip(1 + outline / 0.13, 0, 1)
    return side * (1 - 0.5 * rim * rim)


def _window(size, x, y, reach):
    """Slices of the pixels within `reach`, and their offsets from (x, y)."""
    ranges, offsets = [], []
    for centre in (y, x):
        low = int(np.clip((centre - reach) * size, 0, size - 1))
        high = int(np.clip((centre + reach) * size + 1, low + 1, size))
        ranges.append(slice(low, high))
        offsets.append((np.arange(low, high, dtype=np.float32) + 0.5) / size - centre)
    dy, dx = (offset.astype(np.float32) for offset in offsets)
    dx, dy = np.broadcast_arrays(dx[None], dy[:, None])
    return tuple(ranges), dx, dy


def draw_pebbles(rng, image):
    """Paints small things of no class onto a square image."""
    size = len(image)
    for _ in range(rng.integers(0, PEBBLES + 1)):
        x, y = rng.uniform(0.02, 0.98, 2).tolist()
        a, b = rng.uniform(0.025, 0.06, 2).tolist()
        colour = np.array(PALETTES[rng.integers(len(PALETTES))][rng.integers(2)]) / 255
        angle = rng.uniform(0, np.pi)
        window, dx, dy = _window(size, x, y, 0.08)
        outline = ellipse(dx, dy, 0, 0, a, b, angle)
        shade = 0.85 * _light(outline / b, dx, dy, 2 * b)[..., None]
        cover = np.clip(0.5 - outline * size, 0, 1)[..., None]
        image[window] += cover * (shade * colour.astype(np.float32) - image[window])


def draw_twigs(rng, image, instances, colour):
    """Twigs that grow in from below or from a side and hide parts of the objects."""
    size = len(image)
    for _ in range(rng.integers(0, TWIGS + 1)):
        x, length, width, tone = rng.uniform(*TWIG_RANGES).tolist()
        slope = float(rng.normal(0, 0.3))
        reach = max(length, abs(slope * length)) + width
        window, dx, dy = _window(size, x, 1.0, reach)
        outline = capsule(dx, dy, 0, 0, slope * length, -length, width)
        outline = outline - np.float32(0.6 * width) * dy / length
        cover = np.clip(0.5 - outline * size, 0, 1)
        paint = np.array(colour, np.float32) * (tone / 255)
        image[window] += cover[..., None] * (paint - image[window])
        instances[window][cover > 0.5] = -1
