"""One frame of a film of `films`: members of `SPECIES` that move through a habitat."""

from dataclasses import dataclass

import numpy as np

from dino_tf.datasets.habitats import HABITATS
from dino_tf.datasets.scene_drawing import (
    COLOUR_CHANGE,
    PALETTE_STEPS,
    PALETTES,
    TWIG_COLOURS,
    Pose,
    choose_light,
    draw_object,
    draw_pebbles,
    draw_twigs,
    expose,
)
from dino_tf.datasets.species import SPECIES

OBJECT_COUNTS = (0.4, 0.35, 0.25)  # odds of one, two, three objects
RADIUS = (0.16, 0.24)  # share of the frame's width
GROWTH = 0.2  # largest change of the radius over the film
TURN = 0.6  # largest turn over the film, in radians
BOW = 0.08  # how far paths bend, in shares of the width
FLICKER = 0.12  # largest change of a frame's brightness
# Centres of objects, in shares of the width, within the middle three quarters of it.
LEFT, RIGHT, TOP, BOTTOM = 0.18, 0.82, 0.28, 0.72
BAND = 0.75  # height of a frame against its width


@dataclass(frozen=True)
class Actor:
    """An object of a film: its looks, and its way from the first frame to the last.

    Args:
        species: Index into `SPECIES`.
        colours: float32 (2, 3), 0 to 1.
        start: `Pose` in the first frame.
        end: (x, y), centre in the last frame.
        bow: How far the way bends, down or up.
        growth: Change of the radius over the film.
        turn: Of the angle over the film, in radians.
    """

    species: int
    colours: np.ndarray
    start: Pose
    end: tuple[float, float]
    bow: float
    growth: float
    turn: float

    def pose(self, when):
        """`Pose` at a time from 0, the first frame, to 1, the last one."""
        first, (x, y) = self.start, self.end
        bend = self.bow * float(np.sin(np.pi * when))
        return Pose(
            first.x + when * (x - first.x),
            first.y + when * (y - first.y) + bend,
            first.radius * (1 + when * self.growth),
            first.angle + when * self.turn,
            first.flip,
            first.stretch,
        )


def plan_film(rng):
    """What does not change in a film, from a random generator.

    Returns:
        (habitat's index into `HABITATS`, light, list of `Actor` from back to front).
    """
    count = 1 + rng.choice(len(OBJECT_COUNTS), p=OBJECT_COUNTS)
    kinds = rng.choice(len(SPECIES), count, replace=False)
    return (
        int(rng.integers(len(HABITATS))),
        choose_light(rng),
        [
            _actor(rng, int(species), place / count)
            for place, species in enumerate(kinds)
        ],
    )


def _actor(rng, species, lane):
    """An object whose way begins in its own part of the frame's width."""
    palette = PALETTES[(species + rng.choice(PALETTE_STEPS)) % len(PALETTES)]
    colours = np.array(palette) / 255 + rng.normal(0, COLOUR_CHANGE, (2, 3))
    low = LEFT + (RIGHT - LEFT) * lane
    x, y = rng.uniform((low, TOP), (min(low + 0.3, RIGHT), BOTTOM)).tolist()
    end = rng.uniform((LEFT, TOP), (RIGHT, BOTTOM)).tolist()
    most = np.deg2rad(SPECIES[species][2])
    start = Pose(
        x,
        y,
        float(rng.uniform(*RADIUS)),
        float(rng.uniform(-most, most)),
        bool(rng.random() < 0.5),
        1.0,
    )
    bow, growth, turn = rng.uniform(-1, 1, 3) * (BOW, GROWTH, TURN)
    return Actor(
        species,
        colours.astype(np.float32),
        start,
        tuple(end),
        float(bow),
        float(growth),
        float(turn),
    )


def draw_frame(seed, frame, count, size):
    """Draws one frame.

    Args:
        seed: Sequence of integers that tells the film.
        frame: Its place in the film, from 0.
        count: Frames of the film.
        size: Width W in pixels; the height is `BAND` of it.

    Returns:
        image uint8 (H, W, 3); objects uint8 (H, W), 0 background, 1, 2, ... objects
        from back to front, as far as they are seen.
    """
    habitat, light, actors = plan_film(np.random.default_rng((*seed, 0)))
    image = HABITATS[habitat][1](np.random.default_rng((*seed, 1)), size)
    image = image.astype(np.float32)
    draw_pebbles(np.random.default_rng((*seed, 2)), image)
    instances = np.full((size, size), -1, np.int8)
    when = frame / max(count - 1, 1)
    for number, actor in enumerate(actors):
        window, solid = draw_object(
            image, actor.species, actor.pose(when), actor.colours
        )
        instances[window][solid] = number
    colour = TWIG_COLOURS[HABITATS[habitat][0]]
    draw_twigs(np.random.default_rng((*seed, 3)), image, instances, colour)
    flicker = np.random.default_rng((*seed, 4, frame)).uniform(1 - FLICKER, 1 + FLICKER)
    image = expose(image, np.float32(light[0] * flicker), *light[1:])
    height = round(BAND * size)
    rows = slice((size - height) // 2, (size - height) // 2 + height)
    return image[rows], (instances[rows] + 1).astype(np.uint8)
