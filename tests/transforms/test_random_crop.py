"""The view of supervised training."""

import numpy as np
import pytest
import tensorflow as tf

from dino_tf.errors import UserError
from dino_tf.transforms.image import normalize
from dino_tf.transforms.random_crop import RandomCrop

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def view(seed=(1, 2), photo=PHOTO, **kwargs):
    return RandomCrop(8, **kwargs)(tf.constant(photo), tf.constant(seed, tf.int64))


def test_whole_square_photo_without_chance():
    photo = PHOTO[:8, :8]
    plain = view(photo=photo, scale=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0)
    np.testing.assert_allclose(plain, normalize(photo), atol=1e-5)
    flipped = view(photo=photo, scale=(1.0, 1.0), aspect=(1.0, 1.0), flip=1.0)
    np.testing.assert_allclose(flipped, normalize(photo[:, ::-1]), atol=1e-5)


def test_views_follow_the_seed():
    assert view().shape == (8, 8, 3)
    np.testing.assert_array_equal(view(jitter=0.4), view(jitter=0.4))
    assert np.abs(view((1, 2)) - view((1, 3))).max() > 0.1


def test_jitter_changes_brightness():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 100
    exact = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "scale": (1.0, 1.0)}
    plain = view(photo=red, jitter=0.0, **exact)[0, 0, 0]
    assert float(plain) == pytest.approx(100 / 255)
    values = {
        round(float(view((5, i), red, jitter=0.4, **exact)[0, 0, 0]), 4)
        for i in range(5)
    }
    assert len(values) == 5


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"scale": (0.0, 1.0)}, "scale is"),
        ({"scale": (0.5, 1.5)}, "scale is"),
        ({"aspect": (2.0, 1.0)}, "aspect is"),
        ({"flip": 2.0}, "flip 2.0"),
        ({"jitter": -1.0}, "jitter -1.0"),
    ],
)
def test_refuses_what_is_out_of_range(kwargs, words):
    with pytest.raises(UserError, match=words):
        RandomCrop(8, **kwargs)
