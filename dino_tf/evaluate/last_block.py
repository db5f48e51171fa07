"""What the last block gives for photos of any size."""

from collections import Counter

import numpy as np
import tensorflow as tf

from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, normalize

# Tracing takes as long as about six photos run eagerly (ViT-Ti/16, two cores).
WORTH_A_TRACE = 6


class LastBlock:
    """Keys, or the attention of CLS, of one photo after the other.

    Every shape needs a trace of its own, which pays only once a shape has come up a
    few times.

    Args:
        backbone: has `extract`, `patch_size` and `num_prefix_tokens`.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue in 0 to 1, as in training.
    """

    def __init__(self, backbone, mean=IMAGENET_MEAN, std=IMAGENET_STD):
        self.patch_size = backbone.patch_size
        self._prefix = backbone.num_prefix_tokens
        self._backbone, self._statistics = backbone, (mean, std)
        self._seen, self._compiled = Counter(), {}

    def attention(self, image):
        """What each head's CLS gives to the patches.

        Args:
            image: uint8 (H, W, 3); what does not fill a patch at its right and lower
                edge is left out.

        Returns:
            float32 (heads, h, w).
        """
        return self._run("attention", image)

    def keys(self, image):
        """Keys of the patches, float32 (h * w, D); of an image as in `attention`."""
        return self._run("keys", image)

    def grid(self, image):
        """(h, w) whole patches of an image (H, W, 3)."""
        return tuple(side // self.patch_size for side in np.shape(image)[:2])

    def _run(self, name, image):
        rows, columns = (side * self.patch_size for side in self.grid(image))
        pixels = normalize(image[:rows, :columns], *self._statistics)[None]
        key = (name, rows, columns)
        self._seen[key] += 1
        forward = {"attention": self._attention, "keys": self._keys}[name]
        if self._seen[key] == WORTH_A_TRACE:
            self._compiled[key] = tf.function(forward)
        found = self._compiled.get(key, forward)(pixels)
        found = tf.cast(found, tf.float32).numpy()
        return found.reshape(-1, *self.grid(image)) if name == "attention" else found

    def _attention(self, pixels):
        found = self._backbone.extract(pixels, ["attention"])["attention"]
        return found[0, :, 0, self._prefix :]

    def _keys(self, pixels):
        return self._backbone.extract(pixels, ["keys"])["keys"][0, self._prefix :]
