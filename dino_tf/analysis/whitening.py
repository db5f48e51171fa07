"""Whitening: features turned and scaled so that no direction outweighs the others."""

from dataclasses import dataclass

import numpy as np

# Directions of less than this share of the strongest one count as that strong.
WEAKEST = 1e-5


class Moments:
    """Sum and second moments of features that come in blocks.

    Args:
        width: D, numbers of a feature.
    """

    def __init__(self, width):
        self.count = 0
        self._sum = np.zeros(width)
        self._products = np.zeros((width, width))

    def add(self, features):
        """Counts a block (n, D)."""
        features = np.asarray(features, np.float64)
        self.count += len(features)
        self._sum += features.sum(axis=0)
        self._products += features.T @ features

    def whitening(self):
        """`Whitening` of what was counted, at least one feature.

        Reference:
            facebookresearch/dino, eval_copy_detection.py and utils.py, `PCA`: the
            directions are those of the second moments about zero, although the mean
            is subtracted from what is whitened.
        """
        strengths, directions = np.linalg.eigh(self._products / self.count)
        floor = max(strengths[-1] * WEAKEST, np.finfo(np.float64).tiny)
        scale = 1 / np.sqrt(np.maximum(strengths, floor))
        return Whitening(self._sum / self.count, directions * scale)


@dataclass(frozen=True)
class Whitening:
    """A mean and a map.

    Attributes:
        mean: float64 (D,).
        map: float64 (D, D); the columns are directions, each over its strength.
    """

    mean: np.ndarray
    map: np.ndarray

    def __call__(self, features):
        """float32 (N, D) of features (N, D)."""
        return ((features - self.mean) @ self.map).astype(np.float32)
