"""The view of supervised training."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dino_tf.errors import UserError
from dino_tf.transforms.augment import generator, random_boxes
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


@pytest.mark.parametrize("number", range(3))
def test_a_bilinear_view_is_pillows(number):
    box = random_boxes(generator((3, number)), 1, 20, 30, (0.08, 1.0), (3 / 4, 4 / 3))
    top, left, height, width = box[0].tolist()
    whole = Image.fromarray(PHOTO).crop((left, top, left + width, top + height))
    expected = np.asarray(whole.resize((16, 16), Image.Resampling.BILINEAR), int)
    seen = RandomCrop(16, kernel="bilinear").draw(PHOTO, (3, number)).astype(int)
    apart = [np.abs(seen - e).max() for e in (expected, expected[:, ::-1])]
    assert min(apart) <= 1 < max(apart)


def test_half_of_the_views_are_mirrored():
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (60, 1, 3))
    seen = [RandomCrop(4).draw(ramp, (0, i)) for i in range(60)]
    assert 18 <= sum(v[0, -1, 0] > v[0, 0, 0] for v in seen) <= 42


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
