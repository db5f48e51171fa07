"""Which class was taken for which, pixel by pixel, and the numbers that follow."""

import numpy as np

from dino_tf.analysis.overlap import VOID
from dino_tf.errors import UserError


def confusion_of(predicted, truth, classes):
    """Counts of pixels by true and by predicted class.

    Args:
        predicted: integers (H, W), or any shape, in 0..classes - 1; where `truth` is
            void it may be anything.
        truth: integers of the same shape, in 0..classes - 1, or 255, which counts
            nowhere.
        classes: number of classes with the background.

    Returns:
        int64 (classes, classes), true classes in rows. Those of several photos add.

    Raises:
        UserError: the shapes differ, or a class is none of these.
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    if predicted.shape != truth.shape:
        raise UserError(
            f"predicted classes are {predicted.shape}, true ones {truth.shape}; "
            "allowed: equal shapes"
        )
    known = truth != VOID
    predicted, truth = predicted[known], truth[known]
    for name, found in (("predicted", predicted), ("true", truth)):
        if found.size and not 0 <= found.min() <= found.max() < classes:
            wrong = found.min() if found.min() < 0 else found.max()
            raise UserError(
                f"a {name} class is {wrong}; allowed: 0 to {classes - 1}, and "
                f"{VOID} for unknown truth"
            )
    return count_pairs(predicted, truth, classes)


def count_pairs(predicted, truth, classes):
    """int64 (classes, classes): how often the class of a row was taken for a column's.

    Args:
        predicted: int (N,), in 0..classes - 1.
        truth: int (N,), in 0..classes - 1.
        classes: number of classes.
    """
    cells = np.asarray(truth, np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def class_ious(confusion):
    """Intersection over union of every class.

    Args:
        confusion: (C, C), see `confusion_of`.

    Returns:
        float64 (C,) in [0, 100], NaN for classes that are nowhere true.
    """
    confusion = np.asarray(confusion, np.float64)
    hits, true = np.diag(confusion), confusion.sum(axis=1)
    union = true + confusion.sum(axis=0) - hits
    return np.where(true > 0, 100 * hits / np.maximum(union, 1), np.nan)


def mean_iou(confusion):
    """Mean intersection over union of the classes that are true somewhere.

    Args:
        confusion: (C, C), see `confusion_of`.

    Returns:
        float in [0, 100].

    Raises:
        UserError: no pixel has a known class.

    Reference:
        Everingham et al. 2010, "The PASCAL VOC challenge", segmentation accuracy.
    """
    _check_some(confusion)
    return float(np.nanmean(class_ious(confusion)))


def pixel_accuracy(confusion):
    """Percentage of the pixels of known class whose class is predicted.

    Args:
        confusion: (C, C), see `confusion_of`.

    Raises:
        UserError: no pixel has a known class.
    """
    _check_some(confusion)
    return float(100 * np.trace(confusion) / np.sum(confusion))


def _check_some(confusion):
    if not np.sum(confusion):
        raise UserError("no pixel has a known class; allowed: masks with some")
