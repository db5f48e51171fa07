"""A logistic regression on frozen features, fitted in seconds."""

import dataclasses
import warnings

import numpy as np
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from dino_tf.errors import UserError
from dino_tf.evaluate.linear_scores import judge_scores

# Inverse strengths of the penalty, as scikit-learn counts them, strongest first.
STRENGTHS = tuple(float(f"{10 ** (i / 2):.3g}") for i in range(-8, 3))
# Where no photo can be held out.
MIDDLE_STRENGTH = 0.1
HELD_OUT = 0.2
# Least variance of a direction of the features, as a share of the mean variance.
FLOOR = 0.01
MOST_STEPS, TOLERANCE = 300, 1e-3


@dataclasses.dataclass(frozen=True)
class LinearModel:
    """A linear classifier of features.

    Attributes:
        weights: float64 (D, C).
        bias: float64 (C,); minus infinity for a class that no photo taught, where a
            photo has exactly one.
        single: Whether a photo has exactly one class.
        strength: Inverse strength of the penalty.
        losses: {strength: log loss of the photos held out}, empty where none was.
        converged: Whether the solver came to its end.
    """

    weights: np.ndarray
    bias: np.ndarray
    single: bool
    strength: float
    losses: dict
    converged: bool

    def scores(self, features):
        """float64 (T, C) of features (T, D); higher is surer."""
        return np.asarray(features, np.float64) @ self.weights + self.bias

    def predict(self, features):
        """Class int64 (T,) of each photo; bool (T, C) where it may have several."""
        scores = self.scores(features)
        return scores.argmax(axis=1) if self.single else scores > 0


def fit_linear(
    features,
    targets,
    num_classes=None,
    strengths=STRENGTHS,
    held_out=HELD_OUT,
    seed=0,
):
    """Fit a logistic regression, its penalty chosen on photos held out.

    The features are centered, and their directions are scaled to equal variance, those
    of less than 1 % of the mean variance less far: the solver is done in a tenth of
    the steps that standardised features take, and is as accurate or more so. With one
    label a photo the classes exclude each other (softmax), with several each class
    has a regression of its own. After the choice all photos are fitted.

    Args:
        features: (N, D).
        targets: int (N,), the class of each photo; or (N, C), one where a photo shows
            a class and zero where it does not.
        num_classes: C, where `targets` has one class a photo; None takes the largest
            class plus one.
        strengths: Inverse strengths of the penalty to choose from; the least log loss
            of the photos held out decides.
        held_out: Share of the photos of every class held out; classes of too few
            photos give none.
        seed: Of the photos held out.

    Returns:
        `LinearModel`.

    Raises:
        UserError: Numbers of features and targets differ, all photos show the same,
            or an option is outside its range.
    """
    features, targets = np.asarray(features, np.float64), np.asarray(targets)
    _check(features, targets, strengths, held_out)
    center, turn = whitening(features)
    turned = (features - center) @ turn
    single = targets.ndim == 1
    classes = targets.shape[1] if not single else num_classes or targets.max() + 1
    strengths = sorted(strengths)
    losses, chosen = {}, strengths[0]
    if len(strengths) > 1:
        judged = hold_out(targets, held_out, seed)
        losses = _losses(turned, targets, judged, strengths, classes)
        # No photo held out, no losses: the strength nearest to the middle.
        chosen = min(losses, key=losses.get) if losses else _middle(strengths)
    solver = _Solver(single, classes)
    weights, bias = solver.fit(turned, targets, chosen)
    weights = turn @ weights
    bias = bias - center @ weights
    return LinearModel(weights, bias, single, chosen, losses, solver.converged)


def linear_probe(
    train_features,
    train_labels,
    test_features,
    test_labels,
    num_classes=None,
    strengths=STRENGTHS,
    held_out=HELD_OUT,
    seed=0,
):
    """Accuracy of a linear classifier of given features.

    Args:
        train_features: (N, D).
        train_labels: int (N,), or (N, C) of zeros and ones for several classes a photo.
        test_features: (T, D).
        test_labels: int (T,), or (T, C) as above.
        num_classes: See `fit_linear`.
        strengths: See `fit_linear`.
        held_out: See `fit_linear`.
        seed: See `fit_linear`.

    Returns:
        {"linear/top1": percentage, "linear/top5": percentage}, or {"linear/map":
        percentage}.

    Raises:
        UserError: See `fit_linear`.
    """
    highest = [np.max(t) + 1 for t in (train_labels, test_labels) if np.ndim(t) == 1]
    classes = num_classes or (int(max(highest)) if highest else None)
    model = fit_linear(train_features, train_labels, classes, strengths, held_out, seed)
    return judge_scores(model.scores(test_features), test_labels)


def hold_out(targets, share, seed):
    """bool (N,): photos held out, about the same share of every class.

    A photo of several classes counts for the rarest of them. Every class keeps at
    least one photo; a class of too few photos gives none.

    Args:
        targets: int (N,), or (N, C) of zeros and ones.
        share: In (0, 1).
        seed: Of the choice.
    """
    targets = np.asarray(targets)
    if targets.ndim == 2:
        frequency = targets.sum(axis=0)
        rarity = np.where(targets > 0, frequency, np.inf)
        shows = targets.any(axis=1)
        targets = np.where(shows, rarity.argmin(axis=1), -1)
    order = np.random.default_rng(seed).permutation(len(targets))
    held = np.zeros(len(targets), bool)
    for label in np.unique(targets):
        those = order[targets[order] == label]
        held[those[: min(int(share * len(those) + 1e-9), len(those) - 1)]] = True
    return held


def whitening(features, floor=FLOOR):
    """Center (D,) and matrix (D, D): `(features - center) @ matrix` has variance one.

    Args:
        features: (N, D); constant columns become zeros.
        floor: Added to the variance of every direction, as a share of the mean
            variance, after each column was divided by its own deviation.
    """
    center, deviation = features.mean(axis=0), features.std(axis=0)
    varies = deviation > 1e-6 * np.maximum(np.abs(center), 1e-6)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    scaled = (features - center) * scale
    variances, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    variances = np.maximum(variances, 0)
    least = floor * max(variances.mean(), 1e-12)
    return center, scale[:, None] * directions / np.sqrt(variances + least)


class _Solver:
    """Regressions that begin where the last strength ended."""

    def __init__(self, single, classes):
        self.single, self.classes, self.converged = single, classes, True
        self._models = [_regression() for _ in range(1 if single else classes)]

    def fit(self, features, targets, strength):
        """Weights (D, C) and bias (C,)."""
        self.converged = True
        return (self._fit_one if self.single else self._fit_each)(
            features, targets, strength
        )

    def _fit_one(self, features, labels, strength):
        """One regression of classes that exclude each other."""
        weights = np.zeros((features.shape[1], self.classes))
        bias = np.full(self.classes, -np.inf)
        known, rows, offsets = self._solve(self._models[0], features, labels, strength)
        if len(known) == 2:
            # One row tells the second class from the first.
            rows, offsets = (np.concatenate([0 * x, x]) for x in (rows, offsets))
        weights[:, known], bias[known] = rows.T, offsets
        return weights, bias

    def _fit_each(self, features, targets, strength):
        """A regression for each class."""
        shown, total = targets.sum(axis=0), len(targets)
        weights = np.zeros((features.shape[1], self.classes))
        # For classes with nothing to tell apart, shown by no photo or by all.
        bias = np.log((shown + 0.5) / (total - shown + 0.5))
        for c in np.flatnonzero((shown > 0) & (shown < total)):
            solved = self._solve(self._models[c], features, targets[:, c], strength)
            weights[:, c], bias[c] = solved[1][0], solved[2][0]
        return weights, bias

    def _solve(self, model, features, labels, strength):
        model.C = strength
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(features, labels)
        self.converged &= bool(model.n_iter_.max() < MOST_STEPS)
        return model.classes_, model.coef_, model.intercept_


def _regression():
    return LogisticRegression(max_iter=MOST_STEPS, tol=TOLERANCE, warm_start=True)


def _losses(features, targets, judged, strengths, classes):
    """{strength: mean log loss of the photos held out}."""
    if not judged.any() or _same(targets[~judged]):
        return {}
    solver, losses = _Solver(targets.ndim == 1, classes), {}
    for strength in strengths:
        weights, bias = solver.fit(features[~judged], targets[~judged], strength)
        scores = features[judged] @ weights + bias
        losses[strength] = _log_loss(scores, targets[judged])
    return losses


def _log_loss(scores, targets):
    if targets.ndim == 1:
        own = scores[np.arange(len(scores)), targets]
        return float(np.mean(logsumexp(scores, axis=1) - own))
    return float(np.mean(np.logaddexp(0, scores) - targets * scores))


def _middle(strengths):
    return min(strengths, key=lambda s: abs(np.log(s / MIDDLE_STRENGTH)))


def _same(targets):
    return bool((targets == targets[0]).all())


def _check(features, targets, strengths, held_out):
    if features.ndim != 2 or not len(features) or len(features) != len(targets):
        raise UserError(
            f"features {features.shape} and targets {targets.shape}; allowed: (N, D) "
            "and N targets, N of 1 or more"
        )
    if not np.isfinite(features).all():
        raise UserError("features hold NaN or infinity; allowed: finite numbers")
    if _same(targets):
        raise UserError(
            "all training photos show the same; allowed: photos of two or more classes"
        )
    if not strengths or min(strengths) <= 0:
        raise UserError(f"strengths {strengths}; allowed: one or more above 0")
    if not 0 < held_out < 1:
        raise UserError(f"held_out is {held_out}; allowed: a share between 0 and 1")
