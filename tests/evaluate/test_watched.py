"""Measures of a fixed few photos, on networks whose features are known."""

import keras
import numpy as np
import pytest

from dino_tf.datasets.arrays import ArraySource
from dino_tf.datasets.scenes import Scenes
from dino_tf.errors import UserError
from dino_tf.evaluate.watched import WatchedPhotos, strong_views
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
    assert set(watched.measure(Colour())) == {
        "effective_rank",
        "feature_std",
        "views/matched",
        "views/chance",
    }


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
    # Nothing is matched but by chance.
    assert found == {
        "effective_rank": 1.0,
        "feature_std": 0.0,
        "views/matched": 12.5,
        "views/chance": 12.5,
    }


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


class Shapes(keras.Model):
    """Features are where it is dark, whatever the light; grey and 4 x 4 places."""

    def call(self, images, training=None):
        grey = keras.ops.mean(images, axis=-1, keepdims=True)
        places = keras.ops.average_pool(grey, 4, strides=4)
        flat = keras.ops.reshape(places, (-1, 16))
        return flat - keras.ops.mean(flat, axis=1, keepdims=True)


def test_views_of_a_photo_are_drawn_once_and_from_nothing_but_its_place():
    source = Scenes(count=300)
    few, all_of_them = WatchedPhotos(source, 3, 16), WatchedPhotos(source, 300, 16)
    views = few._photos[2]
    assert (views.shape, views.dtype) == ((3, 2, 16, 16, 3), np.uint8)
    # Of photos 0, 100 and 200 of the three; of 128 spread over the 300.
    assert all_of_them._photos[2].shape == (128, 2, 16, 16, 3)
    np.testing.assert_array_equal(views[0], all_of_them._photos[2][0])
    again = WatchedPhotos(source, 3, 16, mean=(0, 0, 0), object_size=32)
    np.testing.assert_array_equal(views, again._photos[2])
    assert not np.array_equal(views[0, 0], views[0, 1])
    found = few.measure(Colour())
    assert found["views/chance"] == pytest.approx(100 / 3)
    assert few.measure(Colour()) == found and few._photos[2] is views


def test_views_are_altered_as_much_whatever_a_training_does():
    views = strong_views(112)
    assert (views.global_size, views.num_local, views.global_scale) == (
        112,
        0,
        (0.4, 1.0),
    )
    assert views._odds() == [[0.5, 1.0, 0.5, 0.5, 0.0], [0.5, 1.0, 0.5, 0.5, 0.2]]
    assert (views.brightness, views.contrast, views.saturation) == (0.8, 0.8, 0.8)
    assert (views.hue, views.blur_sigma) == (0.2, (0.05, 1.0))


def test_views_are_matched_by_what_they_show():
    rng = np.random.default_rng(0)
    # Each half dark, at an angle of its own.
    x, y = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40))
    turns = rng.uniform(0, 2 * np.pi, 24)
    dark = [np.cos(t) * x + np.sin(t) * y > 0.2 for t in turns]
    photos = [np.repeat(np.where(d, 40, 200)[..., None], 3, -1) for d in dark]
    watched = WatchedPhotos(ArraySource(np.array(photos, np.uint8)), 24, 16)
    found = watched.measure(Shapes())
    assert found["views/chance"] == pytest.approx(100 / 24)
    assert found["views/matched"] > 3 * found["views/chance"]


def test_one_photo_has_nothing_to_be_told_from():
    found = WatchedPhotos(ArraySource(coloured([0])), 1, 16).measure(Colour())
    assert set(found) == {"effective_rank", "feature_std"}


def test_photos_that_cannot_be_read_have_no_views():
    source = ArraySource(coloured(np.arange(9) % 3))
    original = source.image_bytes
    source.image_bytes = lambda i: b"no picture" if i == 4 else original(i)
    watched = WatchedPhotos(source, 9, 16)
    assert watched._photos[2].shape == (8, 2, 16, 16, 3)
    assert watched.measure(Colour())["views/chance"] == 12.5


class Broken(Colour):
    """Bright pixels are too much for it."""

    def call(self, images, training=None):
        colours = super().call(images)
        top = keras.ops.max(images, axis=(1, 2, 3))[:, None]
        return keras.ops.where(top > 2.2, np.float32(np.nan), colours)


def test_features_of_views_that_are_not_finite_have_no_measures():
    source = ArraySource(np.full((4, 20, 30, 3), 180, np.uint8))
    assert WatchedPhotos(source, 1, 16).measure(Broken())
    assert WatchedPhotos(source, 4, 16).measure(Broken()) == {}


def test_photos_and_views_share_one_trace():
    network, traces = Colour(), []
    original = network.call
    network.call = lambda images, training=None: (
        traces.append(images.shape) or original(images)
    )
    for count in (5, 70):
        watched = WatchedPhotos(ArraySource(coloured(np.arange(count) % 3)), 70, 16)
        traces.clear()
        watched.measure(network)
        assert len(set(traces)) == 1 and len(traces) <= 2


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
