"""A network of two heads that sees brightness, for tasks that compare masks."""

import keras
import numpy as np
import pytest

from dino_tf.datasets.arrays import ArraySource

PATCH = 8


class Brightness(keras.layers.Layer):
    """Head 0 attends to bright patches, head 1 to dark ones; keys tell the two apart.

    CLS comes first and gets nothing.
    """

    patch_size = PATCH
    num_prefix_tokens = 1
    result_names = ("cls", "tokens", "attention", "keys", "queries", "values")
    embed_dim = 2
    calls = 0

    def extract(self, images, names):
        """{"attention": (1, 2, N, N)} or {"keys": (1, N, 2)}."""
        self.calls += 1
        (name,) = names
        grey = keras.ops.mean(images, axis=-1, keepdims=True)
        bright = keras.ops.average_pool(grey, PATCH, PATCH) > 0
        bright = keras.ops.reshape(keras.ops.cast(bright, "float32"), (1, -1))
        both = keras.ops.stack([bright, 1 - bright], axis=1)
        if name == "keys":
            keys = keras.ops.transpose(both, (0, 2, 1))
            return {"keys": keras.ops.pad(keys, ((0, 0), (1, 0), (0, 0)))}
        both = both / keras.ops.maximum(keras.ops.sum(both, -1, keepdims=True), 1)
        both = keras.ops.pad(both, ((0, 0), (0, 0), (1, 0)))
        count = keras.ops.shape(both)[-1]
        return {"attention": keras.ops.repeat(both[:, :, None], count, axis=2)}


@pytest.fixture
def brightness():
    """A network whose heads see bright and dark patches."""
    return Brightness()


@pytest.fixture
def squares():
    """Four photos of 32 x 40 pixels with a bright square of two by two patches.

    Masks: photo 0 the square; photo 1 the square and, as a second object, as much of
    the dark; photo 2 nothing; photo 3 none.
    """
    images = np.full((4, 32, 40, 3), 5, np.uint8)
    images[:, 8:24, 16:32] = 250
    square = np.zeros((32, 40), np.uint8)
    square[8:24, 16:32] = 1
    both = square.copy()
    both[:16, :16] = 2
    masks = [square, np.minimum(both, 1), np.zeros_like(square), None]
    objects = [square, both, np.zeros_like(square), None]
    return ArraySource(images, masks=masks, objects=objects, name="squares")
