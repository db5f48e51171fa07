"""`scenes`: a generated data set for machines that can download nothing.

A photo shows one to three members of one of ten species before one of five habitats,
partly hidden by each other and by twigs. All objects of a photo share the species, so
its label is well defined. Species differ in outline and texture; colours come from
palettes that several species share, and a species is only more often than not found
in its habitat, so neither colour nor background gives the label away.

A photo is a function of (seed, split, index) and is drawn when it is asked for.
"""

import io

import numpy as np
from PIL import Image

from dino_tf.datasets.scene_drawing import draw_scene
from dino_tf.datasets.source import Boxes, Source, digest
from dino_tf.datasets.species import SPECIES
from dino_tf.errors import UserError

SIZE = 96  # pixels per side
TRAIN_COUNT = 2000
TEST_COUNT = 1000
KEPT_BYTES = 2**28  # of drawn photos in memory
DIFFICULT_VISIBLE = 0.5  # an object of which less can be seen counts as difficult
_SPLITS = ("train", "test")


class Scenes(Source):
    """The generated data set.

    Args:
        split: "train" or "test"; they share no photo.
        count: number of photos, a tenth of them of each species.
        size: pixels per side. The same scene is drawn at any size.
        seed: another number gives other photos.

    Raises:
        UserError: `split`, `count` or `size` is not allowed.
    """

    class_names = tuple(name for name, _, _ in SPECIES)

    def __init__(self, split="train", count=None, size=SIZE, seed=0):
        if split not in _SPLITS:
            raise UserError(f"scenes has no split {split!r}; allowed: train, test")
        if count is None:
            count = TRAIN_COUNT if split == "train" else TEST_COUNT
        if count < 1 or size < 16:
            raise UserError(
                f"scenes got count {count}, size {size}; allowed: from 1, from 16"
            )
        self.name = f"scenes/{split}"
        self.size = size
        self._count = count
        self._key = (seed, _SPLITS.index(split))
        self._files = {}

    def __len__(self):
        return self._count

    def id(self, index):
        return f"{self.class_names[self._species(index)]}_{index:05d}"

    def image_bytes(self, index):
        """A BMP file: exact, and the cheapest to write and to read.

        The first photos are kept, up to `KEPT_BYTES`, so that later epochs need not
        draw them again.
        """
        if index in self._files:
            return self._files[index]
        file = io.BytesIO()
        Image.fromarray(self._draw(index)[0]).save(file, "BMP")
        data = file.getvalue()
        if (len(self._files) + 1) * len(data) <= KEPT_BYTES:
            self._files[index] = data
        return data

    def stamp(self):
        return digest(
            [self.name, self.size, self._key, self._count, self.image_bytes(0)]
        )

    def labels(self, index):
        return (self._species(index),)

    def boxes(self, index):
        """Boxes around what can be seen of each object."""
        _, instances, painted = self._draw(index)
        boxes, difficult = [], []
        for number, pixels in enumerate(painted):
            seen = instances == number
            visible = seen.sum()
            if not visible:
                continue
            rows, columns = np.nonzero(seen.any(1))[0], np.nonzero(seen.any(0))[0]
            boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
            difficult.append(visible < DIFFICULT_VISIBLE * pixels)
        return Boxes.of(boxes, [self._species(index)] * len(boxes), difficult)

    def mask(self, index):
        instances = self._draw(index)[1]
        return np.where(instances >= 0, 1 + self._species(index), 0).astype(np.uint8)

    def objects(self, index):
        """Instance mask, from back to front; what twigs hide is background."""
        return (self._draw(index)[1] + 1).astype(np.uint8)

    def _species(self, index):
        """Every block of ten photos shows each species once."""
        block, place = divmod(range(self._count)[index], len(SPECIES))
        rng = np.random.default_rng((*self._key, 0, block))
        return int(rng.permutation(len(SPECIES))[place])

    def _draw(self, index):
        rng = np.random.default_rng((*self._key, 1, range(self._count)[index]))
        return draw_scene(rng, self._species(index), self.size)


def open_scenes(argument: str, split: str = "train") -> Scenes:
    """Opens the generated data set.

    Args:
        argument: number of training photos, empty for the default. The test split
            has a quarter of that number.
        split: "train" or "test".

    Raises:
        UserError: `argument` is no positive number, or there is no such split.
    """
    if not argument:
        return Scenes(split)
    if not argument.isdecimal() or int(argument) < 1:
        raise UserError(f"scenes:{argument} is not of the form scenes or scenes:COUNT")
    count = int(argument)
    return Scenes(split, count if split == "train" else max(count // 4, 1))
