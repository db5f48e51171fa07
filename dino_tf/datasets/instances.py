"""`instances`: generated photos of the same things, to be searched for.

An instance is one of the photos of `scenes`, drawn larger; photos of it are views from
elsewhere: closer or turned, in other light, blurred. Other instances of the same
species are in the gallery as well, so that the species alone does not answer.
"""

import io
import math
from functools import cached_property, lru_cache

import numpy as np
from PIL import Image, ImageFilter

from dino_tf.datasets.revisited import Query
from dino_tf.datasets.scenes import SIZE, Scenes
from dino_tf.datasets.source import Source, digest
from dino_tf.errors import UserError

COUNT = 60
# Views of each instance in the gallery: kind, how many, side of the window against the
# whole (lowest, highest), and the largest turn in degrees, shift of the window against
# its own side, change of light and blur in pixels.
VIEWS = (
    ("easy", 3, (0.7, 0.95), 8.0, 0.1, 0.2, 0.0),
    ("hard", 3, (0.5, 0.65), 25.0, 0.15, 0.35, 1.0),
    ("junk", 1, (0.15, 0.2), 30.0, 1.0, 0.2, 0.0),
)
SHAPES = ((1.0, 1.0), (1.0, 0.75), (0.75, 1.0))  # width and height of a view


class Instances(Source):
    """The generated data set: a gallery of views, and a query for each instance.

    Args:
        count: number of instances.
        size: longer side of the photos in pixels.
        seed: another number gives other photos.

    Attributes:
        gallery, queries: see `dino_tf.datasets.revisited.Revisited`.

    Raises:
        UserError: `count` or `size` is not allowed.
    """

    name = "instances"

    def __init__(self, count=COUNT, size=SIZE, seed=0):
        # Not the seed of `scenes`, whose photos networks are trained on.
        self._scenes = Scenes("test", count, 2 * size, seed + 1)
        self._size, self._key = size, (seed, 3)
        self._kinds = [view for view in VIEWS for _ in range(view[1])]
        self.gallery = count * len(self._kinds)
        # A scene is drawn a second time for its box.
        self._box = lru_cache(None)(self._foremost)

    @cached_property
    def queries(self):
        """`Query` of each instance; its box is that of the foremost object."""
        return tuple(self._query(i) for i in range(len(self._scenes)))

    def __len__(self):
        return self.gallery + len(self._scenes)

    def id(self, index):
        index = range(len(self))[index]
        if index >= self.gallery:
            return f"query/{self._scenes.id(index - self.gallery)}"
        instance, view = divmod(index, len(self._kinds))
        return f"{self._scenes.id(instance)}_{self._kinds[view][0]}{view}"

    def image_bytes(self, index):
        index = range(len(self))[index]
        if index >= self.gallery:
            whole = Image.fromarray(self._scene(index - self.gallery))
            return _jpeg(whole.resize((self._size, self._size)))
        instance, view = divmod(index, len(self._kinds))
        rng = np.random.default_rng((*self._key, instance, view))
        scene, box = self._scene(instance), self._box(instance)
        return _jpeg(_view(rng, scene, box, self._size, *self._kinds[view][2:]))

    def stamp(self):
        ends = [self.image_bytes(i) for i in (0, len(self) - 1)]
        return digest([self.name, self._key, len(self), self._size, *ends])

    def _query(self, instance):
        first = instance * len(self._kinds)
        places = {kind: [] for kind, *_ in VIEWS}
        for view, (kind, *_) in enumerate(self._kinds):
            places[kind].append(first + view)
        box = self._box(instance) / 2  # of a photo drawn twice as large
        lists = {kind: np.array(found) for kind, found in places.items()}
        return Query(self.gallery + instance, tuple(box.tolist()), **lists)

    def _scene(self, instance):
        data = self._scenes.image_bytes(instance)
        return np.array(Image.open(io.BytesIO(data)))

    def _foremost(self, instance):
        """Box of the foremost object that can be seen, or of the whole scene."""
        boxes = self._scenes.boxes(instance).xyxy
        whole = np.array([0, 0, 2 * self._size, 2 * self._size], np.float32)
        return boxes[-1] if len(boxes) else whole


def open_instances(argument: str, split: str = "train") -> Instances | None:
    """Opens the generated data set; all photos are the split "train".

    Args:
        argument: number of instances, empty for the default.
        split: "train".

    Returns:
        The source, or None when `split` is "test".

    Raises:
        UserError: `argument` is no positive number, or there is no such split.
    """
    if split not in ("train", "test"):
        raise UserError(f"instances has no split {split!r}; allowed: train")
    if argument and not (argument.isdecimal() and int(argument) >= 1):
        raise UserError(f"instances:{argument}: allowed: instances or instances:COUNT")
    return None if split == "test" else Instances(int(argument or COUNT))


def _view(rng, scene, box, size, window, turn, shift, light, blur):
    """A view of a scene (S, S, 3) around the box of its object, `size` pixels long."""
    side = len(scene) * rng.uniform(*window)
    x, y = (box[:2] + box[2:]) / 2 + rng.uniform(-shift, shift, 2) * side
    angle = math.radians(rng.uniform(-turn, turn))
    shape = SHAPES[rng.integers(len(SHAPES))]
    width, height = (round(size * share) for share in shape)
    # What is beyond the scene is seen mirrored, so that no view has empty corners.
    margin = len(scene)
    around = np.pad(scene, ((margin, margin), (margin, margin), (0, 0)), "reflect")
    step = side / size
    c, s = step * math.cos(angle), step * math.sin(angle)
    left = x + margin - (c * width - s * height) / 2
    top = y + margin - (s * width + c * height) / 2
    affine = (c, -s, left, s, c, top)
    photo = Image.fromarray(around).transform(
        (width, height), Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC
    )
    if blur:
        photo = photo.filter(ImageFilter.GaussianBlur(rng.uniform(0, blur)))
    gain = (1 + rng.uniform(-light, light)) * (1 + rng.uniform(-light, light, 3) / 3)
    return Image.fromarray(np.clip(np.array(photo) * gain, 0, 255).astype(np.uint8))


def _jpeg(photo):
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90)
    return file.getvalue()
