"""How well a map of what stands out agrees with a binary mask."""

import numpy as np

BETA_SQUARED = 0.3
THRESHOLDS = 255


def precision_recall(prediction, mask, thresholds=THRESHOLDS):
    """Precision and recall of `prediction > t` for rising thresholds t.

    Args:
        prediction: (...), the surer the higher; meant for [0, 1].
        mask: bool (...), the truth.
        thresholds: number of thresholds 0, 1 / n, ..., (n - 1) / n.

    Returns:
        precision: float64 (thresholds,); 1 where nothing is predicted.
        recall: float64 (thresholds,); 1 where there is no object.

    Reference:
        YangtaoWANG95/TokenCut, unsupervised_saliency_detection/metric.py.
    """
    prediction, mask = np.ravel(prediction), np.ravel(mask).astype(bool)
    steps = np.arange(thresholds) * (1.0 / thresholds)
    # How many thresholds each place lies above: one sorting instead of 255 passes.
    above = np.searchsorted(steps, prediction, side="left")
    predicted, hit = (_at_least(above[kept], thresholds) for kept in (..., mask))
    precision, recall = np.ones(thresholds), np.ones(thresholds)
    np.divide(hit, predicted, out=precision, where=predicted > 0)
    np.divide(hit, mask.sum(), out=recall, where=bool(mask.any()))
    return precision, recall


def f_beta(precision, recall, beta_squared=BETA_SQUARED):
    """Weighted harmonic mean of precision and recall; 0 where both are 0."""
    precision, recall = np.asarray(precision), np.asarray(recall)
    below = beta_squared * precision + recall
    above = (1 + beta_squared) * precision * recall
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def max_f_beta(curves):
    """Largest mean over the photos of F at one threshold.

    Args:
        curves: (photos, thresholds), F of each photo at each threshold.

    Returns:
        float in [0, 1]. The threshold is the same for all photos: this is less than
        the mean of each photo's best.

    Reference:
        YangtaoWANG95/TokenCut, unsupervised_saliency_detection/metric.py.
    """
    return float(np.mean(curves, axis=0).max())


def mask_iou(prediction, mask):
    """Intersection over union of `prediction > 0.5` and a bool mask; 1 if both lack."""
    prediction, mask = np.asarray(prediction) > 0.5, np.asarray(mask, dtype=bool)
    union = (prediction | mask).sum()
    return float((prediction & mask).sum() / union) if union else 1.0


def pixel_accuracy(prediction, mask):
    """Share of the places where `prediction > 0.5` is what a bool mask says."""
    return float(np.mean((np.asarray(prediction) > 0.5) == np.asarray(mask, bool)))


def _at_least(above, thresholds):
    """int64 (thresholds,): how many places lie above each threshold."""
    counts = np.bincount(above, minlength=thresholds + 1)
    return counts[:0:-1].cumsum()[::-1]
