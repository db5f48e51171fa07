"""k-NN: do photos of one class lie next to each other?"""

import numpy as np

from dino_tf.analysis.neighbours import (
    class_shares,
    knn_accuracy,
    mean_average_precision,
    nearest,
    rank_classes,
)
from dino_tf.errors import UserError
from dino_tf.evaluate.features import normalize
from dino_tf.evaluate.splits import spread
from dino_tf.evaluate.subject import Outcome, Subject
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD


def evaluate_knn(
    backbone,
    train_source,
    test_source,
    size,
    k=(10, 20),
    temperature=0.07,
    max_train=None,
    max_test=None,
    batch_size=64,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
):
    """Classify test photos by a weighted vote of the nearest training photos.

    Args:
        backbone: (B, H, W, 3) normalised float -> (B, D).
        train_source: labelled photos that vote.
        test_source: labelled photos that are judged, of the same classes.
        size: side of the central square that the backbone sees, in pixels.
        k: numbers of neighbours, each giving its own numbers; those beyond the number
            of readable training photos are left out, and if none is left, all vote.
        temperature: of the votes; see `dino_tf.analysis.neighbours`.
        max_train: take so many training photos, spread evenly; None takes all.
        max_test: take so many test photos, spread evenly; None takes all.
        batch_size: photos in one forward pass.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue in 0 to 1, as in training.

    Returns:
        Percentages. Where every photo has exactly one label: `knn/top1_k20` and
        `knn/top5_k20` for k of 20. Else the mean average precision of the classes:
        `knn/map_k20`.

    Raises:
        UserError: a source has no labels, or the classes differ.

    Reference:
        facebookresearch/dino, eval_knn.py.
    """
    subject = Subject(backbone, mean, std, size, batch_size=batch_size)
    chosen = [spread(len(train_source), max_train), spread(len(test_source), max_test)]
    return _judge(subject, (train_source, test_source), chosen, size, k, temperature)


def lacks(subject, data):
    """What k-NN needs and does not find in the data, in words; None is nothing."""
    return None if data.labelled() else "labelled photos of two or more classes"


def run_task(subject, data, size=None, k=(10, 20, 100, 200), temperature=0.07):
    """`evaluate_knn` as a task: see `dino_tf.tasks.Task`."""
    sources = data.labelled()
    return Outcome(_judge(subject, sources, (None, None), size, k, temperature))


def _judge(subject, sources, chosen, size, k, temperature):
    _check_labels(sources, chosen)
    pairs = zip(sources, chosen, strict=True)
    (train, train_labels), (test, test_labels) = (
        _embed(subject, source, size, places) for source, places in pairs
    )
    judge = _accuracy if _single(train_labels + test_labels) else _precision
    classes = len(sources[0].class_names)
    k = [n for n in k if n <= len(train)] or [len(train)]
    similarities, indices = nearest(train, test, max(k))
    numbers = {}
    for n in k:
        neighbours = similarities[:, :n], indices[:, :n]
        numbers |= judge(
            n, *neighbours, train_labels, test_labels, temperature, classes
        )
    return numbers


def _check_labels(sources, chosen):
    train, test = sources
    if tuple(train.class_names) != tuple(test.class_names):
        raise UserError(
            f"k-NN received the classes of {train.name!r} and of {test.name!r}; "
            "allowed: two sources of the same classes"
        )
    for source, places in zip(sources, chosen, strict=True):
        places = range(len(source)) if places is None else places
        if not any(source.labels(int(i)) for i in places):
            raise UserError(
                f"{source.name!r} has no labels; k-NN needs labelled photos"
            )


def _embed(subject, source, size, places):
    found = subject.summaries(source, size, indices=places)
    return normalize(found["cls"]), [source.labels(int(i)) for i in found["index"]]


def _single(labels):
    return all(len(label) == 1 for label in labels)


def _accuracy(
    k, similarities, indices, train_labels, test_labels, temperature, classes
):
    train_labels, test_labels = (
        np.array(train_labels)[:, 0],
        np.array(test_labels)[:, 0],
    )
    voters = train_labels[indices]
    top1, top5 = knn_accuracy(
        rank_classes(similarities, voters, temperature, classes), test_labels
    )
    return {f"knn/top1_k{k}": top1, f"knn/top5_k{k}": top5}


def _precision(
    k, similarities, indices, train_labels, test_labels, temperature, classes
):
    targets = multi_hot(train_labels, classes)
    scores = class_shares(similarities, indices, targets, temperature)
    precision = mean_average_precision(scores, multi_hot(test_labels, classes))
    return {f"knn/map_k{k}": precision}


def multi_hot(labels, classes):
    """float32 (N, classes): one where a photo has a label."""
    targets = np.zeros((len(labels), classes), np.float32)
    for row, label in zip(targets, labels, strict=True):
        row[list(label)] = 1
    return targets
