"""TokenCut: split the patches into object and background by a normalised cut."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from dino_tf.analysis.boxes import box_from_mask, component_at, patch_box_to_pixels
from dino_tf.errors import UserError

# From so many patches on it pays to look for one eigenvector alone.
WORTH_LANCZOS = 200
# Eigenvalues closer than this, or values closer than that share of the largest, are a
# matter of rounding; the published solver then decides, as it does there.
LEAST_GAP, ROUNDING = 1e-4, 1e-7


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
        A single patch is an object by itself.

    Raises:
        ValueError: `grid` does not have N places.
        UserError: `tau` is no cosine below 1.

    Reference:
        Wang et al. 2022, arXiv 2202.11539, section 3; YangtaoWANG95/TokenCut,
        object_discovery.py.
    """
    check_tau(tau)
    features = np.asarray(patch_features, dtype=np.float32)
    if grid[0] * grid[1] != len(features):
        raise ValueError(f"{len(features)} patches do not fill a grid of {grid}")
    if len(features) == 1:
        return _whole(patch_size, image_hw)
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


def check_tau(tau):
    """Raises a `UserError` for a `tau` that joins all patches or none."""
    if not -1 <= tau < 1:
        raise UserError(f"tau is {tau}; allowed: from -1 to below 1, a cosine")


def _whole(patch_size, image_hw):
    """A single patch has nothing to be cut from."""
    box = patch_box_to_pixels(np.array([0, 0, 1, 1]), patch_size, image_hw)
    return TokenCutResult(box, 0, np.ones((1, 1), bool), np.ones((1, 1)))


def _second_eigenvector(features, tau, eps):
    """float64 (N,): solves (D - A) x = a D x for the second smallest a."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(lengths, 1e-12)
    weights = np.where(unit @ unit.T > tau, 1.0, eps)
    if len(weights) >= WORTH_LANCZOS:
        found = _second_by_lanczos(weights)
        if found is not None:
            return found
    degrees = np.diag(weights.sum(axis=1))
    # The third comes along as in the published call: in a tie bits decide.
    last = min(2, len(weights) - 1)
    _, vectors = eigh(degrees - weights, degrees, subset_by_index=[1, last])
    return vectors[:, 0]


def _second_by_lanczos(weights):
    """The same by Lanczos' method, or None where another solver may see it otherwise.

    With y = sqrt(D) x the problem is that of the second largest eigenvalue of
    A / sqrt(D D'); the largest is 1, known with its vector, and taken away.
    """
    root = np.sqrt(weights.sum(axis=1))
    scaled = weights / np.outer(root, root)
    first = root / np.linalg.norm(root)

    def rest(vector):
        vector = vector.ravel()
        return scaled @ vector - first * (first @ vector)

    operator = LinearOperator(weights.shape, matvec=rest, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(len(root))
    try:
        values, vectors = eigsh(operator, 2, which="LA", v0=start, ncv=24, maxiter=40)
    except ArpackNoConvergence:
        return None
    vector = vectors[:, 1] / root
    return vector if values[1] - values[0] > LEAST_GAP and _clear(vector) else None


def _clear(vector):
    """Whether no rounding changes which patch is the extreme, or on which side one is.

    Patches with the same neighbours have the same value, so that ties are frequent.
    """
    size = np.abs(vector)
    second, most = np.partition(size, -2)[-2:]
    margin = np.abs(vector - vector.mean()).min()
    return most - second > ROUNDING * most and margin > ROUNDING * most
