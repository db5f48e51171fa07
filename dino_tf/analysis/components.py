"""Principal components of patch features: what sets an object off from the rest."""

import numpy as np


def principal_components(features, count=3):
    """Patches seen along the directions in which their features differ most.

    Args:
        features: (h, w, D).
        count: components, at least 1.

    Returns:
        float32 (count, h, w), the strongest first, each of mean zero and of standard
        deviation one (zero where the features have no further direction). Signs are
        such that the outermost patches are negative on average: objects are seldom
        cut off by the border.

    Reference:
        Oquab et al. 2023, arXiv 2304.07193, section 7.5 (there without sign).
    """
    features = np.asarray(features, dtype=np.float64)
    rows, columns, width = features.shape
    flat = features.reshape(-1, width)
    # What is left of equal patches is rounding.
    least = 1e-9 * np.linalg.norm(flat)
    flat = flat - flat.mean(axis=0)
    left, strengths, _ = np.linalg.svd(flat, full_matrices=False)
    found = (left * (strengths > least))[:, :count] * np.sqrt(len(flat))
    maps = np.zeros((count, rows, columns))
    maps[: found.shape[1]] = found.T.reshape(-1, rows, columns)
    border = _border(rows, columns)
    for component in maps:
        if component[border].mean() > 0:
            component *= -1
    return maps.astype(np.float32)


def _border(rows, columns):
    border = np.ones((rows, columns), dtype=bool)
    border[1:-1, 1:-1] = False
    return border
