"""k-NN: do photos of one class lie next to each other?"""

import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy import sparse

from dino_tf.analysis.neighbours import (
    average_precisions,
    class_shares,
    finite_rows,
    knn_accuracy,
    nearest,
    rank_classes,
)
from dino_tf.errors import UserError
from dino_tf.evaluate.features import normalize
from dino_tf.evaluate.labelled import multi_hot
from dino_tf.evaluate.splits import spread
from dino_tf.evaluate.subject import Outcome, Subject
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, try_decode
from dino_tf.visualize.draw import save_png
from dino_tf.visualize.neighbours import Case, Neighbour, neighbour_sheet

PICTURE_CASES, PICTURE_NEIGHBOURS = 8, 6


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
        k: numbers of neighbours, each giving its own numbers, once; those beyond the
            number of training photos are left out, and if none is left, all vote.
        temperature: of the votes, above 0; see `dino_tf.analysis.neighbours`.
        max_train: take so many training photos, spread evenly; None takes all.
        max_test: take so many test photos, spread evenly; None takes all.
        batch_size: photos in one forward pass.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue in 0 to 1, as in training.

    Returns:
        Percentages. Where every photo has exactly one label: `knn/top1_k20` and
        `knn/top5_k20` for k of 20 (with fewer than five neighbours or classes "five"
        is their number). Else the mean average precision of the classes:
        `knn/map_k20`. Photos without labels, and those that cannot be read, are left
        out.

    Raises:
        UserError: a source has no labels, the classes differ, a k is below 1,
            `temperature` is not above 0, or a feature is not finite.

    Reference:
        facebookresearch/dino, eval_knn.py.
    """
    subject = Subject(backbone, mean, std, size, batch_size=batch_size)
    chosen = [spread(len(train_source), max_train), spread(len(test_source), max_test)]
    sources = (train_source, test_source)
    return _judge(subject, sources, chosen, size, k, temperature).numbers


def lacks(subject, data):
    """What k-NN needs and does not find in the data, in words; None is nothing."""
    return None if data.labelled() else "labelled photos of two or more classes"


def run_task(subject, data, size=None, k=(10, 20, 100, 200), temperature=0.07):
    """`evaluate_knn` as a task: see `dino_tf.tasks.Task`.

    The details hold the neighbours' numbers that were used and the accuracy (or
    average precision) of every class; the picture shows test photos beside their
    nearest training photos.
    """
    return _judge(subject, data.labelled(), (None, None), size, k, temperature)


@dataclass
class _Photos:
    """Labelled photos of one split: features (N, D), labels, places in the source."""

    source: object
    features: np.ndarray
    labels: list
    places: np.ndarray
    notes: list = field(default_factory=list)

    def classes(self):
        return {c for label in self.labels for c in label}

    def names(self, row):
        return tuple(self.source.class_names[c] for c in self.labels[row])


def _judge(subject, sources, chosen, size, k, temperature):
    _check_options(k, temperature)
    _check_labels(sources, chosen)
    pairs = zip(sources, chosen, strict=True)
    train, test = (_embed(subject, source, size, places) for source, places in pairs)
    k, notes = _possible_k(k, len(train.labels))
    bar = subject.progress(len(test.labels), "neighbours of the test photos")
    near = nearest(train.features, test.features, max(k), bar.add)
    is_single = all(len(label) == 1 for label in train.labels + test.labels)
    judge = _accuracy if is_single else _precision
    numbers, per_class, votes = {}, {}, {}
    for n in k:
        found = judge(n, *(part[:, :n] for part in near), train, test, temperature)
        numbers |= found[0]
        per_class[n], votes[n] = found[1:]
    notes = train.notes + test.notes + notes + _notes_on_classes(train, test)
    if not is_single:
        notes.append("some photos show several classes: mean average precision")
    details = {
        "k": k,
        "training_photos": len(train.labels),
        "test_photos": len(test.labels),
        "per_class": per_class,
    }
    picture = partial(_write, train, test, near, k[0], votes[k[0]])
    return Outcome(numbers, details, picture, notes)


def _check_options(k, temperature):
    wrong = [n for n in k if n != int(n) or n < 1]
    if wrong or not len(k):
        received = wrong[0] if wrong else "none"
        raise UserError(f"k: got {received}, allowed: whole numbers from 1")
    if not 0 < temperature < math.inf:
        raise UserError(f"temperature: got {temperature}, allowed: above 0")


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


def _possible_k(k, voters):
    """(numbers of neighbours in use, each once; notes)."""
    k = list(dict.fromkeys(int(n) for n in k))
    few = [n for n in k if n <= voters]
    if few == k:
        return k, []
    left_out = ", ".join(str(n) for n in k if n > voters)
    instead = "" if few else ": all of them vote"
    note = f"k of {left_out} left out with {voters} training photos{instead}"
    return few or [voters], [note]


def _embed(subject, source, size, places):
    """`_Photos` of those that can be read and have labels."""
    wanted = len(source) if places is None else len(places)
    found = subject.summaries(source, size, indices=places)
    features, index = found.pop("cls"), found["index"]
    labels = [source.labels(int(i)) for i in index]
    known, notes = np.array([bool(label) for label in labels]), []
    if len(index) < wanted:
        notes.append(f"{wanted - len(index)} photos of {source.name} cannot be read")
    if not known.all():
        notes.append(
            f"{np.count_nonzero(~known)} photos of {source.name} without labels are "
            "left out"
        )
        features, index = features[known], index[known]
        labels = [label for label in labels if label]
    _check_finite(source, features, index)
    empty = np.count_nonzero(~features.any(axis=1))
    if empty:
        notes.append(
            f"{empty} photos of {source.name} have a feature of zeros, which is "
            "equally far from all"
        )
    return _Photos(source, normalize(features), labels, index, notes)


def _check_finite(source, features, index):
    if not len(features):
        raise UserError(
            f"no photo of {source.name!r} has labels and can be read; k-NN needs "
            "labelled photos"
        )
    wrong = np.flatnonzero(~finite_rows(features))
    if wrong.size:
        raise UserError(
            f"{wrong.size} of {len(features)} features of {source.name!r} are not "
            f"finite (first: photo {source.id(int(index[wrong[0]]))!r}); allowed: "
            "weights that give finite features"
        )


def _notes_on_classes(train, test):
    names, judged = train.source.class_names, test.classes()
    there, notes = train.classes(), []
    unseen = [names[c] for c in sorted(judged - there)]
    if unseen:
        listed = ", ".join(unseen[:5]) + (", ..." if len(unseen) > 5 else "")
        notes.append(
            f"{len(unseen)} classes of test photos have no training photo, which "
            f"counts as wrong: {listed}"
        )
    if len(there | judged) == 1:
        notes.append("all photos show one class, so that every answer is right")
    elif len(names) < 5:
        notes.append(f"of {len(names)} classes, top5 takes all: it is always 100")
    return notes


def _accuracy(k, similarities, indices, train, test, temperature):
    """({name: number}, {class: number}, class with the most votes (T,))."""
    names = train.source.class_names
    train_labels, truth = (np.array(side.labels)[:, 0] for side in (train, test))
    ranked = rank_classes(similarities, train_labels[indices], temperature, len(names))
    top1, top5 = knn_accuracy(ranked, truth)
    photos = np.bincount(truth, minlength=len(names))
    hits = np.bincount(truth[ranked[:, 0] == truth], minlength=len(names))
    per_class = {names[c]: 100.0 * hits[c] / photos[c] for c in np.flatnonzero(photos)}
    return {f"knn/top1_k{k}": top1, f"knn/top5_k{k}": top5}, per_class, ranked[:, 0]


def _precision(k, similarities, indices, train, test, temperature):
    """({name: number}, {class: number}, None: there is no one answer)."""
    names = train.source.class_names
    voters = _sparse_targets(train.labels, len(names))
    scores = class_shares(similarities, indices, voters, temperature)
    precisions = average_precisions(scores, multi_hot(test.labels, len(names)))
    seen = np.flatnonzero(~np.isnan(precisions))
    per_class = {names[c]: float(precisions[c]) for c in seen}
    return {f"knn/map_k{k}": float(np.nanmean(precisions))}, per_class, None


def _sparse_targets(labels, classes):
    """`multi_hot` that a million photos of a thousand classes can have."""
    columns = [c for label in labels for c in label]
    ends = np.cumsum([0, *map(len, labels)])
    ones = np.ones(len(columns), np.float32)
    return sparse.csr_array((ones, columns, ends), shape=(len(labels), classes))


def _write(train, test, near, k, votes, folder):
    """The picture of some test photos and their neighbours; list of its path."""
    cases = []
    for row in spread(len(test.labels), PICTURE_CASES).tolist():
        names = test.source.class_names
        vote = None if votes is None else names[votes[row]]
        pairs = zip(*(part[row, :PICTURE_NEIGHBOURS] for part in near), strict=True)
        neighbours = tuple(
            Neighbour(_photo(train, i), train.names(i), float(s)) for s, i in pairs
        )
        cases.append(Case(_photo(test, row), test.names(row), vote, neighbours))
    title = "Test photos (left) and the training photos nearest to them"
    if votes is not None:
        title += f"; votes of {k}"
    return [save_png(neighbour_sheet(cases, title), folder / "neighbours.png")]


def _photo(photos, row):
    place = int(photos.places[row])
    image, reason = try_decode(partial(photos.source.image_bytes, place))
    if image is None:
        name = photos.source.id(place)
        raise UserError(f"photo {name!r} cannot be read any more: {reason}")
    return image
