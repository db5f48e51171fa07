"""Linear classification: do frozen features tell the classes apart by planes?"""

import numpy as np

from dino_tf.analysis.confusion import count_pairs
from dino_tf.analysis.precision import average_precisions
from dino_tf.errors import UserError
from dino_tf.evaluate.linear_photos import Problem, feature_rule, labelled_pair
from dino_tf.evaluate.linear_published import (
    BATCH_SIZE,
    EPOCHS,
    RATES,
    train_published,
)
from dino_tf.evaluate.linear_published import HELD_OUT as PUBLISHED_HELD_OUT
from dino_tf.evaluate.linear_quick import HELD_OUT, fit_linear
from dino_tf.evaluate.linear_scores import class_numbers, judge_scores
from dino_tf.evaluate.linear_svm import (
    COSTS,
    fit_machines,
    machine_scores,
    svm_numbers,
)
from dino_tf.evaluate.subject import Outcome, Subject
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD
from dino_tf.visualize.classes import bars_picture, confusion_picture
from dino_tf.visualize.draw import save_png

PROTOCOLS = ("quick", "published", "svm")


def evaluate_linear(
    backbone,
    train_source,
    test_source,
    size=224,
    protocol="quick",
    features="auto",
    lr=None,
    epochs=None,
    batch_size=None,
    held_out=None,
    seed=0,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
):
    """Classify test photos by a linear classifier of frozen features.

    Args:
        backbone: (B, H, W, 3) normalised float -> (B, D).
        train_source: Labelled photos that teach.
        test_source: Labelled photos that are judged, of the same classes.
        size: Side of the square that the backbone sees, in pixels.
        protocol: "quick": a logistic regression on the features of central squares,
            see `fit_linear`. "published": SGD on the features of random crops, see
            `LinearHeads`. "svm": a support vector machine for each class, see
            `svm_map`.
        features: See `feature_rule`.
        lr: Learning rates of "published" for a batch of 256; the best on the photos
            held out is reported. One rate holds out none. None: 0.001, as published,
            and six larger ones up to 1.
        epochs: Of "published"; None: 100.
        batch_size: Photos in a step of "published"; None: 1024.
        held_out: Share of the training photos on which "quick" chooses the penalty
            (None: 0.2) and "published" the learning rate (None: 0.1).
        seed: Of the photos held out, the initial weights, order and crops.
        mean: Of red, green, blue in 0 to 1, as in training.
        std: Of red, green, blue in 0 to 1, as in training.

    Returns:
        Percentages: `linear/top1` and `linear/top5` where every photo has exactly one
        label, else `linear/map`; for "svm" `linear/svm_map` and
        `linear/svm_map_11point`.

    Raises:
        UserError: A source has no labels, the classes differ, all training photos
            show the same, an option is outside its range or belongs to another
            protocol, or every learning rate was too high.

    Reference:
        Caron et al. 2021, section 4.1; facebookresearch/dino, eval_linear.py. Goyal
        et al. 2019, arXiv 1905.01235, section 6.1.
    """
    subject = Subject(backbone, mean, std)
    options = (features, lr, epochs, batch_size, held_out, seed)
    sources = train_source, test_source
    return _evaluate(subject, sources, size, protocol, *options).numbers


def lacks(subject, data):
    """What is needed and not found in the data, in words; None is nothing."""
    return None if data.labelled() else "labelled photos of two or more classes"


def run_task(
    subject,
    data,
    size=None,
    protocol="quick",
    features="auto",
    lr=None,
    epochs=None,
    batch_size=None,
    held_out=None,
    seed=0,
):
    """`evaluate_linear` as a task: see `dino_tf.tasks.Task`."""
    options = (features, lr, epochs, batch_size, held_out, seed)
    return _evaluate(subject, data.labelled(), size, protocol, *options)


def _evaluate(
    subject, sources, size, protocol, features, lr, epochs, batch_size, held_out, seed
):
    given = {
        "lr": lr,
        "epochs": epochs,
        "batch_size": batch_size,
        "held_out": held_out,
    }
    _check(protocol, given)
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed: got {seed}, allowed: 0 to {2**32 - 1}")
    train, test, notes = labelled_pair(*sources)
    rule = feature_rule(subject.backbone, features)
    problem = Problem(subject, train, test, subject.side(size), rule, seed)
    if protocol == "quick":
        outcome = _quick(problem, held_out or HELD_OUT)
    elif protocol == "svm":
        outcome = _svm(problem)
    else:
        outcome = _published(
            problem,
            sorted(set(lr or RATES)),
            epochs or EPOCHS,
            batch_size or BATCH_SIZE,
            held_out or PUBLISHED_HELD_OUT,
        )
    outcome.details = {"protocol": protocol, "features": rule} | outcome.details
    outcome.notes = notes + outcome.notes
    return outcome


def _quick(problem, held_out):
    features, places = problem.features(problem.train)
    test_features, test_places = problem.features(problem.test)
    model = fit_linear(
        features,
        problem.targets(problem.train, places),
        len(problem.names),
        held_out=held_out,
        seed=problem.seed,
    )
    details = {
        "held_out": held_out,
        "strength": model.strength,
        "log_loss_held_out": {f"{s:g}": loss for s, loss in model.losses.items()},
        "converged": model.converged,
    }
    notes = problem.unread(len(places), len(test_places))
    if not model.losses:
        notes.append(
            f"no class has photos enough to hold some out: strength {model.strength:g} "
            "was not chosen by them"
        )
    scores = model.scores(test_features)
    return _outcome(problem, scores, test_places, details, notes)


def _published(problem, rates, *settings):
    test_features, test_places = problem.features(problem.test)
    trained = train_published(problem, rates, *settings)
    targets = problem.targets(problem.test, test_places)
    scores = trained.scores(test_features)
    tested = {
        f"{rate:g}": judge_scores(one, targets) if works else None
        for rate, one, works in zip(rates, scores, trained.works, strict=True)
    }
    details = trained.details | {"test_by_lr": tested}
    notes = problem.unread(len(problem.train.labels) - trained.unread, len(test_places))
    return _outcome(problem, scores[trained.chosen], test_places, details, notes)


def _svm(problem):
    features, places = problem.features(problem.train)
    test_features, test_places = problem.features(problem.test)
    machines = fit_machines(
        features, problem.train.strict_targets(places), seed=problem.seed
    )
    scores = machine_scores(machines, test_features)
    targets = problem.test.strict_targets(test_places)
    numbers = svm_numbers(scores, targets)
    table, notes = {}, problem.unread(len(places), len(test_places))
    precisions = 100 * average_precisions(scores, targets)
    eleven = 100 * average_precisions(scores, targets, "11-point")
    for c in np.flatnonzero(np.isfinite(precisions)):
        name, machine = problem.names[c], machines[c]
        table[name] = {
            "photos": int((targets[:, c] > 0).sum()),
            "average_precision": float(precisions[c]),
            "average_precision_11point": float(eleven[c]),
            "cost": machine and machine.cost,
            "average_precision_folds": machine and machine.precision,
        }
        if machine is None or machine.precision is None:
            notes.append(f"{name}: too few training photos for a cost to be chosen")
    details = {"costs": list(COSTS), "classes": table}
    return Outcome(numbers, details, _bars_writer(problem, numbers, table), notes)


def _outcome(problem, scores, places, details, notes):
    """Numbers, table of classes and picture of scores (T, C)."""
    targets = problem.targets(problem.test, places)
    numbers = judge_scores(scores, targets)
    table = class_numbers(scores, targets, problem.names)
    write = _bars_writer(problem, numbers, table)
    if problem.single:
        matrix = count_pairs(scores.argmax(axis=1), targets, len(problem.names))
        write = _matrix_writer(problem, numbers, matrix)
    return Outcome(numbers, details | {"classes": table}, write, notes)


def _matrix_writer(problem, numbers, matrix):
    """Function that draws the classes that some photo has, or got as an answer."""
    seen = np.flatnonzero(matrix.any(axis=0) | matrix.any(axis=1))
    names = [problem.names[i] for i in seen]

    def write(folder):
        picture = confusion_picture(
            matrix[np.ix_(seen, seen)], names, _title(problem, numbers)
        )
        return [save_png(picture, folder / "confusion.png")]

    return write


def _bars_writer(problem, numbers, table):
    def write(folder):
        values = [row["average_precision"] for row in table.values()]
        picture = bars_picture(values, list(table), _title(problem, numbers))
        return [save_png(picture, folder / "average_precision.png")]

    return write


def _title(problem, numbers):
    name, value = next(iter(numbers.items()))
    return f"{name} {value:.1f} %, {len(problem.test.labels):,} photos"


def _check(protocol, given):
    """Options in their ranges, and none that the protocol does not know."""
    if protocol not in PROTOCOLS:
        raise UserError(f"protocol {protocol!r}; allowed: {', '.join(PROTOCOLS)}")
    known = {"quick": ("held_out",), "published": tuple(given), "svm": ()}[protocol]
    for name, value in given.items():
        if value is not None and name not in known:
            option = name.replace("_", "-")
            mine = ", ".join("--" + n.replace("_", "-") for n in known) or "none"
            raise UserError(
                f"--{option} {value}: the protocol {protocol} has no such option; "
                f"allowed of these: {mine}"
            )
    held_out, lr = given["held_out"], given["lr"]
    if held_out is not None and not 0 < held_out < 1:
        raise UserError(f"--held-out is {held_out}; allowed: between 0 and 1")
    if lr is not None and (not lr or min(lr) <= 0):
        raise UserError(f"--lr is {lr}; allowed: one or more above 0")
    for name in ("epochs", "batch_size"):
        if given[name] is not None and given[name] < 1:
            option = name.replace("_", "-")
            raise UserError(f"--{option} is {given[name]}; allowed: 1 or more")
