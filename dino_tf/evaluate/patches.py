"""Keys and attention of the patches of photos at their own size."""

from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
import tensorflow as tf

from dino_tf.transforms.image import normalize, try_decode

# Tracing takes as long as three batches run eagerly, or eight photos run one by one
# (ViT-Ti/16, two cores).
WORTH_A_TRACE, WORTH_ONE_FOR_ALL = 3, 8
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
        image: uint8 (H, W, 3); None where it cannot be read.
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
    on the right and below. A ViT with a table of positions is traced once for all
    sizes; others need a trace for each, which pays only once it came up a few times.

    Args:
        backbone: has `extract(images, names)`, `patch_size`, `num_prefix_tokens`.
        names: of "keys" and "attention".
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue, as in training.

    Reference:
        valeoai/LOST, main_lost.py (the padding).
    """

    def __init__(self, backbone, names, mean, std):
        self.backbone, self.names, self.patch_size = (
            backbone,
            names,
            backbone.patch_size,
        )
        self._mean, self._std = mean, std
        self._seen, self._compiled = Counter(), {}
        self._any_size = None

    def photos(self, source, indices):
        """`Photo` of each index, not in order; unreadable ones without anything found.

        Photos wait for others of their grid until there are enough for a batch.
        """
        if len(indices) >= WORTH_ONE_FOR_ALL and self._any_size is None:
            self._any_size = self._one_for_all()
        with ThreadPoolExecutor() as readers, ThreadPoolExecutor(AT_ONCE) as passes:
            read = ahead(readers, partial(_read, source), map(int, indices), AHEAD)
            # While one batch computes, another is put together.
            for batch in ahead(passes, self.extract, self._batches(read), AT_ONCE):
                yield from batch

    def _batches(self, photos):
        """Lists of photos of one grid; unreadable ones come alone."""
        waiting, count = {}, 0
        for photo in photos:
            if photo.image is None:
                yield [photo]
                continue
            grid = photo.grid(self.patch_size)
            waiting.setdefault(grid, []).append(photo)
            count += 1
            if len(waiting[grid]) < self._most_at_once(grid):
                if count < WAITING:
                    continue
                grid = max(waiting, key=lambda shape: len(waiting[shape]))
            batch = waiting.pop(grid)
            count -= len(batch)
            yield batch
        yield from waiting.values()

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
        found = self._forward(images, grid)
        for place, photo in enumerate(photos):
            photo.found = {name: values[place] for name, values in found.items()}
        return photos

    def _forward(self, images, grid):
        found = {n: v.numpy() for n, v in self._pass_of(grid)(images).items()}
        if "attention" in found:
            maps = found["attention"]
            found["attention"] = maps.reshape(*maps.shape[:2], *grid)
        return found

    def _pass_of(self, grid):
        """Function from images (B, H, W, 3) of a grid to {name: tensor}."""
        if self._any_size:
            return self._any_size
        self._seen[grid] += 1
        if self._seen[grid] == WORTH_A_TRACE:
            shape = (None, *(self.patch_size * side for side in grid), 3)
            shape = tf.TensorSpec(shape, tf.float32)
            self._compiled[grid] = _traced(self._extract, shape)
        return self._compiled.get(grid, self._extract)

    def _one_for_all(self):
        """The same for every grid, or None for networks that cannot be traced so."""
        backbone = self.backbone
        if not hasattr(backbone, "extract_from") or backbone.rope_periods is not None:
            return None
        tokens = tf.TensorSpec((None, None, backbone.embed_dim), tf.float32)

        def rest(tokens):
            return self._patches_alone(backbone.extract_from(tokens, list(self.names)))

        rest = _traced(rest, tokens)
        return lambda images: rest(backbone.embed(images))

    def _extract(self, images):
        return self._patches_alone(self.backbone.extract(images, list(self.names)))

    def _patches_alone(self, found):
        """Without prefix tokens, and of the attention that of CLS alone."""
        prefix = self.backbone.num_prefix_tokens
        cut = {
            "keys": lambda keys: keys[:, prefix:],
            "attention": lambda attention: attention[:, :, 0, prefix:],
        }
        return {n: tf.cast(cut[n](v), tf.float32) for n, v in found.items()}

    def _most_at_once(self, grid):
        heads = getattr(self.backbone, "num_heads", 1)
        attention = heads * (grid[0] * grid[1]) ** 2
        return min(max(MOST_ATTENTION // attention, 1), MOST_AT_ONCE)


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


def decode_exactly(data):
    """uint8 array (H, W, 3) of an image file; None where it cannot be read.

    JPEG files are decoded to the same pixels as by Pillow. TensorFlow's default is a
    faster transform, a grey level off: one box in eight is then another.
    """
    if extension_of(data) != "jpg":
        return try_decode(lambda: data)[0]
    try:
        with tf.device("CPU:0"):
            image = tf.io.decode_jpeg(data, 3, dct_method="INTEGER_ACCURATE")
    except tf.errors.OpError:
        return None
    return image.numpy()


def _read(source, index):
    try:
        data = source.image_bytes(index)
    except OSError:
        return Photo(index, None)
    return Photo(index, decode_exactly(data), extension_of(data))


def ahead(threads, function, items, count=AHEAD):
    """`function` of each item, in order; `count` of them are worked on meanwhile."""
    items = iter(items)
    pending = deque(threads.submit(function, item) for item in islice(items, count))
    while pending:
        yield pending.popleft().result()
        pending.extend(threads.submit(function, item) for item in islice(items, 1))


def _traced(function, argument):
    # Nothing in a network here branches on values, and autograph takes its time.
    return tf.function(function, input_signature=[argument], autograph=False)
