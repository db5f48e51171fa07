"""The three protocols on photos whose colour tells the class."""

import keras
import numpy as np
import pytest
from PIL import Image

from dino_tf import create_backbone
from dino_tf.datasets.arrays import ArraySource
from dino_tf.datasets.source import Boxes
from dino_tf.errors import UserError
from dino_tf.evaluate.linear import evaluate_linear, lacks, run_task
from dino_tf.evaluate.linear_photos import LinearPhotos, feature_rule, join_features
from dino_tf.evaluate.published import figures_for
from dino_tf.evaluate.store import Store
from dino_tf.evaluate.subject import Data, Subject
from dino_tf.tasks import TASKS

NAMES = ("red", "green", "blue", "never")


class Colour(keras.layers.Layer):
    """The first pixel's colour."""

    calls = 0

    def call(self, images, training=None):
        self.calls += 1
        return images[:, 0, 0]


def photos(shown, seed=0, names=NAMES, boxes=None, kind=ArraySource, labels=None):
    """Photos of dark colours, brighter in those shown, which are the labels too."""
    rng = np.random.default_rng(seed)
    images, labels = [], shown if labels is None else labels
    for label in shown:
        colour = rng.integers(0, 60, 3)
        for c in np.atleast_1d(() if label is None else label).astype(int):
            colour[c % 3] += 180
        images.append(np.broadcast_to(colour.astype(np.uint8), (12, 16, 3)))
    return kind(images, labels, names, boxes, name="colours")


ONE = [i % 3 for i in range(60)]
SEVERAL = [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)] * 10
SGD = {"protocol": "published", "epochs": 3, "batch_size": 20, "size": 16}


@pytest.fixture(scope="module")
def published():
    data = Data.of(photos(ONE), photos(ONE[:12], 1))
    return run_task(Subject(Colour()), data, lr=[1e-7, 10.0], **SGD)


def test_quick():
    train, test = photos(ONE), photos(ONE[:12], 1)
    numbers = evaluate_linear(Colour(), train, test, 16)
    assert numbers == {"linear/top1": 100.0, "linear/top5": 100.0}
    assert all(type(value) is float for value in numbers.values())


def test_published(published):
    assert published.numbers == {"linear/top1": 100.0, "linear/top5": 100.0}
    details = published.details
    assert (details["protocol"], details["features"]) == ("published", "cls")
    assert (details["photos_taught"], details["photos_held_out"]) == (54, 6)
    assert details["lr"] == 10.0
    assert set(details["test_by_lr"]) == {"1e-07", "10"}
    assert details["held_out_by_lr"]["10"] == 100.0
    losses = details["loss_of_epochs"]
    assert len(losses) == 3 and losses[-1] < losses[0]


def test_published_with_one_rate_holds_nothing_out():
    data = Data.of(photos(ONE), photos(ONE[:12], 1))
    found = run_task(Subject(Colour()), data, lr=[10.0], **SGD)
    assert found.details["photos_taught"] == 60
    assert found.details["held_out_by_lr"] == {}
    assert found.numbers["linear/top1"] == 100


def test_the_rate_is_not_chosen_on_test_photos():
    # Test photos have the colours of other classes: there the rate that learnt least
    # is the best, and must not be taken.
    wrong = [(i + 1) % 3 for i in ONE[:12]]
    data = Data.of(photos(ONE), photos(wrong, 1, labels=ONE[:12]))
    found = run_task(Subject(Colour()), data, lr=[1e-7, 10.0], **SGD)
    by_rate = found.details["test_by_lr"]
    assert by_rate["10"]["linear/top1"] == 0 == found.numbers["linear/top1"]
    assert found.details["lr"] == 10.0


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_rates_that_are_too_high():
    train, test = photos(ONE), photos(ONE[:12], 1)
    with pytest.raises(
        UserError, match="--lr 1e[+]40: the weights did not stay finite"
    ):
        evaluate_linear(Colour(), train, test, lr=[1e40], **SGD)
    data = Data.of(train, test)
    found = run_task(Subject(Colour()), data, lr=[10.0, 1e40], **SGD)
    assert found.details["lr"] == 10.0
    assert found.details["test_by_lr"]["1e+40"] is None


def test_published_is_kept_and_found_again(tmp_path):
    data = Data.of(photos(ONE), photos(ONE[:12], 1))
    network = Colour()
    first = run_task(Subject(network, store=Store(tmp_path)), data, lr=[10.0], **SGD)
    calls = network.calls
    again = run_task(Subject(network, store=Store(tmp_path)), data, lr=[10.0], **SGD)
    assert network.calls == calls
    assert first.numbers == again.numbers
    other = Subject(network, store=Store(tmp_path))
    run_task(other, data, lr=[10.0], **SGD, seed=1)
    assert network.calls > calls


@pytest.mark.parametrize("options", [{}, {**SGD, "lr": [10.0]}])
def test_photos_of_several_classes(options):
    train, test = photos(SEVERAL), photos(SEVERAL[:12], 1)
    numbers = evaluate_linear(Colour(), train, test, **{"size": 16, **options})
    assert list(numbers) == ["linear/map"]
    assert numbers["linear/map"] > 95


def test_svm():
    train, test = photos(SEVERAL), photos(SEVERAL[:12], 1)
    found = run_task(Subject(Colour()), Data.of(train, test), 16, "svm")
    assert set(found.numbers) == {"linear/svm_map", "linear/svm_map_11point"}
    assert found.numbers["linear/svm_map"] > 95
    assert set(found.details["classes"]) == {"red", "green", "blue"}
    assert found.details["classes"]["red"]["photos"] == 6
    numbers = evaluate_linear(
        Colour(), photos(ONE), photos(ONE[:12], 1), 16, protocol="svm"
    )
    assert numbers["linear/svm_map"] == 100


def test_difficult_objects_count_for_neither_side():
    box = [[0, 0, 1, 1]]
    boxes = [
        Boxes.of(box * 2, [0, 1], [True, False]),
        Boxes.of(box * 2, [0, 0], [True, False]),
        None,
    ]
    source = photos([(0, 1), (0,), (1,)], boxes=boxes)
    targets = LinearPhotos.of(source, []).strict_targets([0, 1, 2])
    assert targets.tolist() == [[-1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize("protocol", ["quick", "published", "svm"])
def test_photos_without_a_label_are_left_out(protocol):
    options = {**SGD, "lr": [10.0]} if protocol == "published" else {"size": 16}
    data = Data.of(photos([*ONE, None, None]), photos([None, *ONE[:12]], 1))
    found = run_task(Subject(Colour()), data, **{**options, "protocol": protocol})
    assert found.notes[:2] == [
        "colours: 2 photos without a label left out",
        "colours: 1 photos without a label left out",
    ]
    assert next(iter(found.numbers.values())) == 100


def test_a_class_that_only_test_photos_show():
    data = Data.of(photos(ONE), photos([*ONE[:9], 3], 1))
    found = run_task(Subject(Colour()), data, 16)
    assert found.numbers == {"linear/top1": 90.0, "linear/top5": 90.0}
    assert found.notes == ["classes that no training photo shows: never"]
    assert found.details["classes"]["never"] == {"photos": 1, "accuracy": 0.0}


def test_a_photo_for_each_class():
    train, test = photos([0, 1, 2]), photos(ONE[:12], 1)
    found = run_task(Subject(Colour()), Data.of(train, test), 16)
    assert found.numbers["linear/top1"] == 100
    assert "no class has photos enough to hold some out" in found.notes[0]
    svm = run_task(Subject(Colour()), Data.of(train, test), 16, "svm")
    assert svm.numbers["linear/svm_map"] == 100
    assert "red: too few training photos for a cost to be chosen" in svm.notes
    with pytest.raises(UserError, match="no class has photos enough to hold out 0.1"):
        evaluate_linear(Colour(), train, test, lr=[0.1, 1.0], **SGD)


class Damaged(ArraySource):
    """The photo at place 4 cannot be read."""

    def image_bytes(self, index):
        return b"nothing" if index == 4 else super().image_bytes(index)


def test_photos_that_cannot_be_read_are_left_out():
    data = Data.of(photos(ONE, kind=Damaged), photos(ONE[:12], 1, kind=Damaged))
    expected = ["colours: 1 photos that cannot be read left out"] * 2
    for options in ({"size": 16}, {**SGD, "lr": [10.0]}):
        found = run_task(Subject(Colour()), data, **options)
        assert found.notes == expected
        assert found.numbers["linear/top1"] == 100


def test_refuses_data():
    good = photos(ONE)
    with pytest.raises(UserError, match="differ; allowed: the same classes"):
        other = photos(ONE, names=("cyan", "magenta", "yellow", "never"))
        evaluate_linear(Colour(), good, other, 16)
    with pytest.raises(UserError, match="'colours' has no labels"):
        evaluate_linear(Colour(), good, photos([None, None]), 16)
    with pytest.raises(UserError, match="shows the same, red; allowed"):
        evaluate_linear(Colour(), photos([0, 0, 0]), good, 16)
    assert lacks(Subject(Colour()), Data.of(photos([None, None])))
    assert lacks(Subject(Colour()), Data.of(good)) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"protocol": "slow"}, "allowed: quick, published, svm"),
        ({"epochs": 3}, "--epochs 3: the protocol quick has no such option"),
        ({"protocol": "svm", "held_out": 0.1}, "--held-out 0.1: the protocol svm"),
        ({"protocol": "published", "lr": [0.0]}, "--lr is"),
        ({"protocol": "published", "batch_size": 0}, "--batch-size is 0"),
        ({"held_out": 1.0}, "--held-out is 1.0"),
        ({"features": "base"}, "allowed: auto, cls"),
        ({"features": "large"}, "allowed: auto, cls"),
    ],
)
def test_refuses_options(options, words):
    with pytest.raises(UserError, match=words):
        evaluate_linear(Colour(), photos(ONE), photos(ONE, 1), 16, **options)


def test_features_by_width():
    small = {"patch_size": 4, "image_size": 8, "depth": 5, "num_heads": 2}
    vit = create_backbone("vit_tiny", embed_dim=8, **small)
    assert [feature_rule(vit, n) for n in ("auto", "base", "cls")] == [
        "small",
        "base",
        "cls",
    ]
    assert feature_rule(create_backbone("vit_tiny", embed_dim=768, **small)) == "base"
    assert feature_rule(Colour()) == "cls"
    found = {
        "cls": np.full((2, 3), 5),
        "blocks": np.arange(12).reshape(2, 2, 3),
        "mean_patch": np.full((2, 3), 7),
    }
    assert join_features(found, "small")[1].tolist() == [6, 7, 8, 9, 10, 11]
    assert join_features(found, "base")[0].tolist() == [5, 5, 5, 7, 7, 7]


def test_a_vit_from_end_to_end():
    vit = create_backbone(
        "vit_tiny", patch_size=4, image_size=16, depth=2, embed_dim=8, num_heads=2
    )
    train, test = photos(ONE), photos(ONE[:12], 1)
    numbers = evaluate_linear(vit, train, test, features="base", lr=[1.0], **SGD)
    assert numbers["linear/top1"] > 60


def test_pictures(tmp_path, published):
    (file,) = published.write(tmp_path / "one")
    assert file.name == "confusion.png"
    assert Image.open(file).size[0] > 200
    data = Data.of(photos(SEVERAL), photos(SEVERAL, 1))
    (file,) = run_task(Subject(Colour()), data, 16).write(tmp_path / "many")
    assert file.name == "average_precision.png"
    (file,) = run_task(Subject(Colour()), data, 16, "svm").write(tmp_path / "svm")
    assert file.name == "average_precision.png"


def test_defaults_of_the_table_are_those_of_the_function():
    import inspect

    parameters = inspect.signature(run_task).parameters
    given = {
        n: p.default for n, p in parameters.items() if n not in ("subject", "data")
    }
    assert given == TASKS["linear"].defaults()


def test_published_figures():
    figures = figures_for("tfds:imagenet2012", {"linear/top1": 70.0})
    assert [f.value for f in figures] == [77.0, 79.7, 78.2, 80.1, 75.3]
