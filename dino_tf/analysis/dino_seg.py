"""DINO-seg: a box around what CLS attends to, the baseline of object discovery."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dino_tf.analysis.attention import keep_mass_mask
from dino_tf.analysis.boxes import box_from_mask


@dataclass(frozen=True)
class DinoSegResult:
    """What `dino_seg` found.

    Attributes:
        box: int64 (4,), xmin, ymin, xmax, ymax in pixels, not cut at the photo's edge.
        mask: bool (h, w), the patches of the object.
    """

    box: np.ndarray
    mask: np.ndarray


def dino_seg(attention, patch_size, keep_mass=0.6):
    """Box of the largest connected part of the strongest attention.

    This is the published baseline to the letter, since figures are compared with it;
    its program has two quirks. Of the connected parts, in the order in which they
    begin row by row, the last one is never chosen; and where there is only one, all
    that lies outside of it is taken. The box may reach into the padding.

    Args:
        attention: (h, w), not negative: attention of CLS to each patch in one head.
        patch_size: pixels along a patch's side.
        keep_mass: share of the attention that is kept, above 0 and at most 1.

    Returns:
        `DinoSegResult`. Where the published program finds nothing at all, because a
        single part fills the photo, this part is the object.

    Raises:
        UserError: `keep_mass` is out of range.

    Reference:
        Siméoni et al. 2021, arXiv 2109.14279, section 4.2; valeoai/LOST,
        object_discovery.py, `dino_seg`.
    """
    kept = keep_mass_mask(np.asarray(attention)[None], keep_mass)[0]
    labels, count = ndimage.label(kept)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:count]
    mask = labels == (sizes.argmax() + 1 if sizes.size else 0)
    if not mask.any():
        mask = np.ones_like(kept)
    return DinoSegResult(box=box_from_mask(mask) * patch_size, mask=mask)
