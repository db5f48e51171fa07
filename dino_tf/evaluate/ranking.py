"""Where photos stand in the ranked lists of queries, over a gallery of any length."""

from dataclasses import dataclass

import numpy as np

from dino_tf.analysis.ranked import Positions
from dino_tf.datasets import open_source
from dino_tf.errors import UserError, plain
from dino_tf.evaluate.features import normalize
from dino_tf.transforms.image import try_decode


@dataclass
class Gallery:
    """Photos that are searched, and photos that only stand in the way.

    Args:
        photos: `WholePhotos`.
        source: photos that may be judged.
        count: the first so many of them are searched.
        distractors: photos that are no answer to any query; None for none. Their
            places follow those of the others.
        change: function of features (n, D) before they are compared; None for none.
    """

    photos: object
    source: object
    count: int
    distractors: object = None
    change: object = None

    def search(self, queries, judged, keep=10):
        """Compares queries with all photos, a part of the gallery at a time.

        In memory are the queries, the photos judged for any of them, and
        `whole_photos.CHUNK` others.

        Args:
            queries: float32 (Q, D), as the network gives them.
            judged: for each query int (n,), rising, each place once.
            keep: so many photos of each list are kept.

        Returns:
            (for each query float64 (n,), photos before each judged one, infinite for
            those that cannot be read; for each query (similarities, places) of the
            photos that come first).
        """
        queries = self.features(queries)
        union = np.unique(np.concatenate([*judged, np.zeros(0)]).astype(np.int64))
        label = f"photos looked for, of {self.source.name}"
        features, index = self.photos.of(self.source, union, label)
        similarities = np.zeros((len(queries), 0), np.float32)
        if len(index):
            similarities = queries @ self.features(features).T
        known = [np.intersect1d(places, index) for places in judged]
        pairs = zip(similarities, known, strict=True)
        scores = [row[np.searchsorted(index, places)] for row, places in pairs]
        positions = Positions(scores, known, keep)
        positions.add(similarities, index)
        for features, index in self._others(union):
            if len(index):
                positions.add(queries @ self.features(features).T, index)
        found = zip(judged, known, positions.ahead, strict=True)
        return [_infinite_where_unread(*each) for each in found], positions.first

    def features(self, features):
        """What is compared: changed, and of length one."""
        return normalize(features if self.change is None else self.change(features))

    def _others(self, union):
        """Features and places of all photos but those in `union`."""
        rest = np.setdiff1d(np.arange(self.count), union)
        parts = [(self.source, rest, 0)]
        if self.distractors is not None:
            every = np.arange(len(self.distractors))
            parts.append((self.distractors, every, self.count))
        for source, places, offset in parts:
            label = f"gallery of {source.name}"
            for features, index in self.photos.chunks(source, places, label):
                yield features, index + offset

    def photo(self, place):
        """(uint8 (H, W, 3), name) of a photo of the gallery that was read before."""
        source = self.source
        if place >= self.count:
            source, place = self.distractors, place - self.count
        return read_again(source, int(place)), source.id(int(place))


def read_again(source, place):
    """uint8 (H, W, 3) of a photo that could be read before.

    Raises:
        UserError: It cannot any more.
    """
    image, reason = try_decode(lambda: source.image_bytes(place))
    if image is None:
        name = plain(source.id(place))
        raise UserError(f"photo {name} cannot be read any more: {reason}")
    return image


def open_others(spec):
    """`Source` of distractors, or of photos to learn from; None of None."""
    return None if spec is None else open_source(spec)


def _infinite_where_unread(judged, known, ahead):
    """float64 (n,) for all judged places, of what is known of some."""
    result = np.full(len(judged), np.inf)
    result[np.isin(judged, known)] = ahead
    return result
