"""Features of whole photos at their own shape, a part of a long gallery at a time."""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from dino_tf.errors import UserError, plain
from dino_tf.evaluate.patch_pass import PatchPass
from dino_tf.evaluate.patches import AHEAD, ahead, alike, most_at_once
from dino_tf.transforms.image import normalize, try_decode

# Photos whose features are in memory together, beside those that are judged.
CHUNK = 4096
# Prepared photos that wait for others of their shape.
WAITING = 64


class WholePhotos:
    """Features of photos that are prepared one by one and keep their shape.

    What does not fill a patch at the right and lower edge is left out.

    Args:
        subject: see `Subject`.
        names: of "cls" and "tokens", what the network is to give.
        prepare: function of (uint8 (H, W, 3), its source, its place in the source),
            which returns uint8 (h, w, 3).
        describe: function of {name: array (B, ...)}, which returns float32 (B, D).
        depends: what tells this preparation and description from others.
        scales: the photo in each of these sizes; the features are their mean.

    Attributes:
        unread: {name of a source: set of the names of its photos that cannot be read}.
    """

    def __init__(self, subject, names, prepare, describe, depends, scales=(1.0,)):
        self.subject, self.scales = subject, tuple(scales)
        self._prepare, self._describe, self._depends = prepare, describe, depends
        self._pass = PatchPass(subject.backbone, names)
        self._stamps, self.unread = {}, {}

    def of(self, source, places, label):
        """Features of photos, all in memory.

        Args:
            source: photos.
            places: int, places in the source.
            label: what the progress line says.

        Returns:
            (float32 (n, D), int64 (n,)): features as the network gives them, and the
            places of the photos that can be read, rising.
        """
        parts = list(self.chunks(source, places, label))
        if not parts:
            return np.zeros((0, 0), np.float32), np.zeros(0, np.int64)
        features, index = zip(*parts, strict=True)
        # A part of which no photo can be read has no width.
        return np.concatenate([f for f in features if len(f)] or features[:1]), (
            np.concatenate(index)
        )

    def chunks(self, source, places, label):
        """Yields what `of` returns, of at most `CHUNK` photos at a time."""
        places = np.unique(np.asarray(places, np.int64))
        bar = self.subject.progress(len(places), label)
        for start in range(0, len(places), CHUNK):
            chosen = places[start : start + CHUNK]
            found = self._kept(source, chosen)
            lost = np.setdiff1d(chosen, found["index"]).tolist()
            if lost:
                names = self.unread.setdefault(source.name, set())
                names.update(source.id(place) for place in lost)
            bar.add(len(chosen))
            yield found["features"], found["index"]

    def _kept(self, source, places):
        depends = {}
        if self.subject.store.folder is not None:
            if id(source) not in self._stamps:
                self._stamps[id(source)] = source, self.subject.depends(source)
            depends = self._stamps[id(source)][1] | {
                "photos": self._depends,
                "scales": self.scales,
                "places": places,
            }
        compute = partial(self._computed, source, places)
        return self.subject.store.arrays("whole_photos", depends, compute)

    def _computed(self, source, places):
        self._pass.expect(len(places))
        index, features = [], []
        read = partial(self._read, source)
        with ThreadPoolExecutor() as threads:
            photos = ahead(threads, read, places.tolist(), AHEAD)
            for batch in self._batches(photos):
                index += [place for place, _ in batch]
                features.append(self._forward(np.stack([image for _, image in batch])))
        if not index:
            nothing = np.zeros((0, 0), np.float32)
            return {"features": nothing, "index": np.zeros(0, np.int64)}
        features, index = np.concatenate(features), np.array(index, np.int64)
        if not np.isfinite(features).all():
            raise UserError(
                f"features of {source.name!r} are not finite; allowed: weights that "
                "give finite features"
            )
        order = np.argsort(index)
        return {"features": features[order], "index": index[order]}

    def _read(self, source, place):
        image, _ = try_decode(lambda: source.image_bytes(place))
        return place, None if image is None else self._prepare(image, source, place)

    def _batches(self, photos):
        """Lists of (place, image) of one shape; what cannot be read is left out."""
        backbone = self.subject.backbone
        read = (photo for photo in photos if photo[1] is not None)

        def most(shape):
            patches = math.prod(shape[:2]) // backbone.patch_size**2
            return most_at_once(backbone, patches)

        return alike(read, lambda photo: photo[1].shape, most, WAITING)

    def _forward(self, images):
        """float32 (B, D) of uint8 images (B, H, W, 3)."""
        pixels = np.asarray(normalize(images, self.subject.mean, self.subject.std))
        total = 0
        for scale in self.scales:
            whole = self._whole_patches(scaled(pixels, scale))
            total = total + self._describe(self._pass(whole))
        return np.asarray(total / len(self.scales), np.float32)

    def _whole_patches(self, pixels):
        backbone = self.subject.backbone
        try:
            backbone.grid_of(pixels.shape[1:3])
        except ValueError:
            patch = backbone.patch_size
            rows, columns = (side // patch * patch for side in pixels.shape[1:3])
            return pixels[:, :rows, :columns]
        return pixels


def unread_notes(photos):
    """A line for a person for each source of which photos cannot be read.

    Args:
        photos: `WholePhotos` that has gone through all of them.
    """
    notes = []
    for source, names in photos.unread.items():
        few = ", ".join(plain(name) for name in sorted(names)[:5])
        more = ", ..." if len(names) > 5 else ""
        notes.append(
            f"{len(names)} photos of {source} cannot be read, and count as not found: "
            f"{few}{more}"
        )
    return notes


def least_side(backbone, scales=(1.0,)):
    """Pixels that a photo must have at least, so that every scale of it has a patch."""
    return math.ceil(backbone.patch_size / min(scales))


def scaled(pixels, scale):
    """Photos made smaller without antialiasing, as PyTorch does by default.

    Args:
        pixels: float32 (B, H, W, 3).
        scale: share of the sides that is kept; the sides are rounded down.

    Returns:
        float32 (B, h, w, 3), the bilinear values between pixels.

    Reference:
        facebookresearch/dino, utils.py, `multi_scale`; PyTorch, `interpolate` with a
        `scale_factor`, which holds for the distances even where the sides are rounded.
    """
    if scale == 1:
        return pixels
    for axis in (1, 2):
        length = pixels.shape[axis]
        wanted = int(math.floor(length * scale))
        places = np.maximum((np.arange(wanted) + 0.5) / scale - 0.5, 0)
        low = np.minimum(places.astype(int), length - 1)
        high = np.minimum(low + 1, length - 1)
        share = (places - low).astype(np.float32)
        share = share.reshape((-1,) + (1,) * (3 - axis))
        pixels = np.take(pixels, low, axis) * (1 - share) + (
            np.take(pixels, high, axis) * share
        )
    return pixels
