"""LOST: find one object from patch features alone."""

from dataclasses import dataclass

import numpy as np

from dino_tf.analysis.boxes import box_from_mask, component_at, patch_box_to_pixels


@dataclass(frozen=True)
class LostResult:
    """What `lost` found.

    Attributes:
        box: int64 (4,), xmin, ymin, xmax, ymax in pixels.
        seed: flat index of the patch where the object was started.
        score: float32 (N,), minus the number of patches each patch resembles.
        mask: bool (h, w), the patches of the object.
    """

    box: np.ndarray
    seed: int
    score: np.ndarray
    mask: np.ndarray


def lost(patch_features, grid, patch_size, image_hw, k=100):
    """Box of the object around the patch that resembles the fewest others.

    Patches of an object correlate with few patches, those of the background with
    many. The loneliest patch starts the object; the `k` loneliest that resemble it
    vote on every patch; the connected part around the start is the object.

    Args:
        patch_features: (N, D), without CLS, in rows of the grid; LOST uses the keys of
            the last block.
        grid: (h, w) with h * w = N.
        patch_size: pixels along a patch's side.
        image_hw: height and width before padding to whole patches.
        k: how many of the loneliest patches may join in.

    Returns:
        `LostResult`.

    Raises:
        ValueError: `grid` does not have N places, or all features are zero.

    Reference:
        Siméoni et al. 2021, arXiv 2109.14279, section 3; valeoai/LOST,
        object_discovery.py.
    """
    features = np.asarray(patch_features, dtype=np.float32)
    if grid[0] * grid[1] != len(features):
        raise ValueError(f"{len(features)} patches do not fill a grid of {grid}")
    similarity = features @ features.T
    score = _loneliness(similarity)
    # Many patches tie. The published sort leaves their order open; here the first wins.
    loneliest = np.argsort(-score, kind="stable")
    seed = loneliest[0]
    candidates = loneliest[:k]
    voters = candidates[similarity[seed, candidates] > 0]
    votes = similarity[voters].sum(axis=0).reshape(grid)
    mask = component_at(votes > 0, seed)
    box = patch_box_to_pixels(box_from_mask(mask), patch_size, image_hw)
    return LostResult(box=box, seed=int(seed), score=score, mask=mask)


def _loneliness(similarity):
    """float32 (N,): minus how many other patches each one correlates with."""
    alike = similarity > 0
    np.fill_diagonal(alike, False)
    return -alike.sum(axis=1).astype(np.float32)
