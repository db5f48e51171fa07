"""How precise detections are: the rule of VOC 2007, and that of COCO."""

import contextlib
import importlib.util
import io

import numpy as np

from dino_tf.analysis.detection import voc07_precision
from dino_tf.coco_conversion import coco_content

MISSING = "no numbers by COCO's rule: pip install pycocotools"
# Name, place of the IoU among 0.5, 0.55, ... (None is all), place of the area.
_COCO = (
    ("ap", None, 0),
    ("ap50", 0, 0),
    ("ap75", 5, 0),
    ("ap_small", None, 1),
    ("ap_medium", None, 2),
    ("ap_large", None, 3),
)


def voc07_by_class(photos, found):
    """Average precision at an IoU of 0.5 by the rule of VOC 2007.

    Args:
        photos: `BoxedPhotos` that are judged.
        found: {place: (boxes (n, 4), scores (n,), classes (n,))}.

    Returns:
        float64 (classes,), percentages; NaN where no object counts.
    """
    # Photos in order, so that equal scores are looked at in one order.
    places = [place for place in photos.places.tolist() if place in found]
    at = np.concatenate([np.full(len(found[p][0]), p) for p in places] or [[]])
    boxes, scores, kinds = (
        np.concatenate([found[place][column] for place in places] or [empty])
        for column, empty in enumerate((np.zeros((0, 4)), [], []))
    )
    precision = []
    for kind in range(len(photos.class_names)):
        truth = {}
        for place, one in photos.boxes.items():
            own = one.classes == kind
            if own.any():
                truth[place] = (one.xyxy[own], one.difficult[own])
        rows = kinds == kind
        precision.append(voc07_precision(at[rows], boxes[rows], scores[rows], truth))
    return np.array(precision)


def has_pycocotools():
    """Whether COCO's own program is there."""
    return importlib.util.find_spec("pycocotools") is not None


def coco_numbers(truth, results, most=100):
    """Average precision by COCO's rule, measured by pycocotools.

    Args:
        truth: Of `truth_content`. Crowds, as which difficult objects are written, are
            passed over; an object's area is that of its box.
        results: Of `results_content`.
        most: Detections of one photo that count.

    Returns:
        {"ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large": percentage} of what
        has objects, and the float64 (classes,) of "ap", NaN where no object counts.

    Reference:
        cocodataset.org, "Detection Evaluation"; sides of 32 and 96 pixels part small,
        medium and large.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def opened(annotations):
        coco = COCO()
        coco.dataset = {**truth, "annotations": annotations}
        coco.createIndex()
        return coco

    # As `COCO.loadRes` does, which refuses an empty list.
    ours = [
        one | {"id": number, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0}
        for number, one in enumerate(results, 1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(opened(truth["annotations"]), opened(ours), "bbox")
        judge.params.maxDets = [most]
        judge.evaluate()
        judge.accumulate()
    # IoU, recall, class, area, number of detections; -1 without objects.
    precision = np.where(judge.eval["precision"] < 0, np.nan, judge.eval["precision"])
    numbers = {}
    for name, overlap, area in _COCO:
        some = precision[slice(None) if overlap is None else overlap, ..., area, 0]
        if not np.isnan(some).all():
            numbers[name] = 100 * float(np.nanmean(some))
    counted = ~np.isnan(precision[..., 0, 0]).all(axis=(0, 1))
    by_class = np.full(precision.shape[2], np.nan)
    by_class[counted] = 100 * np.nanmean(precision[:, :, counted, 0, 0], axis=(0, 1))
    return numbers, by_class


def truth_content(photos):
    """Ground truth in COCO's form; photos are numbered from 1, in order.

    Args:
        photos: `BoxedPhotos`.
    """
    rows = (
        (photos.source.id(place), *photos.sizes[place], photos.boxes[place])
        for place in photos.places.tolist()
    )
    return coco_content(photos.source.name, photos.class_names, rows)


def results_content(photos, found):
    """Detections in COCO's form of results.

    Args:
        photos: `BoxedPhotos`, as for `truth_content`.
        found: {place: (boxes, scores, classes)}.
    """
    results = []
    for number, place in enumerate(photos.places.tolist(), 1):
        for box, score, kind in zip(*found.get(place, ((), (), ())), strict=True):
            left, top, right, bottom = map(float, box)
            results.append(
                {
                    "image_id": number,
                    "category_id": int(kind) + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "score": float(score),
                }
            )
    return results
