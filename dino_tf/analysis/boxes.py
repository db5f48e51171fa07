"""Boxes: from masks, overlap, and the share of photos where one box is right.

A box is `[xmin, ymin, xmax, ymax]` in pixels on the edges between pixels: a box over
the whole image is `[0, 0, W, H]`, and `xmax - xmin` is its width.
"""

import numpy as np
from scipy import ndimage


def box_from_mask(mask):
    """Tightest box around the true places of `mask`.

    Args:
        mask: (h, w), true where the object is.

    Returns:
        int64 (4,): xmin, ymin, xmax, ymax.

    Raises:
        ValueError: nothing in the mask is true.
    """
    rows, columns = np.nonzero(mask)
    if not rows.size:
        raise ValueError("box_from_mask received an empty mask")
    return np.array(
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.int64
    )


def component_at(mask, seed):
    """The connected part of `mask` (four neighbours) that holds `seed`.

    Args:
        mask: (h, w), true where the object may be.
        seed: flat index into `mask`; must be true there.

    Returns:
        bool (h, w).

    Raises:
        ValueError: `mask` is false at `seed`.
    """
    labels, _ = ndimage.label(mask)
    label = labels.flat[seed]
    if label == 0:
        raise ValueError(f"patch {seed} is not part of the mask")
    return labels == label


def patch_box_to_pixels(box, patch_size, image_hw):
    """A box counted in patches as one in pixels, cut at the image's edge.

    Args:
        box: (4,) in patches.
        patch_size: pixels along a patch's side.
        image_hw: height and width before padding to whole patches.

    Returns:
        int64 (4,) in pixels.
    """
    height, width = image_hw
    return np.minimum(np.asarray(box) * patch_size, [width, height, width, height])


def iou(box, others):
    """Intersection over union of one box with several.

    Args:
        box: (4,).
        others: (n, 4).

    Returns:
        float64 (n,), in [0, 1]; 0 where both boxes are empty.
    """
    box = np.asarray(box, dtype=np.float64)
    others = np.asarray(others, dtype=np.float64).reshape(-1, 4)
    top_left = np.maximum(box[:2], others[:, :2])
    bottom_right = np.minimum(box[2:], others[:, 2:])
    inter = np.prod(np.maximum(bottom_right - top_left, 0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    union = np.prod(box[2:] - box[:2]) + areas - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def corloc(boxes, ground_truth, threshold=0.5):
    """Percentage of photos whose one predicted box finds any of their objects.

    Args:
        boxes: one (4,) box for each photo.
        ground_truth: for each photo, (n, 4) boxes of its objects, n at least 1.
        threshold: smallest overlap (IoU) that counts as found.

    Returns:
        float in [0, 100].

    Raises:
        ValueError: no photo, or not one box for each photo.

    Reference:
        valeoai/LOST, main_lost.py.
    """
    if not len(boxes) or len(boxes) != len(ground_truth):
        raise ValueError(f"{len(boxes)} boxes for {len(ground_truth)} photos")
    pairs = zip(boxes, ground_truth, strict=True)
    found = [bool(np.any(iou(box, truth) >= threshold)) for box, truth in pairs]
    return 100.0 * float(np.mean(found))
