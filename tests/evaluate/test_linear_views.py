"""The stream of random views, and the features of its batches."""

import keras
import numpy as np

from dino_tf.datasets.arrays import ArraySource
from dino_tf.evaluate.linear_views import view_dataset, view_features
from dino_tf.evaluate.subject import Subject
from dino_tf.pipeline import BadImages


class Mean(keras.layers.Layer):
    """Mean colour."""

    def call(self, images, training=None):
        return keras.ops.mean(images, axis=(1, 2))


class Damaged(ArraySource):
    """The photo at place 2 cannot be read."""

    def image_bytes(self, index):
        return b"nothing" if index == 2 else super().image_bytes(index)


def photos(count, kind=ArraySource):
    """Photo i is grey 20 i."""
    return kind([np.full((9, 12, 3), 20 * i, np.uint8) for i in range(count)])


def stream(seed=0, count=7, batch=3, epochs=2, at_once=4, kind=ArraySource, bad=None):
    subject = Subject(Mean(), (0, 0, 0), (1, 1, 1), batch_size=at_once)
    source = photos(count, kind)
    found = view_features(subject, source, 8, "cls", epochs, batch, seed, bad)
    return [(e, x, list(map(int, places))) for e, x, places in found]


def test_every_epoch_has_every_photo_once_in_a_new_order():
    batches = stream()
    assert [e for e, _, _ in batches] == [0, 0, 0, 1, 1, 1]
    assert [len(places) for _, _, places in batches] == [3, 3, 1, 3, 3, 1]
    orders = [sum((p for e, _, p in batches if e == k), []) for k in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(7))
    assert orders[0] != orders[1]


def test_features_belong_to_their_places():
    for _, features, places in stream():
        np.testing.assert_allclose(
            features[:, 0] * 255, 20 * np.array(places), atol=0.1
        )


def test_seed_alone_decides():
    one, same, other = (stream(seed, at_once=n) for seed, n in ((1, 4), (1, 5), (2, 4)))
    assert [p for _, _, p in one] == [p for _, _, p in same]
    assert [p for _, _, p in one] != [p for _, _, p in other]


def test_views_differ_from_epoch_to_epoch_and_come_again_with_the_seed():
    image = np.random.default_rng(0).integers(0, 256, (30, 30, 3)).astype(np.uint8)
    source = ArraySource([image])
    first, second = (
        [b["image"].numpy() for b in view_dataset(source, 8, 1, 3, 5)] for _ in "ab"
    )
    np.testing.assert_array_equal(first, second)
    assert len(first) == 3
    assert np.abs(first[0] - first[1]).max() > 0.1


def test_a_photo_that_cannot_be_read_is_left_out():
    bad = BadImages()
    batches = stream(kind=Damaged, bad=bad)
    assert bad.count == 1
    places = [p for _, _, places in batches for p in places]
    assert sorted(places) == sorted([0, 1, 3, 4, 5, 6] * 2)
    # Batches keep their places in the epoch, so that no other batch changes.
    whole = [p for _, _, p in stream()]
    assert [p for _, _, p in batches] == [[i for i in b if i != 2] for b in whole if b]
