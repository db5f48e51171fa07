"""Object discovery: does one box, found without labels, hit an object?"""

from collections import Counter
from functools import partial

import tensorflow as tf

from dino_tf.analysis.boxes import corloc
from dino_tf.analysis.lost import lost
from dino_tf.errors import UserError
from dino_tf.transforms.image import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    normalize,
    try_decode,
)

# Tracing takes as long as about six photos run eagerly (ViT-Ti/16, two cores).
WORTH_A_TRACE = 6


def evaluate_lost(
    backbone, source, indices=None, k=100, mean=IMAGENET_MEAN, std=IMAGENET_STD
):
    """CorLoc of LOST: share of photos whose one box overlaps an object by half.

    Photos keep their own size and are looked at one by one.

    Args:
        backbone: has `extract(images, ["keys"])`, `patch_size`, `num_prefix_tokens`.
        source: photos with boxes; those without any are left out, difficult objects
            count.
        indices: places in the source; None takes all.
        k: patches that may join the seed; see `dino_tf.analysis.lost`.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue, as in training.

    Returns:
        {"discovery/lost_corloc": percentage}.

    Raises:
        UserError: no photo has boxes, or a photo cannot be read.

    Reference:
        valeoai/LOST, main_lost.py.
    """
    places = range(len(source)) if indices is None else indices
    keys_of, found, truth = KeyReader(backbone), [], []
    for index in map(int, places):
        boxes = source.boxes(index)
        if boxes is None or not len(boxes.xyxy):
            continue
        image = _read(source, index)
        found.append(lost_box(keys_of, normalize(image, mean, std), k))
        truth.append(boxes.xyxy)
    if not found:
        raise UserError(f"{source.name!r} has no boxes; CorLoc needs photos with boxes")
    return {"discovery/lost_corloc": corloc(found, truth)}


class KeyReader:
    """Keys of the last block for photos of any size, compiled for frequent shapes.

    Every shape needs a trace of its own, which pays only once a shape has come up a
    few times.

    Args:
        backbone: see `evaluate_lost`.
    """

    def __init__(self, backbone):
        self.patch_size = backbone.patch_size
        self._extract = lambda images: backbone.extract(images, ["keys"])["keys"]
        self._prefix = backbone.num_prefix_tokens
        self._seen, self._compiled = Counter(), {}

    def __call__(self, image):
        """Keys float32 (N, D) of the patches of one image (H, W, 3)."""
        shape = tuple(image.shape)
        self._seen[shape] += 1
        if self._seen[shape] == WORTH_A_TRACE:
            self._compiled[shape] = tf.function(self._extract)
        keys = self._compiled.get(shape, self._extract)(image[None])
        return tf.cast(keys[0, self._prefix :], tf.float32).numpy()


def lost_box(keys_of, image, k=100):
    """Box of the one object that LOST finds.

    Args:
        keys_of: a `KeyReader`.
        image: float (H, W, 3), normalised; any size.
        k: see `dino_tf.analysis.lost`.

    Returns:
        int64 (4,), xmin, ymin, xmax, ymax in pixels.
    """
    patch = keys_of.patch_size
    height, width = image.shape[:2]
    # Zeros after normalisation, that is the mean colour, as the published program pads.
    padded = tf.pad(image, [[0, -height % patch], [0, -width % patch], [0, 0]])
    grid = (padded.shape[0] // patch, padded.shape[1] // patch)
    return lost(keys_of(padded), grid, patch, (height, width), k).box


def _read(source, index):
    """uint8 array (H, W, 3)."""
    image, reason = try_decode(partial(source.image_bytes, index))
    if image is None:
        raise UserError(
            f"photo {source.id(index)!r} of {source.name!r} cannot be read; allowed: "
            "whole JPEG, PNG, GIF, BMP or WebP files"
        )
    return image
