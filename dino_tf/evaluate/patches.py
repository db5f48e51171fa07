"""Keys and attention of the patches of photos at their own size."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np

from dino_tf.evaluate.patch_pass import PatchPass
from dino_tf.transforms.image import normalize, try_decode

MOST_AT_ONCE = 16
# So many numbers of attention, heads x N x N of each photo, at once: 128 MB.
MOST_ATTENTION = 1 << 25
# Photos read ahead, decoded ones that wait for others of their shape, and batches in
# the network.
AHEAD, WAITING, AT_ONCE = 32, 96, 2


@dataclass
class Photo:
    """A photo and what the last block makes of its patches.

    Attributes:
        index: place in the source.
        image: uint8 (H, W, 3); None where it cannot be read or has more patches than
            memory is likely to hold.
        extension: of its format, such as "jpg"; empty where unknown.
        found: {"keys": float32 (h * w, D), "attention": float32 (heads, h, w), that of
            CLS}, those asked for.
    """

    index: int
    image: np.ndarray | None
    extension: str = ""
    found: dict = field(default_factory=dict)

    def grid(self, patch_size):
        """(h, w) patches, those at the right and lower edge filled up with zeros."""
        height, width = self.image.shape[:2]
        return -(-height // patch_size), -(-width // patch_size)


class PatchReader:
    """Forward passes over photos of any size; equal shapes go together.

    Photos keep their size. After normalisation zeros fill them up to whole patches,
    on the right and below.

    Args:
        backbone: has `extract(images, names)`, `patch_size`, `num_prefix_tokens`.
        names: of "keys" and "attention".
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue, as in training.

    Reference:
        valeoai/LOST, main_lost.py (the padding).
    """

    def __init__(self, backbone, names, mean, std):
        self.backbone, self.patch_size = backbone, backbone.patch_size
        self._mean, self._std = mean, std
        self._forward = PatchPass(backbone, names)

    def photos(self, source, indices):
        """`Photo` of each index, not in order; unreadable ones without anything found.

        Photos wait for others of their grid until there are enough for a batch.
        """
        self._forward.expect(len(indices))
        with ThreadPoolExecutor() as readers, ThreadPoolExecutor(AT_ONCE) as passes:
            read = ahead(readers, partial(_read, source), map(int, indices), AHEAD)
            # While one batch computes, another is put together.
            for batch in ahead(passes, self.extract, self._batches(read), AT_ONCE):
                yield from batch

    def _batches(self, photos):
        """Lists of photos of one grid; unreadable ones come alone."""

        def grid_of(photo):
            if photo.image is None:
                return None
            grid = photo.grid(self.patch_size)
            if grid[0] * grid[1] > self._forward.most_patches:
                photo.image = None
                return None
            return grid

        def most(grid):
            return most_at_once(self.backbone, grid[0] * grid[1])

        return alike(photos, grid_of, most, WAITING)

    def extract(self, photos):
        """The same photos, of one grid, with `found` filled in if they were read."""
        if photos[0].image is None:
            return photos
        patch, grid = self.patch_size, photos[0].grid(self.patch_size)
        images = np.zeros(
            (len(photos), grid[0] * patch, grid[1] * patch, 3), np.float32
        )
        for image, photo in zip(images, photos, strict=True):
            height, width = photo.image.shape[:2]
            image[:height, :width] = normalize(photo.image, self._mean, self._std)
        found = self._forward(images)
        for place, photo in enumerate(photos):
            photo.found = {name: values[place] for name, values in found.items()}
        return photos


def most_at_once(backbone, patches):
    """Photos of so many patches that go through a network together."""
    attention = getattr(backbone, "num_heads", 1) * max(patches, 1) ** 2
    return min(max(MOST_ATTENTION // attention, 1), MOST_AT_ONCE)


def alike(items, shape_of, most, waiting):
    """Yields lists of items of one shape.

    Args:
        items: What comes one by one.
        shape_of: Function of an item; one of which it gives None comes alone.
        most: Function of a shape, the items of a list.
        waiting: So many items wait for others of their shape; then the longest list
            goes as it is.
    """
    groups, count = {}, 0
    for item in items:
        shape = shape_of(item)
        if shape is None:
            yield [item]
            continue
        groups.setdefault(shape, []).append(item)
        count += 1
        if len(groups[shape]) < most(shape):
            if count < waiting:
                continue
            shape = max(groups, key=lambda one: len(groups[one]))
        group = groups.pop(shape)
        count -= len(group)
        yield group
    yield from groups.values()


def extension_of(data):
    """Extension of an image file by its first bytes, such as "jpg"; "" if unknown."""
    starts = {
        b"\xff\xd8": "jpg",
        b"\x89PNG": "png",
        b"GIF8": "gif",
        b"BM": "bmp",
        b"RIFF": "webp",
    }
    return next((name for start, name in starts.items() if data.startswith(start)), "")


def _read(source, index):
    try:
        data = source.image_bytes(index)
    except OSError:
        return Photo(index, None)
    return Photo(index, try_decode(lambda: data)[0], extension_of(data))


def ahead(threads, function, items, count=AHEAD):
    """`function` of each item, in order; `count` of them are worked on meanwhile."""
    items = iter(items)
    pending = deque(threads.submit(function, item) for item in islice(items, count))
    while pending:
        yield pending.popleft().result()
        pending.extend(threads.submit(function, item) for item in islice(items, 1))
