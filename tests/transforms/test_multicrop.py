import pickle

import cv2
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.errors import UserError
from dino_tf.transforms.multicrop import MultiCrop

NEUTRAL = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}
STILL = {
    "flip": 0.0,
    "jitter": 0.0,
    "grayscale": 0.0,
    "global_blur": (0.0, 0.0),
    "local_blur": 0.0,
    "solarize": (0.0, 0.0),
}
SMALL = {"global_size": 32, "local_size": 16, "num_local": 3}


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (60, 80, 3), np.uint8)


def views_of(photo, **arguments):
    return compiled(MultiCrop(**{**SMALL, **NEUTRAL, **STILL, **arguments}), photo)


def compiled(crop, photo):
    """Function of a seed given as a list, traced once."""
    draw = tf.function(lambda seed: crop(photo, seed))
    return lambda seed: draw(tf.constant(seed))


def test_contract(photo):
    views = MultiCrop()(photo, [0, 1])
    assert views["global"].shape == (2, 224, 224, 3)
    assert views["local"].shape == (8, 96, 96, 3)
    assert views["global"].dtype == views["local"].dtype == tf.float32
    assert -2.2 < float(tf.reduce_min(views["global"]))
    assert float(tf.reduce_max(views["global"])) < 2.7


def test_no_local_views(photo):
    assert views_of(photo, num_local=0)([0, 1])["local"].shape == (0, 16, 16, 3)


def test_shapes_are_known_in_a_graph():
    data = tf.data.Dataset.from_tensors(np.zeros((9, 8, 3), np.uint8))
    views = data.map(lambda x: MultiCrop(**SMALL)(x, tf.constant([0, 1])))
    assert views.element_spec["global"].shape == (2, 32, 32, 3)
    assert views.element_spec["local"].shape == (3, 16, 16, 3)


def test_seed_decides(photo):
    draw = compiled(MultiCrop(**SMALL), photo)
    first, again, other = draw([3, 4]), draw([3, 4]), draw([3, 5])
    for name in ("global", "local"):
        np.testing.assert_array_equal(first[name], again[name])
        assert np.abs(first[name] - other[name]).mean() > 0.1
        assert np.abs(first[name][0] - first[name][1]).mean() > 0.1


def gradient_photo():
    """Red grows to the right, green downwards: a crop tells where it lies."""
    rows, columns = np.mgrid[0:60, 0:80]
    return np.uint8(np.stack([columns * 3, rows * 4, 0 * rows + 50], axis=-1))


@pytest.mark.parametrize("kind, low, high", [("global", 0.4, 1), ("local", 0.05, 0.4)])
def test_scale_of_the_crops(kind, low, high):
    draw = views_of(gradient_photo())
    areas = []
    for k in range(30):
        views = draw([1, k])[kind].numpy()
        wide = np.ptp(views[..., 0], axis=(1, 2)) / 3 + 1
        tall = np.ptp(views[..., 1], axis=(1, 2)) / 4 + 1
        areas.extend(wide * tall / 4800)
    assert low * 0.7 < min(areas) < low + 0.1
    assert high - 0.12 < max(areas) < high * 1.15


def test_flip_probability():
    for odds, expected in ((0.0, 0), (1.0, 60)):
        draw = views_of(gradient_photo(), flip=odds)
        flipped = 0
        for k in range(20):
            red = draw([1, k])["local"].numpy()[..., 0]
            flipped += int((red[:, 8, 0] > red[:, 8, -1]).sum())
        assert flipped == expected


def test_grayscale_probability(photo):
    draw = views_of(photo, grayscale=0.2)
    views = np.concatenate([draw([2, k])["local"] for k in range(100)])
    gray = np.ptp(views, axis=-1).max(axis=(1, 2)) < 0.01
    assert 0.14 < gray.mean() < 0.26


def test_blur_and_solarize_odds_are_per_view():
    white = np.full((40, 40, 3), 255, np.uint8)
    views = views_of(white, solarize=(0.0, 1.0))([0, 1])
    np.testing.assert_allclose(views["global"][0], 255, atol=0.01)
    np.testing.assert_allclose(views["global"][1], 0, atol=0.01)
    np.testing.assert_allclose(views["local"], 255, atol=0.01)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    arguments = {"global_scale": (1.0, 1.0), "aspect": (1.0, 1.0)}
    blurred = {"global_blur": (1.0, 0.0), "blur_sigma": (2.0, 2.0)}
    spread = np.std(views_of(noise, **arguments, **blurred)([0, 1])["global"], (1, 2))
    assert spread[0].max() < 20 < 40 < spread[1].min()


def test_sigma_of_the_blur_is_drawn_from_its_range():
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    whole = {"global_scale": (1.0, 1.0), "aspect": (1.0, 1.0), "global_blur": (1, 1)}
    spread = {}
    for sigma in ((0.5, 0.5), (2.0, 2.0), (0.5, 2.0)):
        draw = views_of(noise, **whole, blur_sigma=sigma)
        views = np.concatenate([draw([0, k])["global"] for k in range(10)])
        spread[sigma] = views.std(axis=(1, 2, 3))
    sharp, soft, mixed = spread.values()
    assert np.ptp(sharp) < 0.1 and np.ptp(soft) < 0.1
    assert soft[0] - 0.1 < mixed.min() < mixed.max() < sharp[0] + 0.1
    assert np.ptp(mixed) > 0.5 * (sharp[0] - soft[0])


def test_jitter_probability(photo):
    still, moved = views_of(photo)([5, 6]), views_of(photo, jitter=1.0)([5, 6])
    difference = np.abs(still["global"] - moved["global"]).mean(axis=(1, 2, 3))
    assert difference.min() > 1


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"global_size": 0}, "global_size"),
        ({"local_size": 9.5}, "local_size"),
        ({"num_local": -1}, "num_local"),
        ({"global_scale": (0.4, 1.2)}, "global_scale"),
        ({"local_scale": (0.4, 0.05)}, "local_scale"),
        ({"aspect": (0, 1)}, "aspect"),
        ({"flip": 1.5}, "flip"),
        ({"global_blur": (1.0,)}, "global_blur"),
        ({"solarize": (0.0, -0.2)}, "solarize"),
        ({"blur_sigma": (0.0, 2.0)}, "blur_sigma"),
        ({"hue": 0.6}, "hue"),
        ({"brightness": -0.1}, "brightness"),
        ({"std": (1.0, 1.0, 0.0)}, "std"),
    ],
)
def test_arguments_are_checked(arguments, told):
    with pytest.raises(UserError, match=told) as caught:
        MultiCrop(**arguments)
    assert "\n" not in str(caught.value)


def test_drawn_and_finished_views_are_the_called_ones(photo):
    crop = MultiCrop(**SMALL)
    drawn, called = crop.draw(photo, (3, 4)), crop(photo, [3, 4])
    finished = crop.finish({name: tf.constant(v) for name, v in drawn.items()})
    for name, shape in crop.shapes().items():
        assert drawn[name].dtype == np.uint8 and drawn[name].shape == shape
        np.testing.assert_array_equal(finished[name], called[name])


@pytest.mark.parametrize(
    ("height", "width", "margin", "ratio"),
    [
        # The smallest local crop has sqrt(0.05 * 3/4 * area) pixels a side: 107.
        (480, 640, 1.0, 1),
        # 670 pixels for 96, and 1,897 for the 224 of a global one.
        (3000, 4000, 2.0, 2),
        (3000, 4000, 1.5, 4),
        (3000, 4000, 0.8, 8),
        # No crop is wider than the photo.
        (250, 48_000, 2.0, 1),
    ],
)
def test_reduction_leaves_every_crop_its_pixels(height, width, margin, ratio):
    assert MultiCrop().reduction(height, width, margin) == ratio
    sent = pickle.loads(pickle.dumps(MultiCrop().reduction_with(margin)))
    assert sent(height, width) == ratio


def test_without_a_margin_nothing_is_reduced():
    assert MultiCrop().reduction_with(None) is None


def test_views_of_a_reduced_photo_show_the_same():
    waves = np.sin(np.mgrid[0:240, 0:320].sum(0) / 90.0)[..., None]
    large = np.uint8(127 + 100 * waves + [0, 10, 20])
    small = cv2.resize(large, (160, 120), interpolation=cv2.INTER_AREA)
    crop = MultiCrop(**SMALL, **STILL)
    for k in range(5):
        for name, views in crop.draw(large, (0, k)).items():
            other = crop.draw(small, (0, k))[name]
            assert np.abs(views.astype(int) - other).mean() < 3
