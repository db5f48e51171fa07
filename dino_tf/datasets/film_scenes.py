"""`films`: short generated films with masks, for machines that can download nothing.

One to three members of different species of `scenes` move through a habitat, turn, grow
or shrink, pass before each other and behind twigs, in a light that flickers. A frame is
a function of (seed, split, film, frame) and is drawn when it is asked for.
"""

import io

from PIL import Image

from dino_tf.datasets.film import Film, FilmSource
from dino_tf.datasets.film_drawing import BAND, draw_frame
from dino_tf.datasets.source import digest
from dino_tf.errors import UserError

WIDTH = 128  # pixels
FRAMES = 16
TRAIN_COUNT = 40
TEST_COUNT = 8
KEPT_BYTES = 2**26  # of drawn frames in memory
_SPLITS = ("train", "test")


class FilmScenes(FilmSource):
    """The generated films.

    Args:
        split: "train" or "test"; they share no film.
        count: Number of films.
        frames: Number of frames of each.
        width: Pixels; the height is three quarters of it.
        seed: Another number gives other films.

    Raises:
        UserError: `split`, `count`, `frames` or `width` is not allowed.
    """

    def __init__(self, split="train", count=None, frames=FRAMES, width=WIDTH, seed=0):
        if split not in _SPLITS:
            raise UserError(f"films has no split {split!r}; allowed: train, test")
        if count is None:
            count = TRAIN_COUNT if split == "train" else TEST_COUNT
        if count < 1 or frames < 1 or width < 16:
            raise UserError(
                f"films got count {count}, frames {frames}, width {width}; allowed: "
                "from 1, from 1, from 16"
            )
        self.name, self.width, self._frames = f"films/{split}", width, frames
        self.short_side = round(BAND * width)
        stems = tuple(f"{frame:05d}" for frame in range(frames))
        self.films = tuple(
            Film(f"film_{number:03d}", number * frames, (number + 1) * frames, stems)
            for number in range(count)
        )
        # Photos of `scenes` begin with (seed, split), too: 2 keeps the two apart.
        self._key = (seed, _SPLITS.index(split), 2)
        self._kept = {}

    def image_bytes(self, index):
        """A BMP file: exact, and the cheapest to write and to read."""
        file = io.BytesIO()
        Image.fromarray(self._draw(index)[0]).save(file, "BMP")
        return file.getvalue()

    def stamp(self):
        facts = (self.name, self.width, self._frames, self._key, len(self))
        return digest([*facts, self.image_bytes(0), self.objects(0).tobytes()])

    def objects(self, index):
        return self._draw(index)[1]

    def _draw(self, index):
        """(image, objects) of a frame; the first ones are kept."""
        index = range(len(self))[index]
        if index not in self._kept:
            film, frame = divmod(index, self._frames)
            drawn = draw_frame((*self._key, film), frame, self._frames, self.width)
            if len(self._kept) * 4 * drawn[1].size > KEPT_BYTES:
                return drawn
            self._kept[index] = drawn
        return self._kept[index]


def open_films(argument: str, split: str = "train") -> FilmScenes:
    """Opens the generated films.

    Args:
        argument: Number of training films, empty for the default. The test split has
            a fifth of that number.
        split: "train" or "test".

    Raises:
        UserError: `argument` is no positive number, or there is no such split.
    """
    if not argument:
        return FilmScenes(split)
    if not argument.isdecimal() or int(argument) < 1:
        raise UserError(f"films:{argument} is not of the form films or films:COUNT")
    count = int(argument)
    return FilmScenes(split, count if split == "train" else max(count // 5, 1))
