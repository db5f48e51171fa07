"""Logistic regression on arrays."""

import numpy as np
import pytest

from dino_tf.analysis.confusion import count_pairs
from dino_tf.errors import UserError
from dino_tf.evaluate.linear_quick import (
    fit_linear,
    hold_out,
    linear_probe,
    whitening,
)
from dino_tf.evaluate.linear_scores import class_numbers, rank_scores


def clouds(count, classes=3, width=6, seed=0, spread=0.15):
    """Features around one corner for each class, and the classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return np.eye(classes, width)[labels] + rng.normal(
        0, spread, (count, width)
    ), labels


def test_clouds_are_told_apart():
    x, y = clouds(60)
    z, w = clouds(30, seed=1)
    model = fit_linear(x, y)
    assert (model.predict(z) == w).all()
    assert model.converged and model.strength in model.losses
    assert linear_probe(x, y, z, w) == {"linear/top1": 100.0, "linear/top5": 100.0}


def test_two_classes():
    x, y = clouds(40, classes=2)
    model = fit_linear(x, y)
    assert model.weights.shape == (6, 2)
    assert (model.predict(x) == y).all()


def test_scale_and_offset_of_the_features_do_not_matter():
    x, y = clouds(60)
    scale = np.array([1e3, 1, 1e-3, 5, 1, 1])
    plain, moved = fit_linear(x, y), fit_linear(x * scale + 7, y)
    np.testing.assert_allclose(plain.scores(x), moved.scores(x * scale + 7), atol=1e-3)


def test_constant_features_are_harmless():
    x, y = clouds(60)
    x[:, 5] = 3.0
    model = fit_linear(x, y)
    assert np.isfinite(model.scores(x)).all()
    assert (model.predict(x) == y).mean() > 0.9


def test_noise_asks_for_a_strong_penalty():
    rng = np.random.default_rng(0)
    noise = fit_linear(rng.normal(size=(60, 40)), np.arange(60) % 3)
    assert noise.strength <= 1e-3
    assert fit_linear(*clouds(60, spread=0.05)).strength >= 1


def test_whitening_gives_variance_one_and_bounds_what_is_small():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 3)) * [1, 10, 0.1] + 4
    x = np.column_stack([x, x[:, 0] + x[:, 1] / 10])
    center, turn = whitening(x)
    deviation = np.sort(((x - center) @ turn).std(axis=0))
    np.testing.assert_allclose(deviation[1:], 1, atol=0.02)
    assert deviation[0] < 0.01


def test_a_class_without_a_training_photo_is_never_answered():
    x, y = clouds(60, classes=2)
    z, w = clouds(4, classes=2, seed=1)
    w[-1] = 4
    numbers = linear_probe(x, y, z, w, num_classes=20)
    assert numbers == {"linear/top1": 75.0, "linear/top5": 75.0}
    model = fit_linear(x, y, 20)
    assert rank_scores(model.scores(z))[0].tolist() == [0, 1, -1, -1, -1]


def test_several_classes_a_photo():
    rng = np.random.default_rng(0)
    shown = rng.random((80, 4)) < 0.4
    shown[:, 2], shown[:, 3] = False, True  # nothing to learn in these two
    x = shown @ np.eye(4, 6) + rng.normal(0, 0.1, (80, 6))
    model = fit_linear(x[:60], shown[:60])
    assert not model.single
    assert (model.predict(x[60:]) == shown[60:]).all()
    assert linear_probe(x[:60], shown[:60], x[60:], shown[60:]) == {"linear/map": 100.0}


def test_a_class_of_one_photo_teaches_and_is_not_held_out():
    x, y = clouds(31)
    y[30], x[30] = 3, [0, 0, 0, 5, 0, 0]
    assert not hold_out(y, 0.2, 0)[30]
    assert fit_linear(x, y).predict(x[30:]) == 3


def test_photos_held_out_are_of_every_class_in_proportion():
    labels = np.repeat([0, 1, 2], [50, 10, 4])
    held = hold_out(labels, 0.2, 0)
    assert np.bincount(labels[held], minlength=3).tolist() == [10, 2, 0]
    assert (held == hold_out(labels, 0.2, 0)).all()
    assert (held != hold_out(labels, 0.2, 1)).any()
    several = np.zeros((20, 2), int)
    several[:, 0], several[:10, 1] = 1, 1
    assert several[hold_out(several, 0.2, 0)].sum(axis=0).tolist() == [4, 2]


def test_every_class_keeps_a_photo_to_learn_from():
    labels = np.array([0, 0, 0, 1, 1, 2])
    assert hold_out(labels, 0.9999999999, 0).sum() == 2 + 1


def test_too_few_photos_to_hold_any_out():
    x, y = clouds(6)
    model = fit_linear(x, y)
    assert (model.strength, model.losses) == (0.1, {})


def test_one_strength_needs_no_choice():
    model = fit_linear(*clouds(30), strengths=(0.5,))
    assert (model.strength, model.losses) == (0.5, {})


@pytest.mark.parametrize(
    ("x", "y", "options", "words"),
    [
        (np.eye(3), [0, 0, 0], {}, "all training photos show the same"),
        (np.eye(3), [0, 1], {}, r"features \(3, 3\) and targets \(2,\)"),
        (np.full((2, 2), np.nan), [0, 1], {}, "NaN"),
        (np.eye(2), [0, 1], {"strengths": (0,)}, "strengths"),
        (np.eye(2), [0, 1], {"held_out": 1}, "held_out is 1"),
    ],
)
def test_refuses(x, y, options, words):
    with pytest.raises(UserError, match=words):
        fit_linear(x, y, **options)


def test_confusion_and_numbers_of_classes():
    matrix = count_pairs([0, 1, 1, 2], [0, 0, 1, 2], 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0] * 4]
    scores = np.eye(4)[[0, 1, 1, 2]]
    assert class_numbers(scores, np.array([0, 0, 1, 2]), "abcd") == {
        "a": {"photos": 2, "accuracy": 50.0},
        "b": {"photos": 1, "accuracy": 100.0},
        "c": {"photos": 1, "accuracy": 100.0},
    }
    shown = np.array([[1, 0], [0, 0]])
    assert class_numbers(np.array([[0.1, 0], [0.2, 0]]), shown, "ab") == {
        "a": {"photos": 1, "average_precision": 50.0}
    }
