"""Which place of a pyramid of feature maps is to find which box, and what to learn.

Places are the centres of the cells of square maps, level by level, from fine to coarse,
row by row. A level of stride s is for boxes whose longer side has 4 to 8 s pixels, the
finest for all smaller and the coarsest for all larger ones.
"""

from dataclasses import dataclass

import numpy as np

BACKGROUND, NOT_COUNTED = -1, -2
SIDES = (4.0, 8.0)  # in strides, of the boxes of a level
RADIUS = 1.5  # strides around a box's centre, within which places are to find it


@dataclass(frozen=True)
class Places:
    """The places of all levels.

    Attributes:
        size: Side of the image in pixels.
        strides: Of the levels, in pixels.
        centres: float32 (P, 2), x and y in pixels.
        stride: float32 (P,), of each place's level.
    """

    size: int
    strides: tuple
    centres: np.ndarray
    stride: np.ndarray

    @classmethod
    def of(cls, size, patch_size):
        """Those of a backbone's image: levels from half a patch upwards.

        Args:
            size: Side of the image in pixels, a multiple of the patch.
            patch_size: Pixels.
        """
        strides, counts = strides_of(size, patch_size), []
        for stride in strides:
            cells = -(-size // stride)
            middle = (np.arange(cells, dtype=np.float32) + 0.5) * stride
            x, y = np.meshgrid(middle, middle)
            counts.append((np.stack([x.ravel(), y.ravel()], 1), stride))
        centres = np.concatenate([centre for centre, _ in counts])
        stride = np.repeat(strides, [len(c) for c, _ in counts])
        return cls(size, strides, centres, stride.astype(np.float32))

    def __len__(self):
        return len(self.stride)


def strides_of(size, patch_size):
    """Strides of the levels: half a patch, a patch, and on while boxes can be so large.

    Args:
        size: Side of the image in pixels.
        patch_size: Pixels.
    """
    strides = [patch_size / 2, float(patch_size)]
    while 2 * strides[-1] * SIDES[0] < size:
        strides.append(2 * strides[-1])
    return tuple(strides)


def targets(places, boxes, classes, counted):
    """What each place is to say.

    A box is learnt at the places of its level within `RADIUS` strides of its centre
    that lie in it, and at the one next to its centre, be the box ever so small. Where
    boxes share a place, the smallest has it. Other places are background, but for
    those in boxes that do not count.

    Args:
        places: `Places`.
        boxes: (n, 4), left, top, right, bottom in pixels of the image.
        classes: int (n,).
        counted: bool (n,); others, such as difficult objects, are not learnt.

    Returns:
        int32 (P,): class, `BACKGROUND` or `NOT_COUNTED`.
        float32 (P, 4): the box of the places that have a class, else zeros.

    Reference:
        Tian et al. 2019, arXiv 1904.01355, section 3.1, and its centre sampling; for
        the place next to the centre Ge et al. 2021, arXiv 2107.08430.
    """
    count = len(places)
    kinds = np.full(count, BACKGROUND, np.int32)
    found = np.zeros((count, 4), np.float32)
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    if not len(boxes):
        return kinds, found
    corner, far = boxes[:, None, :2], boxes[:, None, 2:]
    inside = ((places.centres >= corner) & (places.centres < far)).all(-1)
    counted = np.asarray(counted, bool)
    kinds[inside[~counted].any(0)] = NOT_COUNTED
    if not counted.any():
        return kinds, found
    away = np.abs(places.centres - (corner + far) / 2).max(-1)
    on_level = _levels(boxes, places)[:, None] == places.stride
    chosen = inside & on_level & (away < RADIUS * places.stride)
    nearest = np.where(on_level, away, np.inf).argmin(1)
    chosen[np.arange(len(boxes)), nearest] = True
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    cost = np.where(chosen & counted[:, None], area[:, None], np.inf)
    winner, taken = cost.argmin(0), np.isfinite(cost.min(0))
    kinds[taken] = np.asarray(classes)[winner[taken]]
    found[taken] = boxes[winner[taken]]
    return kinds, found


def _levels(boxes, places):
    """Stride of the level of each box."""
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1)
    limits = SIDES[1] * np.array(places.strides[:-1])
    return np.array(places.strides)[np.searchsorted(limits, longer)]
