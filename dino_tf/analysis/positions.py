"""How alike the position embeddings of patches are."""

import numpy as np

from dino_tf.errors import UserError


def position_similarity(positions):
    """Cosine between the position embedding of each patch and that of every other.

    Args:
        positions: (h, w, D).

    Returns:
        float32 (h, w, h, w): [i, j] is the map of the patch in row i and column j.
        Embeddings of zeros are like nothing: 0.

    Raises:
        UserError: the embeddings have another form.

    Reference:
        Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7 center.
    """
    positions = np.asarray(positions, np.float64)
    if positions.ndim != 3:
        raise UserError(
            f"position embeddings are {positions.shape}; allowed: (h, w, D)"
        )
    rows, columns, width = positions.shape
    flat = positions.reshape(-1, width)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    flat = flat / np.where(lengths > 0, lengths, 1)
    cosines = np.clip(flat @ flat.T, -1, 1).astype(np.float32)
    return cosines.reshape(rows, columns, rows, columns)
