"""How many directions features really use: collapse shows here without any label."""

import numpy as np


def effective_rank(features):
    """RankMe: how many directions features (N, D) use, from 1 to min(N, D).

    The exponential of the entropy of the singular values' shares, of features as they
    are, neither centered nor normalised.

    Args:
        features: (N, D), finite.

    Returns:
        float; 1 when all features lie on one line.

    Reference:
        Garrido et al. 2023, arXiv 2210.02885, equation 1.
    """
    values = np.linalg.svd(np.asarray(features, np.float64), compute_uv=False)
    total = values.sum()
    if total == 0:
        return 1.0
    shares = values / total + 1e-7
    return float(np.exp(-np.sum(shares * np.log(shares))))


def feature_std(features):
    """Mean over channels of the standard deviation of L2-normalised features.

    Args:
        features: (N, D).

    Returns:
        float, times sqrt(D): 1 for features spread evenly over the sphere, 0 when all
        of them are one.

    Reference:
        Chen & He 2021, arXiv 2011.10566, section 4.1.
    """
    features = np.asarray(features, np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, 1e-12)
    return float(unit.std(axis=0).mean() * np.sqrt(features.shape[1]))
