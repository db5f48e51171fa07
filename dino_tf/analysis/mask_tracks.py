"""How well masks follow an object through a film: the measures of DAVIS."""

import math

import numpy as np
from scipy.spatial import cKDTree

# Of a frame's diagonal: how far a boundary may be off.
TOLERANCE = 0.008
GOOD = 0.5
BINS = 4


def region_similarity(found, truth):
    """J, the Jaccard index of two masks; 1 where both are empty.

    Args:
        found: bool (H, W).
        truth: bool (H, W).

    Returns:
        float in [0, 1].

    Reference:
        Perazzi et al. 2016, section 4; davisvideochallenge/davis2017-evaluation,
        davis2017/metrics.py, `db_eval_iou`.
    """
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0


def boundary_accuracy(found, truth, tolerance=TOLERANCE):
    """F of the boundaries of two masks.

    Precision is the share of the found boundary that lies near the true one, recall
    that of the true one near the found one. Near is at most `tolerance` times the
    diagonal, rounded up to whole pixels, away. Two empty boundaries give 1, one 0.

    Args:
        found: bool (H, W).
        truth: bool (H, W).
        tolerance: Share of the diagonal.

    Returns:
        float in [0, 1].

    Reference:
        Martin et al. 2004; davisvideochallenge/davis2017-evaluation,
        davis2017/metrics.py, `f_measure`.
    """
    reach = math.ceil(tolerance * math.hypot(*found.shape))
    ours, theirs = (np.argwhere(boundary(mask)) for mask in (found, truth))
    if not (len(ours) and len(theirs)):
        return float(len(ours) == len(theirs))
    precision = _share_near(ours, theirs, reach)
    recall = _share_near(theirs, ours, reach)
    both = precision + recall
    return float(2 * precision * recall / both) if both else 0.0


def boundary(mask):
    """bool (H, W): pixels unlike their neighbour to the right, below, or both.

    Args:
        mask: bool (H, W). What lies outside is no neighbour.

    Reference:
        davisvideochallenge/davis2017-evaluation, davis2017/metrics.py, `_seg2bmap`.
    """
    mask = np.asarray(mask, bool)
    framed = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, across = framed[:-1, 1:], framed[1:, :-1], framed[1:, 1:]
    return (mask != right) | (mask != below) | (mask != across)


def track_statistics(values):
    """(mean, recall, decay) of a measure over the frames of a film.

    Args:
        values: (n,), n from 1: J or F of an object in each judged frame, which are
            all but the first and the last one.

    Returns:
        Three floats: the mean; the share of frames above 0.5; and the mean of the
        first quarter of the film less that of the last one.

    Reference:
        davisvideochallenge/davis2017-evaluation, davis2017/utils.py, `db_statistics`.
        It keeps the ends of the quarters in 8 bits, so that films of more than 257
        frames are cut at wrong places; not so here.
    """
    values = np.asarray(values, np.float64)
    ends = np.round(np.linspace(1, len(values), BINS + 1) + 1e-10).astype(int) - 1
    first, last = (values[ends[i] : ends[i + 1] + 1] for i in (0, BINS - 1))
    decay = first.mean() - last.mean()
    return float(values.mean()), float((values > GOOD).mean()), float(decay)


def _share_near(points, others, reach):
    """Share of the points that lie at most `reach` pixels from one of the others."""
    # Squares of distances are whole numbers: half of one more lets none in by chance.
    most = math.sqrt(reach * reach + 0.5)
    distances, _ = cKDTree(others).query(points, distance_upper_bound=most)
    return np.count_nonzero(np.isfinite(distances)) / len(points)
