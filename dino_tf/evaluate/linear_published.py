"""The published linear protocol on the photos of a data set."""

import dataclasses

import numpy as np

from dino_tf.errors import UserError
from dino_tf.evaluate.linear_heads import head_scores, scaled_rates, train_heads
from dino_tf.evaluate.linear_quick import hold_out
from dino_tf.evaluate.linear_scores import judge_scores
from dino_tf.evaluate.linear_views import view_features
from dino_tf.pipeline import BadImages

# For a batch of 256. The published rate first; its program advises to try others.
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
EPOCHS, BATCH_SIZE = 100, 1024
HELD_OUT = 0.1
# To be raised when equal options give other classifiers than before.
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Trained:
    """Classifiers of several learning rates, and the one chosen.

    Attributes:
        weights: float32 (heads, D, C).
        bias: float32 (heads, C).
        works: bool (heads,), whether all weights are finite.
        chosen: Place of the best on the photos held out.
        unread: Number of training photos that cannot be read.
        details: For the JSON file.
    """

    weights: np.ndarray
    bias: np.ndarray
    works: np.ndarray
    chosen: int
    unread: int
    details: dict

    def scores(self, features):
        """Scores (heads, T, C) of features (T, D)."""
        return head_scores(self.weights, self.bias, features)


def train_published(problem, rates, epochs, batch_size, held_out):
    """Train one classifier for each learning rate, and choose without test photos.

    Args:
        problem: `Problem`.
        rates: Learning rates for a batch of 256, rising. With one, all training
            photos teach.
        epochs: Passes over the photos that teach.
        batch_size: Photos in a step; at most those that teach.
        held_out: Share of every class on which the rate is chosen.

    Returns:
        `Trained`.

    Raises:
        UserError: No photo can be held out, or every rate was too high.

    Reference:
        facebookresearch/dino, eval_linear.py.
    """
    held = _held_out(problem, held_out) if len(rates) > 1 else []
    taught = np.setdiff1d(np.arange(len(problem.train.labels)), held)
    batch = min(batch_size, len(taught))
    found = _heads(problem, taught, rates, epochs, batch)
    weights, bias = found["weights"], found["bias"]
    works = np.isfinite(weights).all(axis=(1, 2)) & np.isfinite(bias).all(axis=1)
    if not works.any():
        raise UserError(
            f"--lr {' '.join(map('{:g}'.format, rates))}: the weights did not stay "
            "finite at any; allowed: lower ones"
        )
    chosen, judged = int(np.argmax(works)), {}
    if len(held):
        judged = _judged(problem, held, rates, weights, bias, works)
        chosen = list(judged).index(max(judged, key=judged.get))
        chosen = int(np.flatnonzero(works)[chosen])
    details = {
        "epochs": epochs,
        "batch_size": batch,
        "photos_taught": len(taught),
        "photos_held_out": len(held),
        "lr": rates[chosen],
        "held_out_by_lr": judged,
        "loss_of_epochs": found["losses"][:, chosen].tolist(),
    }
    return Trained(weights, bias, works, chosen, int(found["unread"]), details)


def _held_out(problem, share):
    """Places of the training photos on which the rate is chosen."""
    photos = problem.train
    targets = problem.targets(photos, range(len(photos.labels)))
    held = np.flatnonzero(hold_out(targets, share, problem.seed))
    if not len(held):
        raise UserError(
            f"no class has photos enough to hold out {share:g} of them for the choice "
            "of the rate; allowed: one --lr, a larger --held-out, or more photos"
        )
    return held


def _judged(problem, held, rates, weights, bias, works):
    """{rate: accuracy or mean average precision of the photos held out}."""
    features, places = problem.features(problem.train, held)
    targets = problem.targets(problem.train, places)
    scores = head_scores(weights[works], bias[works], features)
    numbers = [next(iter(judge_scores(one, targets).values())) for one in scores]
    names = [f"{rate:g}" for rate, fine in zip(rates, works, strict=True) if fine]
    return dict(zip(names, numbers, strict=True))


def _heads(problem, taught, rates, epochs, batch):
    """Trained weights, from the store if they are there."""
    subject, train = problem.subject, problem.train
    source, targets = train.source.subset(taught), train.targets(taught)
    looks = (problem.size, problem.rule)

    def compute():
        bad = BadImages()
        stream = view_features(
            subject, source, *looks, epochs, batch, problem.seed, bad
        )
        batches = ((epoch, x, targets[places]) for epoch, x, places in stream)
        scaled = scaled_rates(rates, batch)
        heads, losses = train_heads(
            batches, targets.shape[1], scaled, epochs, problem.single, problem.seed
        )
        found = {"weights": heads.weights, "bias": heads.bias, "losses": losses}
        return found | {"unread": np.array(bad.count)}

    if subject.store.folder is None:
        return compute()
    depends = subject.depends(
        source,
        version=VERSION,
        looks=looks,
        rates=rates,
        epochs=epochs,
        batch=batch,
        seed=problem.seed,
        single=problem.single,
        labels=[train.labels[i] for i in taught],
        classes=targets.shape[1],
    )
    return subject.store.arrays("linear-heads", depends, compute)
