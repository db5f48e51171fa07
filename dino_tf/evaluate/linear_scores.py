"""From scores of classes to numbers, class by class and over all."""

import numpy as np

from dino_tf.analysis.confusion import count_pairs
from dino_tf.analysis.neighbours import knn_accuracy, mean_average_precision


def judge_scores(scores, targets):
    """Accuracy, or mean average precision where a photo may have several classes.

    Args:
        scores: (T, C), higher is surer; minus infinity for classes never answered.
        targets: int (T,), or (T, C) of zeros and ones.

    Returns:
        {"linear/top1": percentage, "linear/top5": percentage}, with fewer than five
        classes "five" being their number; or {"linear/map": percentage}, over the
        classes that a photo shows.
    """
    if np.ndim(targets) == 2:
        return {"linear/map": mean_average_precision(scores, targets)}
    top1, top5 = knn_accuracy(rank_scores(scores), targets)
    return {"linear/top1": top1, "linear/top5": top5}


def rank_scores(scores):
    """int64 (T, min(5, C)): the classes of highest scores; -1 where none is left."""
    scores = np.asarray(scores)
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    known = np.isfinite(np.take_along_axis(scores, ranked, axis=1))
    return np.where(known, ranked, -1)


def class_numbers(scores, targets, names):
    """{class: {"photos": number, "accuracy" or "average_precision": percentage}}.

    Args:
        scores: (T, C).
        targets: int (T,), or (T, C) of zeros and ones.
        names: Of the C classes; those that no photo shows are left out.
    """
    numbers = {}
    if np.ndim(targets) == 1:
        matrix = count_pairs(np.argmax(scores, axis=1), targets, len(names))
        for c in np.flatnonzero(matrix.sum(axis=1)):
            total = int(matrix[c].sum())
            share = 100.0 * float(matrix[c, c]) / total
            numbers[names[c]] = {"photos": total, "accuracy": share}
        return numbers
    for c in np.flatnonzero(targets.any(axis=0)):
        precision = mean_average_precision(scores[:, [c]], targets[:, [c]])
        total = int(targets[:, c].sum())
        numbers[names[c]] = {"photos": total, "average_precision": precision}
    return numbers
