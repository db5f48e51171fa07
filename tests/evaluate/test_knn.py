"""k-NN on photos whose colour tells the class."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets.source import Source
from dino_tf.errors import UserError
from dino_tf.evaluate.knn import evaluate_knn
from dino_tf.evaluate.splits import spread


class Colours(Source):
    """Photos of one colour each; red, green and blue are the classes."""

    name = "colours"
    class_names = ("red", "green", "blue")

    def __init__(self, labels, seed=0):
        self._labels = labels
        rng = np.random.default_rng(seed)
        self._noise = rng.integers(0, 60, (len(labels), 3))

    def __len__(self):
        return len(self._labels)

    def id(self, index):
        return f"{self.name}{index}"

    def labels(self, index):
        return self._labels[index]

    def image_bytes(self, index):
        colour = self._noise[index].copy()
        colour[list(self._labels[index])] += 180
        image = Image.fromarray(np.broadcast_to(colour.astype(np.uint8), (24, 32, 3)))
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()


class MeanColour(keras.layers.Layer):
    """The first pixel's colour, away from grey."""

    def call(self, images, training=None):
        return images[:, 0, 0] + 0.5


class Blind(keras.layers.Layer):
    """The same feature for every photo."""

    def call(self, images, training=None):
        return 0 * images[:, 0, 0] + 1.0


ONE = [(i % 3,) for i in range(30)]


def test_colours_are_told_apart():
    numbers = evaluate_knn(
        MeanColour(), Colours(ONE), Colours(ONE[:9], 1), 16, k=(1, 5), batch_size=4
    )
    assert numbers == {
        "knn/top1_k1": 100.0,
        "knn/top5_k1": 100.0,
        "knn/top1_k5": 100.0,
        "knn/top5_k5": 100.0,
    }
    assert all(type(value) is float for value in numbers.values())


def test_a_blind_backbone_always_names_one_class():
    test = Colours([(0,), (0,), (1,), (2,)])
    numbers = evaluate_knn(Blind(), Colours(ONE), test, 16, k=(30,))
    assert numbers["knn/top1_k30"] in (50.0, 25.0)
    assert numbers["knn/top5_k30"] == 100.0


def test_limits_take_some_of_the_photos():
    test = Colours([(0,), (2,), (0,), (2,)])
    numbers = evaluate_knn(
        MeanColour(), Colours(ONE), test, 16, k=(1,), max_train=1, max_test=3
    )
    # One training photo, of class 0; test photos 0, 1 and 2.
    assert numbers["knn/top1_k1"] == pytest.approx(200 / 3)


def test_photos_of_several_classes_get_a_mean_average_precision():
    labels = [(0,), (1,), (2,), (0, 1), (1, 2), ()] * 5
    train, test = Colours(labels), Colours(labels[:12], 1)
    numbers = evaluate_knn(MeanColour(), train, test, 16, k=(5,))
    assert list(numbers) == ["knn/map_k5"]
    assert numbers["knn/map_k5"] > 95
    blind = evaluate_knn(Blind(), train, test, 16, k=(30,))
    assert blind["knn/map_k30"] == pytest.approx(100 * (4 + 6 + 4) / 12 / 3)


def test_refuses_what_cannot_be_judged():
    with pytest.raises(UserError, match="'colours' has no labels"):
        evaluate_knn(MeanColour(), Colours(ONE), Colours([(), ()]), 16)
    other = Colours(ONE)
    other.class_names = ("cyan", "magenta", "yellow")
    with pytest.raises(UserError, match="the same classes"):
        evaluate_knn(MeanColour(), Colours(ONE), other, 16)


def test_fewer_photos_than_neighbours():
    numbers = evaluate_knn(MeanColour(), Colours(ONE), Colours(ONE), 16, k=(10, 31))
    assert set(numbers) == {"knn/top1_k10", "knn/top5_k10"}
    numbers = evaluate_knn(MeanColour(), Colours(ONE), Colours(ONE), 16, k=(31,))
    assert set(numbers) == {"knn/top1_k30", "knn/top5_k30"}


def test_spread_is_even():
    assert spread(10, 4).tolist() == [0, 2, 5, 7]
    assert spread(3, 5).tolist() == [0, 1, 2]
    assert spread(3, None).tolist() == [0, 1, 2]
