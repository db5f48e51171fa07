"""Weighted nearest neighbours, and the numbers that judge them."""

import numpy as np
from scipy import sparse

from dino_tf.errors import UserError

# A block of similarities, 16 MB, is small enough to be looked through while it lies
# in the cache, and large enough for the matrix product to run at full speed.
QUERIES_AT_ONCE = 512
GALLERY_AT_ONCE = 8192
VOTES_AT_ONCE = 1 << 21
SHARES_AT_ONCE = 2048


def nearest(train_features, test_features, k, advance=None):
    """The `k` most similar training features of every test feature.

    Works in blocks of both sets and keeps of each block only what is more similar
    than the k-th best so far: ImageNet's 1.28 million features need about 50 MB
    beside themselves and the result.

    Args:
        train_features: (N, D), L2-normalised. A feature of zeros has similarity 0.
        test_features: (T, D), L2-normalised.
        k: from 1 to N.
        advance: function of the number of test features done since its last call.

    Returns:
        similarities: float32 (T, k), cosines, falling.
        indices: int64 (T, k), into `train_features`. Of equally similar ones the
            first come first.

    Raises:
        UserError: `k` is not in 1..N, or a feature is not finite.
    """
    train = np.asarray(train_features, dtype=np.float32)
    test = np.asarray(test_features, dtype=np.float32)
    if not 1 <= k <= len(train):
        raise UserError(f"k is {k}; allowed: 1 to {len(train)}, the training features")
    for name, features in (("training", train), ("test", test)):
        wrong = np.count_nonzero(~finite_rows(features))
        if wrong:
            raise UserError(
                f"{wrong} of {len(features)} {name} features have NaN or infinity; "
                "allowed: finite numbers"
            )
    similarities = np.empty((len(test), k), np.float32)
    indices = np.empty((len(test), k), np.int64)
    for start in range(0, len(test), QUERIES_AT_ONCE):
        rows = slice(start, start + QUERIES_AT_ONCE)
        similarities[rows], indices[rows] = _nearest_of_some(train, test[rows], k)
        if advance:
            advance(len(test[rows]))
    return similarities, indices


def finite_rows(features):
    """bool (N,): whether all numbers of a feature (N, D) are finite."""
    # Squares of finite features stay finite; no second array of the same size.
    return np.isfinite(np.einsum("nd,nd->n", features, features))


def _nearest_of_some(train, queries, k):
    best = np.full((len(queries), k), -np.inf, np.float32)
    where = np.zeros((len(queries), k), np.int64)
    block = np.empty((len(queries), min(GALLERY_AT_ONCE, len(train))), np.float32)
    for start in range(0, len(train), GALLERY_AT_ONCE):
        piece = train[start : start + GALLERY_AT_ONCE]
        if len(piece) < block.shape[1]:
            block = np.empty((len(queries), len(piece)), np.float32)
        np.matmul(queries, piece.T, out=block)
        least = best[:, -1] if start else _below_kth(block, k)
        _merge(best, where, block, least, start)
    return best, where


def _below_kth(block, k):
    """A number (rows,) just below the k-th largest of every row, or below all.

    The k-th largest of the largest of groups is passed by at least k numbers, and by
    few more as long as there are many groups.
    """
    rows, columns = block.shape
    size = columns // (4 * k)
    if size < 2:
        return np.full(rows, -np.inf, np.float32)
    groups = columns // size
    largest = block[:, : groups * size].reshape(rows, size, groups).max(axis=1)
    bound = np.partition(largest, groups - k, axis=1)[:, groups - k]
    return np.nextafter(bound, np.float32(-np.inf))


def _merge(best, where, block, least, start):
    """Lets the numbers of a block above `least` into the rows of the best, in place."""
    rows, columns = np.divmod(np.flatnonzero(block > least[:, None]), block.shape[1])
    if not len(rows):
        return
    counts = np.bincount(rows, minlength=len(best))
    slots = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    changed = np.flatnonzero(counts)
    lines = np.repeat(np.arange(len(changed)), counts[changed])
    k = best.shape[1]
    shape = (len(changed), k + counts.max())
    values, places = np.full(shape, -np.inf, np.float32), np.zeros(shape, np.int64)
    values[:, :k], places[:, :k] = best[changed], where[changed]
    values[lines, k + slots] = block[rows, columns]
    places[lines, k + slots] = start + columns
    # Stable: of equals the earlier place stays before.
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    best[changed] = np.take_along_axis(values, order, axis=1)
    where[changed] = np.take_along_axis(places, order, axis=1)


def _weights(similarities, temperature):
    """float64 (T, k), `exp(similarity / temperature)` over that of the nearest."""
    if not temperature > 0:
        raise UserError(f"temperature is {temperature}; allowed: above 0")
    similarities = np.asarray(similarities, np.float64)
    nearest_first = similarities - similarities.max(axis=1, keepdims=True)
    return np.exp(nearest_first / temperature)


def rank_classes(similarities, neighbour_labels, temperature, num_classes):
    """Order the classes by the votes of the neighbours, the most voted first.

    A neighbour's vote weighs `exp(similarity / temperature)`.

    Args:
        similarities: (T, k), from `nearest`.
        neighbour_labels: int (T, k), each in 0..num_classes - 1.
        temperature: above 0; a small one lets the nearest decide alone.
        num_classes: number of classes.

    Returns:
        int64 (T, min(5, k, num_classes)). Equal votes keep the order of the classes.

    Raises:
        UserError: `temperature` is not above 0.
    """
    labels = np.asarray(neighbour_labels)
    weights = _weights(similarities, temperature)
    keep = min(5, weights.shape[1], num_classes)
    ranked = np.empty((len(weights), keep), np.int64)
    step = max(1, VOTES_AT_ONCE // num_classes)
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        count = len(labels[rows])
        cells = labels[rows] + num_classes * np.arange(count)[:, None]
        votes = np.bincount(
            cells.ravel(), weights[rows].ravel(), minlength=count * num_classes
        )
        ranked[rows] = _first(votes.reshape(count, num_classes), keep)
    return ranked


def _first(votes, keep):
    """Places of the `keep` largest of each row (T, C), which it overwrites."""
    every = np.arange(len(votes))
    found = np.empty((len(votes), keep), np.int64)
    for column in found.T:
        column[:] = votes.argmax(axis=1)
        votes[every, column] = -1
    return found


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
        UserError: `k` is not in 1..N, `temperature` is not above 0, or a feature is
            not finite.

    Reference:
        facebookresearch/dino, eval_knn.py; Wu et al. 2018, arXiv 1805.01978,
        section 3.4. There the order of equal similarities and of equal votes is left
        open; here the first training photo and the first class win.
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
        train_targets: (N, C), one where a training photo shows a class, else zero;
            an array or a sparse array.
        temperature: of the weights, above 0; see `rank_classes`.

    Returns:
        float32 (T, C) in [0, 1].

    Raises:
        UserError: `temperature` is not above 0.
    """
    targets = sparse.csr_array(train_targets)
    weights, indices = _weights(similarities, temperature), np.asarray(indices)
    weights /= weights.sum(axis=1, keepdims=True)
    shares = np.empty((len(weights), targets.shape[1]), np.float32)
    for start in range(0, len(weights), SHARES_AT_ONCE):
        rows = slice(start, start + SHARES_AT_ONCE)
        count, k = weights[rows].shape
        votes = sparse.csr_array(
            (weights[rows].ravel(), indices[rows].ravel(), np.arange(count + 1) * k),
            shape=(count, targets.shape[0]),
        )
        shares[rows] = (votes @ targets).toarray()
    return shares


def mean_average_precision(scores, targets):
    """Mean over the classes of the area under precision against recall.

    Args:
        scores: (T, C), higher is surer.
        targets: bool (T, C), which classes a photo shows.

    Returns:
        float in [0, 100], over the classes that at least one photo shows; see
        `average_precisions`.

    Raises:
        ValueError: no photo shows any class.
    """
    precisions = average_precisions(scores, targets)
    if np.isnan(precisions).all():
        raise ValueError("no photo shows any class")
    return float(np.nanmean(precisions))


def average_precisions(scores, targets):
    """Area under precision against recall for every class.

    Args:
        scores: (T, C), higher is surer.
        targets: bool (T, C), which classes a photo shows.

    Returns:
        float64 (C,) in [0, 100], NaN for classes that no photo shows. Photos of
        equal score enter the curve together.
    """
    scores, targets = np.asarray(scores), np.asarray(targets, dtype=bool)
    precisions = np.full(targets.shape[1], np.nan)
    for c in np.flatnonzero(targets.any(axis=0)):
        precisions[c] = 100.0 * _average_precision(scores[:, c], targets[:, c])
    return precisions


def _average_precision(score, target):
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(target[order])
    last_of_equals = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = hits[last_of_equals]
    gained = np.diff(hits, prepend=0)
    return float(np.sum(gained * hits / (last_of_equals + 1)) / hits[-1])
