"""Masks of the first frame of a film, carried through the film by patch features."""

import collections
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from dino_tf.analysis.propagation import label_map, propagate_labels, unit_vectors
from dino_tf.datasets.film import object_numbers
from dino_tf.errors import UserError
from dino_tf.evaluate.masked import read_photo
from dino_tf.evaluate.patch_pass import PatchPass
from dino_tf.evaluate.patches import ahead
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, normalize

# The published program divides by these where its networks were trained with
# IMAGENET_STD; pixels are to be the same.
PUBLISHED_STD = (0.228, 0.224, 0.225)
# The longer side is rounded down to a multiple of so many pixels, or patches where
# these are no whole patches.
UNIT, UNIT_PATCHES = 64, 4
# Frames read ahead, and those in the network while masks are made.
READ_AHEAD, PASS_AHEAD = 4, 2


@dataclass(frozen=True)
class Propagation:
    """How labels are propagated; the defaults are the published ones.

    Args:
        size: Shorter side of the frames that the network sees, in pixels.
        memory: Last frames that are looked at besides the first one.
        neighbourhood: Patches that a patch looks up, down, left and right in each of
            them; 0 is all.
        topk: Most similar patches that a patch takes its label from.
        temperature: Of the weights of these.

    Raises:
        UserError: A number is out of range.
    """

    size: int = 480
    memory: int = 7
    neighbourhood: int = 12
    topk: int = 5
    temperature: float = 0.1

    def __post_init__(self):
        for name, least in (("memory", 0), ("neighbourhood", 0), ("topk", 1)):
            if getattr(self, name) < least:
                raise UserError(
                    f"{name}: got {getattr(self, name)}, allowed: from {least}"
                )
        if not 0 < self.temperature < np.inf:
            raise UserError(f"temperature: got {self.temperature}, allowed: above 0")


class Propagator:
    """Carries masks through films with the features of one network.

    Args:
        backbone: Has `extract(images, ["tokens"])`, `grid_of`, `patch_size` and
            `num_prefix_tokens`.
        settings: `Propagation`.
        mean: Of red, green, blue in 0 to 1, as in training.
        std: Of red, green, blue in 0 to 1, as in training; those of ImageNet are
            replaced by `PUBLISHED_STD`.

    Reference:
        facebookresearch/dino, eval_video_segmentation.py.
    """

    def __init__(self, backbone, settings, mean=IMAGENET_MEAN, std=IMAGENET_STD):
        self.backbone, self.settings = backbone, settings
        same = np.allclose(std, IMAGENET_STD, atol=1e-6)
        self._statistics = mean, (PUBLISHED_STD if same else std)
        self._forward = PatchPass(backbone, ("tokens",))

    def masks(self, source, film, image):
        """Masks of a film from that of its first frame.

        All frames are brought to the shape that the first one has for the network. A
        frame that cannot be read has the mask of the frame before, and nobody looks
        at it. At most a few frames are held at once, however long the film is.

        Args:
            source: `FilmSource`.
            film: One of its films, whose first frame has a mask.
            image: Its first frame, uint8 (H, W, 3).

        Yields:
            (place in the source, mask, whether the frame could be read) of each frame
            after the first. Masks are uint8 (H, W) in the frame's own size, with the
            numbers of the first one.

        Raises:
            UserError: Features are not finite, or frames do not fit the network.
        """
        shape = self.network_shape(image.shape[:2])
        last = source.objects(film.start)
        numbers, labels = self._first_labels(last, shape)
        known = [(self._features(image, shape), labels)]
        memory = collections.deque(maxlen=self.settings.memory)
        for place, own, features in self._read(source, film, shape):
            if features is not None:
                labels = self._propagated(features, [*known, *memory])
                memory.append((features, labels))
                found = numbers[label_map(labels, self.backbone.patch_size)]
                last = resize_nearest(found, own)
            yield place, last, features is not None

    def network_shape(self, shape):
        """(height, width) in which the network sees frames of a shape.

        Raises:
            UserError: The size that is asked for is too small for the patches, or the
                network takes no such shape.
        """
        size, patch = self.settings.size, self.backbone.patch_size
        found = network_shape(shape, size, patch)
        try:
            if hasattr(self.backbone, "grid_of"):
                self.backbone.grid_of(found)
        except ValueError as error:
            raise UserError(f"size: got {size}; {error}") from error
        return found

    def expect(self, frames):
        """Tells that so many frames are about to come; see `PatchPass.expect`."""
        self._forward.expect(frames)

    def _propagated(self, features, known):
        frames, labels = zip(*known, strict=True)
        settings = self.settings
        return propagate_labels(
            features,
            frames,
            labels,
            settings.neighbourhood,
            settings.topk,
            settings.temperature,
        )

    def _first_labels(self, objects, shape):
        """(uint8 (C,) numbers, float32 (h, w, C) shares) of the first frame."""
        numbers = np.array([0, *object_numbers(objects)], np.uint8)
        grid = tuple(side // self.backbone.patch_size for side in shape)
        small = resize_nearest(objects, grid)
        # Void is background, as in the benchmark.
        small = np.where(np.isin(small, numbers), small, 0)
        return numbers, (small[..., None] == numbers).astype(np.float32)

    def _read(self, source, film, shape):
        """(place, own shape, features) of each frame after the first, None if bad."""

        def look(found):
            place, image = found
            if image is None:
                return place, None, None
            return place, image.shape[:2], self._features(image, shape)

        def read(place):
            return place, read_photo(source, place)

        places = range(film.start + 1, film.stop)
        with ThreadPoolExecutor(2) as readers, ThreadPoolExecutor(1) as passes:
            frames = ahead(readers, read, places, READ_AHEAD)
            yield from ahead(passes, look, frames, PASS_AHEAD)

    def _features(self, image, shape):
        """float32 (h, w, D) of length 1, of a frame uint8 (H, W, 3)."""
        # The published program's own resizing, without antialiasing, in 8 bits.
        image = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR)
        pixels = normalize(image, *self._statistics)[None]
        tokens = self._forward(pixels)["tokens"][0]
        if not np.isfinite(tokens).all():
            raise UserError(
                "patch tokens of a frame are not finite; allowed: weights that give "
                "finite tokens"
            )
        patch = self.backbone.patch_size
        return unit_vectors(tokens.reshape(shape[0] // patch, shape[1] // patch, -1))


def network_shape(shape, size, patch_size):
    """(height, width) in which a network sees frames.

    The shorter side becomes `size`, rounded down to whole patches, the longer one as
    long in proportion, rounded down to a multiple of 64 pixels, or of four patches
    where 64 pixels are no whole patches. Of a square the width is rounded.

    Args:
        shape: (H, W) of the frames.
        size: In pixels.
        patch_size: In pixels.

    Raises:
        UserError: A side would have no patch.

    Reference:
        facebookresearch/dino, eval_video_segmentation.py, `read_frame`.
    """
    unit = UNIT if UNIT % patch_size == 0 else UNIT_PATCHES * patch_size
    short = size // patch_size * patch_size
    long = int(short * max(shape) / min(shape) // unit * unit)
    if short < 1 or long < 1:
        raise UserError(
            f"size: got {size}; allowed for patches of {patch_size} pixels: from {unit}"
        )
    return (long, short) if shape[0] > shape[1] else (short, long)


def resize_nearest(mask, shape):
    """A mask of numbers in another size, as Pillow picks the nearest.

    Args:
        mask: uint8 (h, w).
        shape: (H, W).

    Returns:
        uint8 (H, W).
    """
    if mask.shape == tuple(shape):
        return mask
    image = Image.fromarray(np.ascontiguousarray(mask))
    return np.asarray(image.resize(shape[::-1], Image.Resampling.NEAREST))
