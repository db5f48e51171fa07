"""What the last block gives for photos, one after the other."""

import numpy as np

from dino_tf.evaluate.patch_pass import WORTH_ONE_FOR_ALL, PatchPass
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, normalize


class LastBlock:
    """Keys, or the attention of CLS, of many photos of any size.

    Args:
        backbone: has `extract`, `patch_size` and `num_prefix_tokens`.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue in 0 to 1, as in training.
    """

    def __init__(self, backbone, mean=IMAGENET_MEAN, std=IMAGENET_STD):
        self.patch_size = backbone.patch_size
        self._statistics = mean, std
        self._forward = {n: PatchPass(backbone, (n,)) for n in ("attention", "keys")}
        for forward in self._forward.values():
            forward.expect(WORTH_ONE_FOR_ALL)

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
        return self._forward[name](pixels)[name][0]
