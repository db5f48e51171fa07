"""Patch tokens of many photos, each squeezed into one square."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import tensorflow as tf

from dino_tf.errors import UserError
from dino_tf.evaluate.features import compiled, passes
from dino_tf.evaluate.subject import Subject
from dino_tf.transforms.image import normalize, resize, try_decode

# Of tokens in 16 bits that are kept together; for a moment there are two copies.
MOST_BYTES = 1 << 30


@dataclass
class PatchTokens:
    """Patch tokens of photos, batch by batch.

    Args:
        subject: see `Subject`.
        source: photos.
        places: int64 (N,), places in the source.
        size: side of the square in pixels.

    Attributes:
        grid: (h, w) patches.
    """

    subject: Subject
    source: object
    places: np.ndarray
    size: int

    def __post_init__(self):
        try:
            self.grid = self.subject.backbone.grid_of((self.size, self.size))
        except ValueError as error:
            raise UserError(f"size: got {self.size}; {error}") from error

    @property
    def fits(self):
        """Whether the tokens of all photos, in 16 bits, fit into `MOST_BYTES`."""
        patches = self.grid[0] * self.grid[1]
        width = self.subject.backbone.embed_dim
        return 2 * len(self.places) * patches * width <= MOST_BYTES

    def batches(self):
        """Yields (places int64 (b,), tokens float16 (b, h * w, D)) of readable photos.

        Kept for later where all of them fit into `MOST_BYTES`.
        """
        if not self.fits:
            yield from self._computed()
            return
        depends = self.subject.depends(self.source, size=self.size, places=self.places)
        kept = self.subject.store.arrays("patch_tokens", depends, self._all)
        step = self.subject.batch_size
        for start in range(0, len(kept["index"]), step):
            rows = slice(start, start + step)
            yield kept["index"][rows], kept["tokens"][rows]

    def _all(self):
        parts = list(self._computed())
        if not parts:
            raise UserError(f"no photo of {self.source.name!r} can be read")
        index, tokens = zip(*parts, strict=True)
        return {"index": np.concatenate(index), "tokens": np.concatenate(tokens)}

    def _computed(self):
        backbone = self.subject.backbone

        def forward(images):
            tokens = backbone.extract(images, ["tokens"])["tokens"]
            tokens = tokens[:, backbone.num_prefix_tokens :]
            return {"tokens": tf.cast(tokens, tf.float16)}

        bar = self.subject.progress(len(self.places), f"tokens of {self.source.name}")
        for batch, found in passes(compiled(forward), self.squares()):
            tokens = found["tokens"]
            if not np.isfinite(tokens).all():
                raise UserError(
                    f"patch tokens of {self.source.name!r} are not finite in 16 bits; "
                    "allowed: weights that give finite tokens"
                )
            bar.add(len(tokens))
            yield batch["index"].numpy(), tokens

    def squares(self):
        """Dataset of batches {"image", "index"} of the photos that can be read.

        Images are float32 (b, S, S, 3), normalised.
        """

        def read(place):
            image, _ = try_decode(partial(self.source.image_bytes, int(place)))
            return (np.zeros((0, 0, 3), np.uint8) if image is None else image), place

        def load(place):
            image, place = tf.numpy_function(
                read, [place], (tf.uint8, tf.int64), stateful=False
            )
            return tf.ensure_shape(place, ()), tf.ensure_shape(image, (None, None, 3))

        def prepare(place, image):
            square = resize(image, (self.size, self.size))
            pixels = normalize(square, self.subject.mean, self.subject.std)
            return {"image": pixels, "index": place}

        dataset = tf.data.Dataset.from_tensor_slices(self.places.astype(np.int64))
        dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)
        dataset = dataset.filter(lambda _, image: tf.size(image) > 0)
        dataset = dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        return dataset.batch(self.subject.batch_size).prefetch(1)
