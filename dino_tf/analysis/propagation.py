"""Labels of known frames, carried to the next frame by the likeness of patches."""

import numpy as np

from dino_tf.analysis.patch_classes import enlarge_bilinear

# Numbers of likeness between a tile of patches and all that it may look at: 32 MB.
MOST_NUMBERS = 1 << 23
# Smaller tiles are slower: their products of matrices are too thin.
LEAST_SIDE = 8
# Patches out of reach are pushed below every cosine.
PUSH = np.float32(4)
FOLD = 16
TINY = 1e-12


def unit_vectors(features):
    """float32 (..., D) of length 1; vectors of zeros stay so.

    Args:
        features: (..., D).
    """
    features = np.asarray(features, np.float32)
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.maximum(lengths, TINY)


def propagate_labels(target, memory, labels, radius=12, k=5, temperature=0.1):
    """Labels of a frame's patches: the mean of those of the most similar patches.

    A patch looks at the patches of all known frames at most `radius` rows and columns
    away from it. Those that are no less similar than the k-th of them count, by
    exp(cosine / temperature).

    The likeness of whole frames is never held: tiles of the frame look at the windows
    that they reach, so that the working set is below `MOST_NUMBERS` and about twice
    the memory's own features.

    Args:
        target: float32 (h, w, D), vectors of length 1.
        memory: List of float32 (h, w, D) of known frames, vectors of length 1.
        labels: List of float32 (h, w, C), shares of each label, a frame each.
        radius: In patches; 0 lets every patch look at all others.
        k: From 1; patches that count (more where several are alike).
        temperature: Above 0.

    Returns:
        float32 (h, w, C); sums over C are 1 where those of `labels` are.

    Reference:
        Jabri et al. 2020, arXiv 2006.14613, section 4.1;
        facebookresearch/dino, eval_video_segmentation.py, `label_propagation`.
    """
    height, width = target.shape[:2]
    result = np.empty((height, width, labels[0].shape[-1]), np.float32)
    side = _tile_side((height, width), len(memory), radius)
    for rows in _ranges(height, side, radius):
        for columns in _ranges(width, side, radius):
            (own_rows, near_rows), (own_columns, near_columns) = rows, columns
            window = (near_rows, near_columns)
            tile = target[own_rows, own_columns]
            around = np.concatenate([frame[window] for frame in memory])
            alike = tile.reshape(-1, tile.shape[-1]) @ _flat(around).T
            alike = alike.reshape(len(alike), len(memory), -1)
            if radius:
                alike += _push(rows, columns, radius)[:, None]
            known = np.stack([_flat(one[window]) for one in labels])
            shares = _weighted(alike, known, k, temperature)
            result[own_rows, own_columns] = shares.reshape(*tile.shape[:2], -1)
    return result


def label_map(shares, patch_size):
    """The label of every pixel: each label's shares enlarged, stretched and compared.

    Args:
        shares: float32 (h, w, C), see `propagate_labels`.
        patch_size: Pixels a side of a patch.

    Returns:
        uint8 (h * patch_size, w * patch_size), the first of the largest labels. Every
        label that appears is stretched to 0..1 over the frame; one that is the same
        everywhere is left as it is.

    Reference:
        facebookresearch/dino, eval_video_segmentation.py, `norm_mask`, and how it is
        called. There a label of one value everywhere becomes not-a-number, which its
        maximum takes for the largest; as shares sum to 1 the result is the same.
    """
    height, width, _ = shares.shape
    large = enlarge_bilinear(shares, (height * patch_size, width * patch_size))
    flat = large.reshape(-1, large.shape[-1])
    low, high = flat.min(axis=0), flat.max(axis=0)
    stretched = (high > 0) & (high > low)
    low = np.where(stretched, low, 0).astype(np.float32)
    span = np.where(stretched, high - low, 1).astype(np.float32)
    return np.argmax((large - low) / span, axis=-1).astype(np.uint8)


def _tile_side(shape, frames, radius):
    """Patches a side of a tile, so that likeness stays below `MOST_NUMBERS`."""
    height, width = shape
    side = max(radius, LEAST_SIDE)
    while side > 1:
        reach = side + 2 * radius if radius else max(shape)
        if side * side * frames * min(reach, height) * min(reach, width) < MOST_NUMBERS:
            break
        side = max(side // 2, 1)
    return side


def _ranges(length, side, radius):
    """[(slice of a tile, slice that it reaches)] along one direction."""
    ranges = []
    for start in range(0, length, side):
        stop = min(start + side, length)
        near = (max(start - radius, 0), min(stop + radius, length))
        ranges.append((slice(start, stop), slice(*(near if radius else (0, length)))))
    return ranges


def _push(rows, columns, radius):
    """float32 (tile, window): -PUSH where a patch is out of reach, else 0."""
    far = []
    for own, near in (rows, columns):
        places = np.arange(own.start, own.stop)[:, None]
        far.append(np.abs(places - np.arange(near.start, near.stop)) > radius)
    either = far[0][:, None, :, None] | far[1][None, :, None, :]
    count = either.shape[0] * either.shape[1]
    return either.reshape(count, -1) * -PUSH


def _flat(array):
    return array.reshape(-1, array.shape[-1])


def _weighted(alike, known, k, temperature):
    """Mean labels of the most similar places.

    Args:
        alike: float32 (T, frames, places).
        known: float32 (frames, places, C).

    Returns:
        float32 (T, C).
    """
    row, frame, place, cosine = _nearest(alike, k)
    weight = np.exp(cosine / np.float32(temperature))
    found = known[frame, place]
    total = np.bincount(row, weight, len(alike))
    sums = [np.bincount(row, weight * one, len(alike)) for one in found.T]
    return (np.stack(sums, axis=1) / total[:, None]).astype(np.float32)


def _nearest(alike, k):
    """(row, frame, place, cosine) of all that is no less similar than the k-th.

    The k-th of the maxima of groups is at most the k-th of all: what lies below it
    need not be sorted, which is nearly all. Four times quicker than a partition.
    """
    best = alike.max(axis=1)
    low = _kth_at_least(best, k)[:, None]
    row, place = np.nonzero(best >= low)
    chosen = alike[row, :, place]
    which, frame = np.nonzero(chosen >= low[row])
    cosine, row, place = chosen[which, frame], row[which], place[which]
    order = np.lexsort((-cosine, row))
    cosine, row, place, frame = (a[order] for a in (cosine, row, place, frame))
    counts = np.bincount(row, minlength=len(alike))
    first = np.cumsum(counts) - counts
    kth = cosine[first + np.minimum(counts, k) - 1]
    kept = (cosine >= kth[row]) & (cosine > -PUSH / 2)
    return row[kept], frame[kept], place[kept], cosine[kept]


def _kth_at_least(best, k):
    """(T,): for each row of (T, n) a number that is not above its k-th largest."""
    folded = best.shape[1] // FOLD
    if folded >= k:
        best = best[:, : folded * FOLD].reshape(len(best), FOLD, folded).max(axis=1)
    if best.shape[1] <= k:
        # So few that all may count, whatever the number of frames behind each.
        return np.full(len(best), -np.inf, np.float32)
    return np.partition(best, best.shape[1] - k, axis=1)[:, -k]
