"""TokenCut: split the patches into object and background by a normalised cut."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from dino_tf.analysis.boxes import box_from_mask, component_at, patch_box_to_pixels


@dataclass(frozen=True)
class TokenCutResult:
    """What `tokencut` found.

    Attributes:
        box: int64 (4,), xmin, ymin, xmax, ymax in pixels.
        seed: flat index of the patch that lies farthest from the cut.
        mask: bool (h, w), the patches of the object.
        eigenvector: float64 (h, w), positive towards the object.
    """

    box: np.ndarray
    seed: int
    mask: np.ndarray
    eigenvector: np.ndarray


def tokencut(patch_features, grid, patch_size, image_hw, tau=0.2, eps=1e-5):
    """Box and mask of the object that a normalised cut separates.

    Args:
        patch_features: (N, D), without CLS, in rows of the grid; TokenCut uses the
            keys of the last block.
        grid: (h, w) with h * w = N.
        patch_size: pixels along a patch's side.
        image_hw: height and width before padding to whole patches.
        tau: cosine above which two patches are joined.
        eps: weight of an edge between patches that are not joined.

    Returns:
        `TokenCutResult`; the side of the cut with the extreme patch is the object.

    Raises:
        ValueError: `grid` does not have N places.

    Reference:
        Wang et al. 2022, arXiv 2202.11539, section 3; YangtaoWANG95/TokenCut,
        object_discovery.py.
    """
    features = np.asarray(patch_features, dtype=np.float32)
    if grid[0] * grid[1] != len(features):
        raise ValueError(f"{len(features)} patches do not fill a grid of {grid}")
    vector = _second_eigenvector(features, tau, eps)
    seed = int(np.argmax(np.abs(vector)))
    above = vector > vector.mean()
    if not above[seed]:
        vector, above = -vector, ~above
    mask = component_at(above.reshape(grid), seed)
    box = patch_box_to_pixels(box_from_mask(mask), patch_size, image_hw)
    return TokenCutResult(
        box=box, seed=seed, mask=mask, eigenvector=vector.reshape(grid)
    )


def _second_eigenvector(features, tau, eps):
    """float64 (N,): solves (D - A) x = a D x for the second smallest a."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, 1e-12)
    weights = np.where(unit @ unit.T > tau, 1.0, eps)
    degrees = np.diag(weights.sum(axis=1))
    _, vectors = eigh(degrees - weights, degrees, subset_by_index=[1, 1])
    return vectors[:, 0]
