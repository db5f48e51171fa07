"""Photos out of a source: decoded, bad ones named and passed over."""

import threading
from functools import partial

import numpy as np

from .errors import UserError
from .transforms.jpeg import try_decode_photo


class BadImages:
    """The photos that could not be read, by name and reason; safe between threads.

    Attributes:
        names: Dictionary from photo id to the reason, one entry per bad photo.
    """

    def __init__(self):
        self.names = {}
        self._lock = threading.Lock()

    @property
    def count(self):
        """Number of distinct photos that could not be read."""
        return len(self.names)

    def add(self, name, reason):
        """Remember one photo; a second time is ignored."""
        with self._lock:
            self.names.setdefault(name, reason)

    def check(self, total, max_share):
        """Stop when too large a share of the photos is bad.

        Args:
            total: Number of photos in the source.
            max_share: Largest share allowed, 0..1.

        Raises:
            UserError: More than `max_share * total` distinct photos are bad.
        """
        with self._lock:
            bad = sorted(self.names.items())
        if len(bad) > max_share * total:
            name, reason = bad[0]
            raise UserError(
                f"{len(bad)} of {total} images cannot be read (first {name}: "
                f"{reason}); allowed is a share of {max_share:g}"
            )


def read_one(source, index, bad_images, decode=try_decode_photo, cache=None):
    """One photo uint8 (H, W, 3), or None after a new entry in `bad_images`.

    Args:
        source: See `pipeline.make_dataset`.
        index: Which photo.
        bad_images: `BadImages`; photos named there are not tried again.
        decode: Function (read) -> (image or None, reason), such as
            `try_decode_photo`.
        cache: See `dino_tf.photo_cache`; None keeps nothing.
    """
    name = source.id(index)
    if name in bad_images.names:
        return None
    image = None if cache is None else cache.get(index)
    if image is not None:
        return image
    image, reason = decode(partial(source.image_bytes, index))
    if image is None:
        bad_images.add(name, reason)
    elif cache is not None:
        cache.put(index, image)
    return image


def first_readable(source, index, take):
    """What `take(place)` gives for a photo, or for the next one where that is None.

    Args:
        source: See `pipeline.make_dataset`.
        index: The place to begin at.
        take: Function place -> anything, or None for a photo that cannot be read.

    Returns:
        Tuple (what was taken, int64 place that it is of).

    Raises:
        UserError: No photo of the source can be read.
    """
    for step in range(len(source)):
        place = (int(index) + step) % len(source)
        taken = take(place)
        if taken is not None:
            return taken, np.int64(place)
    raise UserError(f"none of the {len(source)} images can be read")
