"""Weighted nearest neighbours, and the numbers that judge them."""

import numpy as np

from dino_tf.errors import UserError

QUERIES_AT_ONCE = 256
GALLERY_AT_ONCE = 16384


def nearest(train_features, test_features, k):
    """The `k` most similar training features of every test feature.

    Works in pieces of both sets, so that ImageNet's 1.28 million features need no
    similarity matrix in memory.

    Args:
        train_features: (N, D), L2-normalised.
        test_features: (T, D), L2-normalised.
        k: from 1 to N.

    Returns:
        similarities: float32 (T, k), cosines, falling.
        indices: int64 (T, k), into `train_features`.

    Raises:
        UserError: `k` is not in 1..N.
    """
    train = np.asarray(train_features, dtype=np.float32)
    test = np.asarray(test_features, dtype=np.float32)
    if not 1 <= k <= len(train):
        raise UserError(f"k is {k}; allowed: 1 to {len(train)}, the training features")
    similarities = np.empty((len(test), k), np.float32)
    indices = np.empty((len(test), k), np.int64)
    for start in range(0, len(test), QUERIES_AT_ONCE):
        rows = slice(start, start + QUERIES_AT_ONCE)
        similarities[rows], indices[rows] = _nearest_of_some(train, test[rows], k)
    return similarities, indices


def _nearest_of_some(train, queries, k):
    best = np.empty((len(queries), 0), np.float32)
    where = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(train), GALLERY_AT_ONCE):
        piece = queries @ train[start : start + GALLERY_AT_ONCE].T
        places = np.broadcast_to(np.arange(start, start + piece.shape[1]), piece.shape)
        best = np.concatenate([best, piece], axis=1)
        where = np.concatenate([where, places], axis=1)
        if best.shape[1] > k:
            top = np.argpartition(-best, k - 1, axis=1)[:, :k]
            best = np.take_along_axis(best, top, axis=1)
            where = np.take_along_axis(where, top, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(best, order, 1), np.take_along_axis(where, order, 1)


def rank_classes(similarities, neighbour_labels, temperature, num_classes):
    """Order the classes by the votes of the neighbours, the most voted first.

    A neighbour's vote weighs `exp(similarity / temperature)`.

    Args:
        similarities: (T, k), from `nearest`.
        neighbour_labels: int (T, k), each in 0..num_classes - 1.
        temperature: a small one lets the nearest decide alone.
        num_classes: number of classes.

    Returns:
        int64 (T, min(5, k, num_classes)). Equal votes keep the order of the classes.
    """
    weights = np.exp(np.asarray(similarities, np.float64) / temperature)
    keep = min(5, weights.shape[1], num_classes)
    ranked = np.empty((len(weights), keep), np.int64)
    for i, (label, weight) in enumerate(zip(neighbour_labels, weights, strict=True)):
        votes = np.bincount(label, weight, minlength=num_classes)
        ranked[i] = np.argsort(-votes, kind="stable")[:keep]
    return ranked


def knn_predict(
    train_features, train_labels, test_features, k=20, temperature=0.07, num_classes=0
):
    """Classes of the test photos by a weighted vote of their nearest neighbours.

    Args:
        train_features: (N, D), L2-normalised.
        train_labels: int (N,).
        test_features: (T, D), L2-normalised.
        k: number of neighbours, from 1 to N.
        temperature: of the votes; see `rank_classes`.
        num_classes: number of classes; 0 takes the largest label plus one.

    Returns:
        int64 (T, min(5, k, num_classes)), the most voted class first.

    Raises:
        UserError: `k` is not in 1..N.

    Reference:
        facebookresearch/dino, eval_knn.py; Wu et al. 2018, arXiv 1805.01978,
        section 3.4.
    """
    train_labels = np.asarray(train_labels)
    similarities, indices = nearest(train_features, test_features, k)
    classes = num_classes or int(train_labels.max()) + 1
    return rank_classes(similarities, train_labels[indices], temperature, classes)


def knn_accuracy(ranked, labels):
    """Percentage of photos whose class comes first, and comes among the ranked ones.

    Args:
        ranked: (T, n) from `knn_predict`.
        labels: int (T,).

    Returns:
        (top1, top5) in [0, 100]. With fewer than five neighbours or classes "five" is
        their number.
    """
    hits = np.asarray(ranked) == np.asarray(labels)[:, None]
    return 100.0 * float(hits[:, 0].mean()), 100.0 * float(hits.any(axis=1).mean())


def class_shares(similarities, indices, train_targets, temperature):
    """Share of the neighbours' weight that each class has, for photos of many classes.

    Args:
        similarities: (T, k), from `nearest`.
        indices: (T, k), from `nearest`.
        train_targets: (N, C), one where a training photo shows a class, else zero.
        temperature: of the weights; see `rank_classes`.

    Returns:
        float64 (T, C) in [0, 1].
    """
    weights = np.exp(np.asarray(similarities, np.float64) / temperature)
    weights /= weights.sum(axis=1, keepdims=True)
    pairs = zip(weights, indices, strict=True)
    return np.stack([weight @ train_targets[index] for weight, index in pairs])


def mean_average_precision(scores, targets):
    """Mean over the classes of the area under precision against recall.

    Args:
        scores: (T, C), higher is surer.
        targets: bool (T, C), which classes a photo shows.

    Returns:
        float in [0, 100], over the classes that at least one photo shows. Photos of
        equal score enter the curve together.

    Raises:
        ValueError: no photo shows any class.
    """
    scores, targets = np.asarray(scores), np.asarray(targets, dtype=bool)
    present = np.flatnonzero(targets.any(axis=0))
    if not present.size:
        raise ValueError("no photo shows any class")
    precisions = [_average_precision(scores[:, c], targets[:, c]) for c in present]
    return 100.0 * float(np.mean(precisions))


def _average_precision(score, target):
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(target[order])
    last_of_equals = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = hits[last_of_equals]
    gained = np.diff(hits, prepend=0)
    return float(np.sum(gained * hits / (last_of_equals + 1)) / hits[-1])
