"""k-NN on photos whose colour tells the class."""

import io
import json

import keras
import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets.source import Source
from dino_tf.errors import UserError
from dino_tf.evaluate.knn import evaluate_knn, lacks, run_task
from dino_tf.evaluate.splits import spread
from dino_tf.evaluate.subject import Data, Subject


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
    # Photos without labels take no part; 10 are left, of which 4, 6 and 4 show a class.
    assert blind["knn/map_k25"] == pytest.approx(100 * (4 + 6 + 4) / 10 / 3)


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


def task(train, test=None, backbone=None, **options):
    """Outcome of the task, the network's size left at 16 pixels."""
    data = Data.of(train, test)
    assert lacks(None, data) is None
    return run_task(Subject(backbone or MeanColour()), data, size=16, **options)


def test_task_tells_what_it_left_out(tmp_path):
    train, test = Colours([*ONE, ()]), Colours([(), (), *ONE[:9]], 1)
    outcome = task(train, test, k=(5, 100, 5, 31))
    assert list(outcome.numbers) == ["knn/top1_k5", "knn/top5_k5"]
    assert outcome.notes == [
        "1 photos of colours without labels are left out",
        "2 photos of colours without labels are left out",
        "k of 100, 31 left out with 30 training photos",
        "of 3 classes, top5 takes all: it is always 100",
    ]
    assert outcome.details == {
        "k": [5],
        "training_photos": 30,
        "test_photos": 9,
        "per_class": {5: {"red": 100.0, "green": 100.0, "blue": 100.0}},
    }
    json.dumps(outcome.details)
    (path,) = outcome.write(tmp_path / "new")
    # Eight rows of a photo and its five neighbours.
    assert Image.open(path).size == (14 + 6 * (168 + 14), 49 + 8 * (168 + 42))


def test_no_k_is_possible():
    outcome = task(Colours(ONE[:4]), Colours(ONE[:3], 1), k=(10, 20))
    assert set(outcome.numbers) == {"knn/top1_k4", "knn/top5_k4"}
    assert outcome.details["k"] == [4]
    assert outcome.notes[0] == (
        "k of 10, 20 left out with 4 training photos: all of them vote"
    )


def test_classes_with_one_training_photo_or_none():
    train, test = Colours([(0,), (0,), (1,)]), Colours([(0,), (1,), (2,), (2,)], 1)
    outcome = task(train, test, k=(1,))
    assert outcome.numbers["knn/top1_k1"] == 50.0
    assert outcome.details["per_class"][1] == {"red": 100, "green": 100, "blue": 0}
    assert outcome.notes[0] == (
        "1 classes of test photos have no training photo, which counts as wrong: blue"
    )


def test_without_a_test_split_every_fifth_photo_is_judged():
    data = Data.of(Colours(ONE))
    outcome = run_task(Subject(MeanColour()), data, 16, (1,))
    assert outcome.details["training_photos"] == 24
    assert data.notes == [
        "colours has no test split: every fifth training photo is judged by the others"
    ]


def test_one_class():
    outcome = task(Colours([(1,)] * 5), Colours([(1,)] * 2), k=(1,))
    assert outcome.numbers["knn/top1_k1"] == 100.0
    assert outcome.notes == ["all photos show one class, so that every answer is right"]
    alone = Colours([(0,)] * 4)
    alone.class_names = ("red",)
    assert "two or more classes" in lacks(None, Data.of(alone))


def test_several_classes_are_told_apart_by_average_precision(tmp_path):
    labels = [(0,), (1,), (2,), (0, 1)] * 5
    outcome = task(Colours(labels), Colours(labels[:8], 1), k=(3,))
    assert (
        outcome.notes[-1] == "some photos show several classes: mean average precision"
    )
    assert set(outcome.details["per_class"][3]) == {"red", "green", "blue"}
    assert outcome.write(tmp_path)[0].is_file()


def test_photos_that_cannot_be_read():
    test = Colours(ONE[:6], 1)
    test.image_bytes = lambda i, read=test.image_bytes: b"" if i == 2 else read(i)
    outcome = task(Colours(ONE), test, k=(1,))
    assert outcome.details["test_photos"] == 5
    assert outcome.notes[0] == "1 photos of colours cannot be read"


class Times(keras.layers.Layer):
    """The first pixel's colour times a number, which may be no number."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, images, training=None):
        return images[:, 0, 0] * self.factor


def test_features_of_zeros():
    outcome = task(Colours(ONE), Colours(ONE[:3], 1), Times(0.0), k=(3,))
    # Equally far from all: the first three vote, of which the first class wins.
    assert outcome.numbers["knn/top1_k3"] == pytest.approx(100 / 3)
    assert outcome.notes[:2] == [
        "30 photos of colours have a feature of zeros, which is equally far from all",
        "3 photos of colours have a feature of zeros, which is equally far from all",
    ]


def test_features_that_are_no_numbers():
    with pytest.raises(UserError, match="30 of 30 features .*first: photo 'colours0'"):
        task(Colours(ONE), Colours(ONE[:3], 1), Times(float("nan")))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": (5, 0)}, "k: got 0, allowed: whole numbers from 1"),
        ({"k": (-3,)}, "k: got -3"),
        ({"k": (2.5,)}, "k: got 2.5"),
        ({"k": ()}, "k: got none"),
        ({"temperature": 0.0}, "temperature: got 0.0, allowed: above 0"),
        ({"temperature": -1.0}, "temperature: got -1.0"),
        ({"temperature": float("nan")}, "temperature: got nan"),
    ],
)
def test_refuses_options(options, words):
    with pytest.raises(UserError, match=words):
        evaluate_knn(MeanColour(), Colours(ONE), Colours(ONE), 16, **options)


def test_spread_is_even():
    assert spread(10, 4).tolist() == [0, 2, 5, 7]
    assert spread(3, 5).tolist() == [0, 1, 2]
    assert spread(3, None).tolist() == [0, 1, 2]
