"""Photos of one hue each and a network that sees nothing else.

The hue is an angle in degrees from red to green, so that the cosine of two features is
that of the difference of two angles.
"""

import keras
import numpy as np
from PIL import Image

from dino_tf.evaluate.subject import Subject

PATCH = 4


class Hues:
    """CLS is the mean colour, and so is the token of each patch."""

    patch_size = PATCH
    num_prefix_tokens = 1
    result_names = ("cls", "tokens")

    def grid_of(self, size):
        """(h, w) patches."""
        if size[0] % PATCH or size[1] % PATCH:
            raise ValueError(f"{size} is no multiple of {PATCH}")
        return size[0] // PATCH, size[1] // PATCH

    def extract(self, images, names):
        """{"cls": (B, 3)}, {"tokens": (B, 1 + h * w, 3)}."""
        cls = keras.ops.mean(images, axis=(1, 2))
        pooled = keras.ops.average_pool(images, PATCH, PATCH)
        patches = keras.ops.reshape(pooled, (keras.ops.shape(images)[0], -1, 3))
        tokens = keras.ops.concatenate([cls[:, None], patches], axis=1)
        return {name: {"cls": cls, "tokens": tokens}[name] for name in names}


def subject(**options):
    """A `Subject` that compares colours as they are."""
    return Subject(Hues(), (0, 0, 0), (1, 1, 1), size=8, **options)


def write_hue(path, angle, size=(8, 8)):
    """Writes a PNG file of one hue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = [np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle)), 0]
    colour = tuple(np.round(255 * np.array(colour)).astype(int).tolist())
    Image.new("RGB", size, colour).save(path, "PNG")
