"""The film contract: a source whose photos are the frames of films, with masks."""

import bisect
from dataclasses import dataclass

import numpy as np

from dino_tf.datasets.source import Source

# Shorter side in pixels at which results on DAVIS are published.
SHORT_SIDE = 480
VOID = 255


@dataclass(frozen=True)
class Film:
    """One film of a source.

    Args:
        name: Unique, safe as the name of a folder.
        start: Place of its first frame in the source.
        stop: Place behind its last frame.
        stems: Name of each frame's file, without the extension.
    """

    name: str
    start: int
    stop: int
    stems: tuple[str, ...]

    def __len__(self):
        return self.stop - self.start


@dataclass(frozen=True)
class Palette:
    """How masks of a film are written as PNG files with a palette.

    Args:
        colours: uint8 (256, 3), of each number.
        object_number: The number of the one object, where that is not 1: 255 in
            masks that are black and white.
    """

    colours: np.ndarray
    object_number: int | None = None

    def numbers(self, objects):
        """uint8 (H, W) as it is written, of objects counted from 1."""
        if self.object_number is None:
            return objects
        return np.where(objects > 0, np.uint8(self.object_number), np.uint8(0))


class FilmSource(Source):
    """Frames of films, film after film, without labels.

    `objects` of a frame are numbered alike in all frames of its film.

    Attributes:
        films: Tuple of `Film`, in the order of their frames.
        short_side: Shorter side in pixels at which masks are to be propagated.
        absent: Names of films that belong to the split and have no frames here.
    """

    class_names = ("object",)
    films: tuple[Film, ...] = ()
    short_side = SHORT_SIDE
    absent: tuple[str, ...] = ()

    def __len__(self):
        return self.films[-1].stop if self.films else 0

    def film_of(self, index):
        """The `Film` that a frame belongs to."""
        place = bisect.bisect_right(self.films, index, key=lambda film: film.start)
        return self.films[place - 1]

    def id(self, index):
        index = range(len(self))[index]
        film = self.film_of(index)
        return f"{film.name}/{film.stems[index - film.start]}"

    def mask(self, index):
        objects = self.objects(index)
        if objects is None:
            return None
        return np.where(objects == VOID, VOID, objects > 0).astype(np.uint8)

    def palette(self, film):
        """`Palette` of a `Film`."""
        return Palette(voc_colours())

    def about(self):
        words = [self._about(film) for film in self.films]
        absent = [f"{name}: no frames here" for name in self.absent]
        return [f"{len(words)} films", *words, *absent]

    def _about(self, film):
        found = [self.objects(index) for index in range(film.start, film.stop)]
        annotated = sum(one is not None for one in found)
        count = 0 if found[0] is None else len(object_numbers(found[0]))
        return (
            f"{film.name}: {len(film)} frames, {annotated} annotated, objects in the "
            f"first: {count}"
        )


def object_numbers(objects):
    """Rising numbers of the objects of a mask, without background and void."""
    numbers = np.unique(objects)
    return [int(n) for n in numbers if n not in (0, VOID)]


def voc_colours():
    """uint8 (256, 3): the palette of PASCAL VOC, which DAVIS' first colours are.

    Three bits of a number at a time, the lowest first, are the highest bits not yet
    set of red, green and blue.

    Reference:
        VOCdevkit, VOClabelcolormap.m.
    """
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for digit in range(3):
        for channel in range(3):
            bit = numbers >> (3 * digit + channel) & 1
            colours[:, channel] |= (bit << (7 - digit)).astype(np.uint8)
    return colours
