"""Measures of a fixed few photos, on networks whose features are known."""

import keras
import numpy as np
import pytest

from dino_tf.datasets.arrays import ArraySource
from dino_tf.datasets.scenes import Scenes
from dino_tf.errors import UserError
from dino_tf.evaluate.watched import WatchedPhotos
from dino_tf.models.vit import VisionTransformer


class Colour(keras.Model):
    """Features are the colour of the middle."""

    scale = np.float32(1)

    def call(self, images, training=None):
        return images[:, 8, 8] * self.scale


def coloured(labels):
    """Squares of red, green or blue by the first label of each photo."""
    images = np.full((len(labels), 20, 30, 3), 20, np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[..., np.atleast_1d(label)[0]] = 220
    return images


def test_photos_of_one_colour_are_found_by_each_other():
    labels = np.arange(30) % 3
    watched = WatchedPhotos(ArraySource(coloured(labels), labels), 30, 16)
    found = watched.measure(Colour())
    assert found["knn/watched_top1"] == 100.0
    assert found["effective_rank"] == pytest.approx(2.4, abs=0.6)
    assert found["feature_std"] == pytest.approx(1, abs=0.1)
    assert watched.objects(Colour()) == {}


def test_no_photo_judges_itself():
    # Alone of their class, nobody can be right.
    labels = np.arange(3)
    watched = WatchedPhotos(ArraySource(coloured(labels), labels), 3, 16)
    assert watched.measure(Colour())["knn/watched_top1"] == 0.0


def test_photos_of_several_classes_have_a_mean_precision():
    labels = [(0,), (1,), (0, 1), (2,)] * 6
    watched = WatchedPhotos(ArraySource(coloured(labels), labels), 24, 16)
    found = watched.measure(Colour())
    assert 50 < found["knn/watched_map"] <= 100
    assert "knn/watched_top1" not in found


def test_without_labels_there_is_no_k_nn():
    watched = WatchedPhotos(ArraySource(coloured(np.arange(8) % 3)), 4, 16)
    assert set(watched.measure(Colour())) == {"effective_rank", "feature_std"}


def test_features_that_are_not_finite_have_no_measures():
    network = Colour()
    network.scale = np.float32(np.inf)
    watched = WatchedPhotos(ArraySource(coloured(np.arange(8) % 3)), 4, 16)
    assert watched.measure(network) == {}


def test_a_collapsed_network_has_rank_one():
    network = Colour()
    network.scale = np.float32(0)
    watched = WatchedPhotos(ArraySource(coloured(np.arange(8) % 3)), 8, 16)
    found = watched.measure(network)
    assert found == {"effective_rank": 1.0, "feature_std": 0.0}


def test_photos_are_read_once(monkeypatch):
    source = ArraySource(coloured(np.arange(8) % 3))
    read, original = [], source.image_bytes
    monkeypatch.setattr(
        source, "image_bytes", lambda i: read.append(i) or original(i), raising=False
    )
    watched, network = WatchedPhotos(source, 4, 16), Colour()
    first = watched.measure(network)
    assert watched.measure(network) == first
    assert sorted(read) == [0, 2, 4, 6]


def test_objects_of_scenes():
    vit = VisionTransformer(
        embed_dim=12, depth=1, num_heads=2, patch_size=8, image_size=32
    )
    vit.build()
    watched = WatchedPhotos(Scenes(count=30), 8, 32, object_size=64)
    found = watched.objects(vit)
    assert set(found) == {"discover/corloc", "segment/jaccard"}
    assert 0 <= found["discover/corloc"] <= 100 and 0 < found["segment/jaccard"] < 100
    assert len(watched._annotated[1]) == 16


def test_boxes_follow_the_photo_to_the_square():
    scenes = Scenes(count=3)
    watched = WatchedPhotos(scenes, 3, 32, object_size=64)
    squares, truths = watched._annotated
    assert squares.shape == (3, 64, 64, 3)
    for place, (boxes, _) in enumerate(truths):
        np.testing.assert_allclose(boxes / 64, scenes.boxes(place).xyxy / scenes.size)


def test_no_readable_photo():
    source = ArraySource(coloured(np.zeros(1, int)))
    source.image_bytes = lambda index: b"no picture"
    with pytest.raises(UserError, match="none of 1 photos"):
        WatchedPhotos(source, 1, 16).measure(Colour())
