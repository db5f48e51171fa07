"""What the last block makes of the patches of images of any size."""

import math
from collections import Counter

import tensorflow as tf

from dino_tf.errors import UserError
from dino_tf.evaluate.features import compiled

# Tracing takes as long as three batches run eagerly, or eight photos run one by one
# (ViT-Ti/16, two cores).
WORTH_A_TRACE, WORTH_ONE_FOR_ALL = 3, 8
# Heads x N x N numbers of attention that one photo may have: 4 GB in float32.
MOST_NUMBERS = 1 << 30


class PatchPass:
    """Forward passes that give keys, tokens and attention of the patches alone.

    A ViT with a table of positions is traced once for all sizes, as soon as many
    photos are expected; others need a trace for each size, which pays only once it
    came up a few times.

    Args:
        backbone: has `extract(images, names)`, `patch_size`, `num_prefix_tokens`.
        names: of "keys", "tokens", "attention" and "cls".
    """

    def __init__(self, backbone, names):
        self.backbone, self.names = backbone, tuple(names)
        self._seen, self._compiled = Counter(), {}
        self._any_size = None

    @property
    def most_patches(self):
        """Most patches of one photo."""
        return math.isqrt(MOST_NUMBERS // getattr(self.backbone, "num_heads", 1))

    def expect(self, count):
        """Tells that `count` photos, of whatever sizes, are about to come."""
        if count >= WORTH_ONE_FOR_ALL and self._any_size is None:
            self._any_size = self._one_for_all()

    def __call__(self, images):
        """Results without prefix tokens.

        Args:
            images: float32 (B, H, W, 3), normalised; the patch divides H and W.

        Returns:
            {"keys", "tokens": float32 (B, h * w, D), "attention": float32 (B, heads,
            h, w), that of CLS, "cls": float32 (B, D)}, those asked for, as NumPy
            arrays.

        Raises:
            UserError: The images have more patches than memory is likely to hold.
        """
        images = tf.convert_to_tensor(images, tf.float32)
        shape = tuple(images.shape[1:])
        self._check_patches(*shape[:2])
        found = {n: v.numpy() for n, v in self._pass_of(shape)(images).items()}
        if "attention" in found:
            maps, patch = found["attention"], self.backbone.patch_size
            grid = (shape[0] // patch, shape[1] // patch)
            found["attention"] = maps.reshape(*maps.shape[:2], *grid)
        return found

    def _check_patches(self, height, width):
        """Memory grows with the square of the patches; it ends without a word."""
        patch, most = self.backbone.patch_size, self.most_patches
        patches = (height // patch) * (width // patch)
        if patches > most:
            side = math.isqrt(most) * patch
            raise UserError(
                f"a photo has {width} x {height} pixels, {patches:,} patches of "
                f"{patch}; allowed for this network: {most:,}, such as {side} x {side} "
                "pixels"
            )

    def _pass_of(self, shape):
        if self._any_size:
            return self._any_size
        self._seen[shape] += 1
        if self._seen[shape] == WORTH_A_TRACE:
            signature = tf.TensorSpec((None, *shape), tf.float32)
            self._compiled[shape] = compiled(self._extract, signature)
        return self._compiled.get(shape, self._extract)

    def _one_for_all(self):
        """The same for every size, or None for networks that cannot be traced so."""
        backbone = self.backbone
        if not hasattr(backbone, "extract_from") or backbone.rope_periods is not None:
            return None
        tokens = tf.TensorSpec((None, None, backbone.embed_dim), tf.float32)

        def rest(tokens):
            return self._patches_alone(backbone.extract_from(tokens, list(self.names)))

        rest = compiled(rest, tokens)
        return lambda images: rest(backbone.embed(images))

    def _extract(self, images):
        return self._patches_alone(self.backbone.extract(images, list(self.names)))

    def _patches_alone(self, found):
        """Without prefix tokens, and of the attention that of CLS alone."""
        prefix = self.backbone.num_prefix_tokens
        cut = {
            "keys": lambda keys: keys[:, prefix:],
            "tokens": lambda tokens: tokens[:, prefix:],
            "attention": lambda attention: attention[:, :, 0, prefix:],
            "cls": lambda cls: cls,
        }
        return {n: tf.cast(cut[n](v), tf.float32) for n, v in found.items()}
