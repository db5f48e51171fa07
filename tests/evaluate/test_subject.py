"""Features of a network under evaluation, kept between tasks."""

import dataclasses

import numpy as np
import pytest

from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError
from dino_tf.evaluate.store import Store
from dino_tf.evaluate.subject import Data, Subject
from dino_tf.models.vit import VisionTransformer

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3)).astype(np.uint8)

SIZES = dict(patch_size=8, embed_dim=16, depth=3, num_heads=2, image_size=16)


@pytest.fixture(scope="module")
def network():
    network = VisionTransformer(**SIZES)
    network.build(None)
    return network


def passes(subject, monkeypatch):
    """List that grows by one with each pass over photos."""
    import dino_tf.evaluate.subject as module

    made, true = [], module.extract_summaries

    def counted(*arguments):
        made.append(1)
        return true(*arguments)

    monkeypatch.setattr(module, "extract_summaries", counted)
    return made


def test_second_task_costs_no_second_pass(network, tmp_path, monkeypatch):
    subject = Subject(network, size=16, store=Store(tmp_path))
    made, source = passes(subject, monkeypatch), ArraySource(IMAGES)
    first = subject.summaries(source, None)
    again = Subject(network, size=16, store=Store(tmp_path))
    more = again.summaries(ArraySource(IMAGES.copy()), 16, ("blocks", "mean_patch"))
    assert len(made) == 1
    assert set(first) == {"cls", "index"}
    assert more["blocks"].shape == (5, 3, 16) and more["mean_patch"].shape == (5, 16)
    np.testing.assert_array_equal(first["cls"], more["blocks"][:, -1])
    np.testing.assert_array_equal(first["index"], np.arange(5))


def test_equal_networks_of_other_names_are_one(network):
    again = VisionTransformer(**SIZES)
    again.build(None)
    assert again.name != network.name
    assert Subject(again).fingerprint != Subject(network).fingerprint
    again.set_weights(network.get_weights())
    assert Subject(again).fingerprint == Subject(network).fingerprint


@pytest.mark.parametrize("size", [0, -8, 12])
def test_a_square_that_the_network_does_not_take(network, size):
    with pytest.raises(UserError, match=f"--size: got {size}; "):
        Subject(network, size=16).summaries(ArraySource(IMAGES), size)


def test_other_photos_weights_pixels_or_sizes_are_seen_anew(
    network, tmp_path, monkeypatch
):
    subject = Subject(network, size=16, store=Store(tmp_path))
    made, source = passes(subject, monkeypatch), ArraySource(IMAGES)
    subject.summaries(source, 16)
    subject.summaries(ArraySource(IMAGES[::-1]), 16)
    subject.summaries(source, 24)
    subject.summaries(source, 16, indices=[0, 1])
    dataclasses.replace(subject, mean=(0.0, 0.0, 0.0)).summaries(source, 16)
    other = VisionTransformer(**SIZES)
    other.build(None)
    other.set_weights([w + 0.1 for w in network.get_weights()])
    dataclasses.replace(subject, backbone=other).summaries(source, 16)
    assert len(made) == 6


def test_fingerprint_is_that_of_the_weights(network):
    config, weights = network.get_config(), network.get_weights()
    copy = VisionTransformer.from_config(config)
    copy.build(None)
    assert Subject(copy).fingerprint != Subject(network).fingerprint
    copy.set_weights(weights)
    assert Subject(copy).fingerprint == Subject(network).fingerprint


def test_features_agree_with_the_network(network):
    found = Subject(network, (0, 0, 0), (1, 1, 1), batch_size=2).summaries(
        ArraySource(IMAGES[:, :16, :16]), 16, ("cls", "blocks", "mean_patch")
    )
    # 16 pixels are cut out of the photo at 18; a photo of its own size shows the whole.
    assert found["cls"].shape == (5, 16)
    np.testing.assert_allclose(found["cls"], found["blocks"][:, -1], atol=1e-6)


def test_a_network_says_what_features_it_has(network):
    import keras

    with pytest.raises(UserError, match="allowed: cls, blocks, mean_patch"):
        Subject(network).summaries(ArraySource(IMAGES), 16, ("patches",))
    plain = keras.layers.Lambda(lambda x: x[:, 0, 0])
    with pytest.raises(UserError, match="allowed: cls"):
        Subject(plain).summaries(ArraySource(IMAGES), 16, ("blocks",))


def test_data_opens_a_split_once():
    opened = []

    def open_split(name):
        opened.append(name)
        return ArraySource(IMAGES) if name == "train" else None

    data = Data("somewhere", open_split)
    assert opened == []
    assert data.train is data.train and data.test is None and data.test is None
    assert opened == ["train", "test"]
