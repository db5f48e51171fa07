"""Linear support vector machines for one class after the other, as on VOC 2007."""

import dataclasses
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from dino_tf.analysis.neighbours import mean_average_precision
from dino_tf.analysis.precision import average_precisions
from dino_tf.errors import UserError

# fair_self_supervision_benchmark: GETTING_STARTED.md, "Train SVM", names the powers of
# ten; tools/svm/svm_helper.py, `parse_cost_list`, adds those of two.
COSTS = tuple(10.0**i for i in range(-7, 3)) + tuple(0.5**i for i in range(4, 20))
FOLDS = 3
# Of a class whose photos are too few to be split.
MIDDLE_COST = 1.0
MOST_STEPS = 2000


@dataclasses.dataclass(frozen=True)
class ClassMachine:
    """The machine of one class.

    Attributes:
        weights: float64 (D,).
        bias: Added to the product.
        cost: Chosen by cross-validation.
        precision: Mean average precision of the folds at that cost, in percent; None
            where the photos are too few to be split.
    """

    weights: np.ndarray
    bias: float
    cost: float
    precision: float | None


def svm_map(
    train_features, train_targets, test_features, test_targets, costs=COSTS, seed=0
):
    """Mean average precision of linear SVMs on features.

    Args:
        train_features: (N, D).
        train_targets: int (N, C): 1 where a photo shows a class, 0 where it does not,
            -1 where it shows the class only as difficult: it is left out there.
        test_features: (T, D).
        test_targets: int (T, C), as above.
        costs: Of mistakes, to choose from.
        seed: Of the folds and of the solver's order. Classes are fitted side by side
            and share liblinear's one generator, so that equal seeds agree to the
            solver's tolerance, not to the last bit.

    Returns:
        {"linear/svm_map": percentage, "linear/svm_map_11point": percentage}, over the
        classes that a test photo shows.

    Raises:
        UserError: No class can be learnt, none is shown by a test photo, or the
            numbers of features and targets differ.

    Reference:
        Goyal et al. 2019, arXiv 1905.01235, section 6.1;
        facebookresearch/fair_self_supervision_benchmark, tools/svm. There, what is
        only difficult counts as not shown while training, except with few photos.
    """
    machines = fit_machines(train_features, train_targets, costs, seed)
    scores = machine_scores(machines, test_features)
    return svm_numbers(scores, test_targets)


def fit_machines(features, targets, costs=COSTS, seed=0):
    """A linear SVM for each class, its cost chosen by three-fold cross-validation.

    Features are brought to length one; a mistake on a photo of the class costs twice
    as much as one on another; the loss is the squared hinge, solved in the dual.

    Args:
        features: (N, D).
        targets: See `svm_map`.
        costs: See `svm_map`.
        seed: See `svm_map`.

    Returns:
        List of C `ClassMachine`, None for classes that are shown by no photo or by
        all of them.

    Raises:
        UserError: See `svm_map`.
    """
    features, targets = unit_length(features), np.asarray(targets)
    if targets.ndim != 2 or len(targets) != len(features):
        raise UserError(
            f"features {features.shape} and targets {targets.shape}; allowed: (N, D) "
            "and (N, C)"
        )
    with warnings.catch_warnings(), ThreadPoolExecutor() as threads:
        # At the highest costs the published program does not come to an end either.
        warnings.simplefilter("ignore", ConvergenceWarning)
        machines = list(
            threads.map(lambda t: _fit_class(features, t, costs, seed), targets.T)
        )
    if not any(machines):
        raise UserError(
            "no class is shown by some training photos and not by others; an SVM needs "
            "both"
        )
    return machines


def machine_scores(machines, features):
    """float64 (T, C) of features (T, D); zero for classes without a machine."""
    features = unit_length(features)
    scores = np.zeros((len(features), len(machines)))
    for column, machine in zip(scores.T, machines, strict=True):
        if machine:
            column[:] = features @ machine.weights + machine.bias
    return scores


def svm_numbers(scores, targets):
    """The numbers of `svm_map` from scores (T, C) and targets (T, C)."""
    found = [average_precisions(scores, targets, r) for r in ("envelope", "11-point")]
    if np.isnan(found[0]).all():
        raise UserError("no test photo shows any class; average precision needs one")
    means = [100.0 * float(np.nanmean(values)) for values in found]
    return {"linear/svm_map": means[0], "linear/svm_map_11point": means[1]}


def unit_length(features):
    """float64 (N, D): features divided by their lengths, as published."""
    features = np.asarray(features, np.float64)
    return features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-5)


def _fit_class(features, targets, costs, seed):
    kept = targets >= 0
    features, shown = features[kept], targets[kept] > 0
    fewest = min(shown.sum(), (~shown).sum())
    if not fewest:
        return None
    cost, precision = MIDDLE_COST, None
    if fewest > 1:
        folds = list(StratifiedKFold(min(FOLDS, fewest)).split(features, shown))
        rated = [(_fold_precision(features, shown, folds, c, seed), c) for c in costs]
        precision, cost = max(rated, key=lambda pair: pair[0])
    machine = _fit(features, shown, cost, seed)
    return ClassMachine(machine.coef_[0], float(machine.intercept_[0]), cost, precision)


def _fold_precision(features, shown, folds, cost, seed):
    precisions = []
    for learnt, judged in folds:
        machine = _fit(features[learnt], shown[learnt], cost, seed)
        scores = machine.decision_function(features[judged])[:, None]
        precisions.append(mean_average_precision(scores, shown[judged, None]))
    return float(np.mean(precisions))


def _fit(features, shown, cost, seed):
    machine = LinearSVC(
        C=cost,
        class_weight={True: 2, False: 1},
        loss="squared_hinge",
        dual=True,
        tol=1e-4,
        max_iter=MOST_STEPS,
        random_state=seed,
    )
    return machine.fit(features, shown)
