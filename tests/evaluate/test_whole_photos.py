"""Whole photos of any shape through a network."""

import numpy as np
import pytest

from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError
from dino_tf.evaluate.subject import Subject
from dino_tf.evaluate.whole_photos import WholePhotos, scaled
from dino_tf.models.backbones import create_backbone
from dino_tf.transforms.image import normalize


def test_between_pixels_without_antialiasing():
    pixels = np.arange(5, dtype=np.float32).reshape(1, 1, 5, 1)
    pixels = np.repeat(pixels, 4, axis=1)
    # Of five pixels two are left, and the distance is still two.
    assert scaled(pixels, 0.5)[0, 0, :, 0].tolist() == [0.5, 2.5]
    assert scaled(pixels, 0.5).shape == (1, 2, 2, 1)
    assert scaled(pixels, 1.0) is pixels
    found = scaled(pixels, 0.5**0.5)[0, 0, :, 0]
    steps = (np.arange(3) + 0.5) * 2**0.5 - 0.5
    np.testing.assert_allclose(found, steps, rtol=1e-6)


def test_every_shape_gives_what_the_network_gives():
    rng = np.random.default_rng(0)
    shapes = [(16, 24), (19, 30), (16, 16)] * 3
    images = [rng.integers(0, 256, (*s, 3), np.uint8) for s in shapes]
    sizes = {"embed_dim": 12, "depth": 1, "num_heads": 2}
    backbone = create_backbone("vit_tiny", 8, 16, **sizes)
    subject = Subject(backbone)
    photos = WholePhotos(
        subject, ("cls",), lambda image, *_: image, lambda found: found["cls"], {}
    )
    features, index = photos.of(ArraySource(images), [8, *range(7)], "photos")
    assert index.tolist() == [0, 1, 2, 3, 4, 5, 6, 8]
    for row, place in enumerate(index):
        height, width = (side // 8 * 8 for side in shapes[place])
        pixels = normalize(images[place])[None, :height, :width]
        np.testing.assert_allclose(features[row], backbone(pixels)[0], atol=2e-5)


def test_features_must_be_finite():
    subject = Subject(
        create_backbone("vit_tiny", 8, 16, embed_dim=4, depth=1, num_heads=1)
    )
    photos = WholePhotos(
        subject, ("cls",), lambda image, *_: image, lambda found: found["cls"] / 0, {}
    )
    source = ArraySource([np.zeros((8, 8, 3), np.uint8)])
    with (
        np.errstate(all="ignore"),
        pytest.raises(UserError, match="features of 'arrays' are not finite"),
    ):
        photos.of(source, [0], "photos")
