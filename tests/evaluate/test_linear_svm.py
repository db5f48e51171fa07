"""The machines of VOC 2007 on arrays."""

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from dino_tf.errors import UserError
from dino_tf.evaluate.linear_svm import (
    COSTS,
    fit_machines,
    machine_scores,
    svm_map,
    unit_length,
)


def photos(count, seed=0):
    """Features that tell two of three classes, and targets; the third has none."""
    rng = np.random.default_rng(seed)
    targets = np.zeros((count, 3), int)
    targets[:, :2] = rng.random((count, 2)) < 0.4
    return targets @ np.eye(3, 8) + rng.normal(0, 0.1, (count, 8)) + 0.2, targets


def test_the_published_costs():
    assert len(COSTS) == 26
    assert COSTS[:10] == pytest.approx(10.0 ** np.arange(-7, 3))
    assert (COSTS[10], COSTS[-1]) == (2.0**-4, 2.0**-19)


def test_classes_are_told_apart():
    numbers = svm_map(*photos(60), *photos(40, 1), costs=(0.01, 1.0))
    assert numbers == {"linear/svm_map": 100.0, "linear/svm_map_11point": 100.0}


def test_a_machine_is_the_published_one():
    x, targets = photos(60)
    (machine, *_) = fit_machines(x, targets, costs=(0.25,))
    labels = np.where(targets[:, 0] > 0, 1, -1)
    published = LinearSVC(C=0.25, class_weight={1: 2, -1: 1}, dual=True, random_state=0)
    published.fit(x / (np.linalg.norm(x, axis=1) + 1e-5)[:, None], labels)
    np.testing.assert_allclose(machine.weights, published.coef_[0], atol=1e-6)
    assert machine.bias == pytest.approx(published.intercept_[0])


def test_what_is_only_difficult_neither_teaches_nor_is_judged():
    x, targets = photos(60)
    hard = np.vstack([targets, [-1, 0, 0], [-1, 0, 0]])
    # As negatives these two would move the plane, and come first when judged.
    more = np.vstack([x, 9 * np.eye(2, 8)[[0, 0]]])
    some = [fit_machines(a, b, (1.0,))[0] for a, b in ((x, targets), (more, hard))]
    # Threads share the solver's generator.
    np.testing.assert_allclose(some[0].weights, some[1].weights, atol=1e-3)
    wrong = fit_machines(more, np.maximum(hard, 0), (1.0,))[0]
    assert np.abs(wrong.weights - some[0].weights).max() > 0.1
    assert svm_map(x, targets, more, hard, (1.0,))["linear/svm_map"] == 100


def test_few_photos_of_a_class():
    x, targets = photos(40)
    targets[:, 0] = 0
    targets[:2, 0] = 1
    targets[5, 2] = 1
    two, many, one = fit_machines(x, targets, costs=(0.1, 10.0))
    assert two.precision is not None  # two folds
    assert one.precision is None and one.cost == 1.0  # none
    assert many.precision == 100
    assert machine_scores([two, None, one], x)[:, 1].tolist() == [0] * 40


def test_a_class_that_was_never_shown_is_judged_by_chance():
    x, targets = photos(40)
    test, shown = photos(40, 1)
    shown[:10, 2] = 1
    numbers = svm_map(x, targets, test, shown, (1.0,))
    assert numbers["linear/svm_map"] == pytest.approx((100 + 100 + 25) / 3)


def test_refuses():
    x, targets = photos(10)
    with pytest.raises(UserError, match="no class is shown by some"):
        fit_machines(x, np.zeros((10, 3)))
    with pytest.raises(UserError, match="no test photo shows any class"):
        svm_map(x, targets, x, np.zeros((10, 3)), (1.0,))
    with pytest.raises(UserError, match=r"\(10, 8\) and targets \(9, 3\)"):
        fit_machines(x, targets[:9])


def test_unit_length_leaves_zeros():
    np.testing.assert_allclose(
        unit_length([[3, 4], [0, 0]]), np.array([[3, 4], [0, 0]]) / 5.00001
    )
