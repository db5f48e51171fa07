"""Detection: how well do features tell where objects of which class are?

A detector on the patch tokens of the last block learns boxes of the training photos:
with the network frozen, so that its features alone are judged, or with all weights.
Photos are squeezed into one square. Without any label it learns the boxes that
`evaluate discover` wrote, as one class, and is judged by all annotated objects as one.
"""

import dataclasses
from functools import partial

import numpy as np

from dino_tf.errors import UserError
from dino_tf.evaluate.detect_files import write_files
from dino_tf.evaluate.detect_measures import (
    MISSING,
    coco_numbers,
    has_pycocotools,
    results_content,
    truth_content,
    voc07_by_class,
)
from dino_tf.evaluate.detect_photos import boxed, boxed_by, has_boxes, opened
from dino_tf.evaluate.detect_training import DetectorTraining, Plan, check
from dino_tf.evaluate.subject import Data, Outcome, Subject
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD

# Peak of the learning rate: of a detector alone, and with all weights.
RATES = {False: 2e-3, True: 5e-4}


def evaluate_detection(
    backbone, train_source, test_source, mean=IMAGENET_MEAN, std=IMAGENET_STD, **options
):
    """Average precision of a detector on a network's patch tokens.

    Args:
        backbone: has `extract(images, ["tokens"])`, `grid_of`, `num_prefix_tokens`;
            it is not changed.
        train_source: photos with boxes, to learn from.
        test_source: photos with boxes of the same classes, which are judged.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue in 0 to 1, as in training.
        **options: `size`, `epochs`, `batch_size`, `lr`, `tune`, `boxes`,
            `score_threshold`, `max_detections` and `seed` of `run_task`.

    Returns:
        Percentages. By the rule of VOC 2007 `detect/ap50_voc07`, the mean of the
        classes that have objects; where pycocotools is installed, by COCO's rule
        `detect/ap`, `detect/ap50`, `detect/ap75`, `detect/ap_small`,
        `detect/ap_medium`, `detect/ap_large`. Difficult objects (crowds) neither
        teach nor count. Empty where no object counts.

    Raises:
        UserError: no box to learn from, other classes, no readable photo, or a value
            that is not allowed.
        Diverged: the loss is no longer finite.
    """
    subject = Subject(backbone, mean, std)
    if "tokens" not in getattr(backbone, "result_names", ()):
        name = getattr(backbone, "arch", type(backbone).__name__)
        raise UserError(f"{name} has no patch tokens; allowed: a network with them")
    data = Data.of(train_source, test_source)
    return run_task(subject, data, **options).numbers


def lacks(subject, data):
    """What is needed and not found, in words; None is nothing."""
    if "tokens" not in getattr(subject.backbone, "result_names", ()):
        return "a network with patch tokens"
    if not any(map(has_boxes, filter(None, (data.train, data.test)))):
        return "photos with boxes of objects"
    return None


def run_task(
    subject,
    data,
    size=None,
    epochs=12,
    batch_size=16,
    lr=None,
    tune=False,
    boxes=None,
    split=None,
    train_split=None,
    score_threshold=0.05,
    max_detections=100,
    seed=0,
):
    """`evaluate_detection` as a task: see `dino_tf.tasks.Task`.

    Args:
        subject: `Subject`.
        data: `Data`.
        size: Side of the square in pixels; None is that of the subject.
        epochs: Passes over the training photos.
        batch_size: Photos in a step.
        lr: Peak of the learning rate; None is that of `RATES`.
        tune: Whether all weights are trained, with smaller rates towards the pixels.
        boxes: JSON file of boxes of the training photos, learnt as one class in the
            place of the annotated ones.
        split: Photos that are judged; None is the test split, where it has boxes.
        train_split: Photos to learn from; None is "train".
        score_threshold: Lowest score of a detection.
        max_detections: Of one photo.
        seed: Of weights, order and mirroring.
    """
    size = subject.side(size)
    lr = RATES[bool(tune)] if lr is None else lr
    plan = Plan(
        size, epochs, batch_size, lr, tune, seed, score_threshold, max_detections
    )
    check(plan)
    train, test, notes = _photos(data, train_split, split, boxes)
    training = DetectorTraining(subject, len(test.class_names), plan)
    losses = training.fit(train)
    found = training.detect(test)
    numbers, by_class = _measured(test, found, plan, notes)
    notes += [*train.notes, *test.notes]
    if len(found) < len(test.boxes):
        missed = len(test.boxes) - len(found)
        notes.append(f"{missed} judged photos cannot be decoded: nothing found there")
    details = {"settings": dataclasses.asdict(plan), "loss": losses}
    details |= {"training_photos": len(train.boxes), "training_boxes": train.counted}
    details |= {"test_photos": len(test.boxes), "per_class": by_class}
    write = partial(
        write_files,
        photos=test,
        found=found,
        truth=truth_content(test),
        results=results_content(test, found),
    )
    return Outcome(numbers, details, write, notes)


def _photos(data, train_split, split, boxes):
    """(`BoxedPhotos` to learn from, `BoxedPhotos` that are judged, notes)."""
    merged = boxes is not None
    train, test, notes = opened(data, train_split, split, merged)
    test = boxed(test, merged)
    train = boxed_by(train, boxes) if merged else boxed(train)
    _check(train, test)
    return train, test, notes


def _check(train, test):
    if train.class_names != test.class_names:
        raise UserError(
            f"detection received the classes of {train.source.name!r} and of "
            f"{test.source.name!r}; allowed: two sources of the same classes"
        )
    if not train.counted:
        raise UserError(
            f"{train.source.name!r} has no box to learn from that is not difficult"
        )
    if not test.boxes:
        raise UserError(f"no photo of {test.source.name!r} has boxes to be judged by")


def _measured(test, found, plan, notes):
    """(numbers, {class: its numbers})."""
    objects = np.zeros(len(test.class_names), np.int64)
    for known in test.boxes.values():
        np.add.at(objects, known.classes[~known.difficult], 1)
    if not objects.any():
        notes.append(f"no numbers: {test.source.name} has no object that counts")
        return {}, {}
    columns = {"ap50_voc07": voc07_by_class(test, found)}
    numbers = {"ap50_voc07": float(np.nanmean(columns["ap50_voc07"]))}
    if has_pycocotools():
        results = results_content(test, found)
        coco, each = coco_numbers(truth_content(test), results, plan.max_detections)
        columns["ap"], numbers = each, coco | numbers
    else:
        notes.append(MISSING)
    unseen = [
        n for n, count in zip(test.class_names, objects, strict=True) if not count
    ]
    if unseen:
        notes.append(f"classes without a test object do not count: {', '.join(unseen)}")
    by_class = {
        test.class_names[kind]: {"objects": int(objects[kind])}
        | {name: float(values[kind]) for name, values in columns.items()}
        for kind in np.flatnonzero(objects).tolist()
    }
    return {f"detect/{name}": value for name, value in numbers.items()}, by_class
