"""Detections: which to keep, and how precise they are by the rule of VOC 2007."""

import numpy as np

from dino_tf.analysis.boxes import iou

RECALLS = 11  # of the rule of VOC 2007: 0, 0.1, ... 1


def keep_best(boxes, scores, classes, overlap=0.6, most=100):
    """Non-maximum suppression: of boxes of one class that overlap, the best scored.

    Args:
        boxes: (n, 4).
        scores: (n,).
        classes: int (n,).
        overlap: IoU above which the lower one goes.
        most: Boxes that may stay.

    Returns:
        int64 places of those that stay, the best first; equal scores in their order.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    order, kept = np.argsort(-np.asarray(scores), kind="stable"), []
    # Classes are moved so far apart that their boxes never meet.
    span = boxes.max(initial=0) - boxes.min(initial=0) + 1
    moved = boxes + (np.asarray(classes) * span)[:, None]
    while len(order) and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[iou(moved[best], moved[order]) <= overlap]
    return np.array(kept, np.int64)


def voc07_precision(photos, boxes, scores, truth, overlap=0.5):
    """Average precision of one class by the rule of VOC 2007.

    From the best scored on, a box is right when the object of its photo that it
    overlaps most is overlapped by `overlap` or more and has not been found yet; boxes
    on difficult objects count neither way. The result is the mean, over the eleven
    recalls 0, 0.1, ..., 1, of the largest precision at that recall or above. Whether a
    recall is reached is decided in whole numbers, where the published programs' 0.3,
    0.6 and 0.7 are binary fractions slightly above.

    Args:
        photos: (n,), the photo of each box.
        boxes: (n, 4).
        scores: (n,); equal ones stay in their order.
        truth: {photo: (boxes (m, 4), bool (m,) whether difficult)}.
        overlap: Smallest IoU.

    Returns:
        Percentage; NaN where no object counts.

    Reference:
        PASCAL VOC 2007 development kit, section 4.4, and VOCevaldet.m.
    """
    objects = sum(int((~np.asarray(hard)).sum()) for _, hard in truth.values())
    if not objects:
        return float("nan")
    seen = {photo: np.zeros(len(found), bool) for photo, (found, _) in truth.items()}
    right, wrong = [], []
    for row in np.argsort(-np.asarray(scores, np.float64), kind="stable"):
        photo = photos[row]
        there, hard = truth.get(photo, ((), ()))
        overlaps = iou(boxes[row], there) if len(there) else np.zeros(1)
        best = int(overlaps.argmax())
        hit = bool(overlaps[best] >= overlap)
        if hit and hard[best]:
            continue
        new = hit and not seen[photo][best]
        if new:
            seen[photo][best] = True
        right.append(new)
        wrong.append(not new)
    return _eleven_points(np.cumsum(right), np.cumsum(wrong), objects)


def _eleven_points(right, wrong, objects):
    precision, total = right / np.maximum(right + wrong, 1), 0.0
    for step in range(RECALLS):
        reached = (RECALLS - 1) * right >= step * objects
        total += precision[reached].max(initial=0.0)
    return 100.0 * total / RECALLS
