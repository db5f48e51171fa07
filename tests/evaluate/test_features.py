"""Feature extraction: order, padding, one trace."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.errors import UserError
from dino_tf.evaluate.features import extract_features, normalize


@keras.saving.register_keras_serializable(package="tests")
class Means(keras.layers.Layer):
    """Mean colour of an image, and a count of the traces."""

    traces = 0

    def call(self, images, training=None):
        assert training is False
        self.traces += 1
        return keras.ops.mean(images, axis=(1, 2))


@pytest.fixture
def images():
    return np.random.default_rng(0).random((11, 4, 4, 3)).astype(np.float32)


def dataset(images, batch_size):
    places = np.arange(len(images), dtype=np.int64) * 10
    data = tf.data.Dataset.from_tensor_slices({"image": images, "index": places})
    return data.batch(batch_size)


@pytest.mark.parametrize("batch_size", [4, 11, 16])
def test_features_of_all_photos_from_one_trace(images, batch_size):
    backbone = Means()
    features, indices = extract_features(backbone, dataset(images, batch_size))
    expected = images.mean(axis=(1, 2))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(features, expected, rtol=1e-5)
    assert features.dtype == np.float32
    assert indices.tolist() == list(range(0, 110, 10))
    assert backbone.traces == 1


def test_half_precision_backbones_give_float32(images):
    features, _ = extract_features(Means(dtype="bfloat16"), dataset(images, 4))
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)


def test_no_photo_is_an_error(images):
    with pytest.raises(UserError, match="no photo"):
        extract_features(Means(), dataset(images, 4).take(0))


def test_normalize_leaves_zeros():
    features = normalize(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    np.testing.assert_allclose(features, [[0.6, 0.8], [0, 0]])
