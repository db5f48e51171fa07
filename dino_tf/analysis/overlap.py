"""Masks against masks: enlarged to pixels, and how well they overlap objects."""

import numpy as np

from dino_tf.analysis.attention import keep_mass_mask

VOID = 255


def enlarge_nearest(maps, shape):
    """Maps at another size, each place with the value of the place it lies in.

    Args:
        maps: (..., h, w).
        shape: (H, W) of the result, smaller or larger.

    Returns:
        (..., H, W) of the same type: row i is row floor(i * h / H), columns alike.
    """
    maps = np.asarray(maps)
    rows, columns = (
        np.arange(wanted) * there // wanted
        for wanted, there in zip(shape, maps.shape[-2:], strict=True)
    )
    return maps[..., rows[:, None], columns]


def overlaps(masks, objects):
    """Intersection over union of every object with every mask.

    Args:
        masks: bool (m, H, W).
        objects: integers (H, W): 0 background, 255 void, other numbers an object each.

    Returns:
        numbers: (n,), those of the objects, rising.
        iou: float64 (n, m) in [0, 1]. Void pixels count neither way.
    """
    masks, objects = np.asarray(masks, dtype=bool), np.asarray(objects)
    judged = objects != VOID
    numbers, places = np.unique(objects[judged], return_inverse=True)
    masks = masks[:, judged]
    areas = np.bincount(places, minlength=len(numbers))
    inside = [np.bincount(places[mask], minlength=len(numbers)) for mask in masks]
    inside = np.array(inside).reshape(len(masks), len(numbers)).T
    union = areas[:, None] + masks.sum(axis=1) - inside
    shown = numbers > 0
    return numbers[shown], inside[shown] / union[shown]


def jaccard(attention, objects, keep_mass=0.6):
    """Jaccard similarity of every object with the thresholded map of every head.

    Args:
        attention: (heads, h, w), not negative, over the whole picture.
        objects: integers (H, W), see `overlaps`.
        keep_mass: share of each map's sum that its mask keeps, above 0 and at most 1.

    Returns:
        float64 (n, heads) in [0, 1], a row for each object.

    Raises:
        UserError: `keep_mass` is out of range.

    Reference:
        Caron et al. 2021, arXiv 2104.14294, section 4.2.2 and figure 4; how heads
        and objects are paired is told in issue 54 of facebookresearch/dino.
    """
    masks = enlarge_nearest(keep_mass_mask(attention, keep_mass), np.shape(objects))
    return overlaps(masks, objects)[1]
