"""Maps of features in the plane: photos that are alike come to lie together."""

import numpy as np

from dino_tf.errors import UserError

# Below, neither t-SNE nor UMAP has neighbours to keep together.
FEWEST = 4


def embed_2d(features, method="pca", seed=0):
    """Places in the plane for rows of features.

    Distances are Euclidean; of features of length one they order pairs as the cosine
    does.

    Args:
        features: (N, D), N at least 1; 4 for "tsne" and "umap".
        method: "pca", the two directions in which the rows differ most: the same
            picture at every call, distances as they are. "tsne" keeps neighbours
            together and tears the rest apart (perplexity 30, less for few rows);
            what lies between groups tells nothing. "umap" does the same faster for
            many rows, and needs the package umap-learn.
        seed: of t-SNE and UMAP; PCA draws nothing.

    Returns:
        float32 (N, 2), of mean zero.

    Raises:
        UserError: an unknown method, features of another shape or not finite, too few
            of them, or umap-learn is missing.

    Reference:
        van der Maaten & Hinton 2008, JMLR 9 (t-SNE); McInnes et al. 2018,
        arXiv 1802.03426 (UMAP).
    """
    features = np.asarray(features, dtype=np.float32)
    if features.ndim != 2 or 0 in features.shape or not np.isfinite(features).all():
        raise UserError(
            f"features are {features.shape}; allowed: finite numbers (N, D), N and D "
            "at least 1"
        )
    if method not in METHODS:
        raise UserError(f"method: got {method!r}, allowed: {', '.join(METHODS)}")
    if method != "pca" and len(features) < FEWEST:
        raise UserError(
            f"{method} of {len(features)} photos; allowed: {FEWEST} or more, or pca"
        )
    places = METHODS[method](features, seed)
    return (places - places.mean(axis=0)).astype(np.float32)


def _pca(features, seed):
    # Not 32 bits: rows that are almost equal differ in the last digits only.
    centered = features.astype(np.float64)
    centered -= centered.mean(axis=0)
    left, strengths, _ = np.linalg.svd(centered, full_matrices=False)
    places = np.zeros((len(features), 2))
    found = (left * strengths)[:, :2]
    # The sign of a direction is nobody's choice: the outermost row lies on the right.
    signs = np.sign(found[np.argmax(np.abs(found), axis=0), range(found.shape[1])])
    places[:, : found.shape[1]] = found * np.where(signs == 0, 1, signs)
    return places


def _tsne(features, seed):
    from sklearn.manifold import TSNE

    # Published advice is 5 to 50; it has to stay below the number of rows.
    perplexity = min(30.0, (len(features) - 1) / 3)
    start = _pca(features, seed)
    # scikit-learn's own start: the first direction with a deviation of 1e-4.
    start = (1e-4 / max(start[:, 0].std(), 1e-12) * start).astype(np.float32)
    return TSNE(
        perplexity=perplexity, init=start, learning_rate="auto", random_state=seed
    ).fit_transform(features)


def _umap(features, seed):
    try:
        import umap
    except ImportError as error:
        raise UserError("method umap needs: pip install umap-learn") from error
    neighbours = min(15, len(features) - 1)
    # Its spectral start wants more rows than these, and one thread a seed.
    start = "spectral" if len(features) > 2 * neighbours else "random"
    return umap.UMAP(
        n_neighbors=neighbours, init=start, random_state=seed, n_jobs=1
    ).fit_transform(features)


METHODS = {"pca": _pca, "tsne": _tsne, "umap": _umap}
