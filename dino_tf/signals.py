"""What a training step tells about its own health, gathered over an epoch."""

import keras
from keras import ops

# Sums that are kept: of the first four over the steps, and how many steps there were.
SUMS = ("loss", "teacher_entropy", "batch_entropy", "gradient_norm", "finite", "steps")


def teacher_signals(targets):
    """What the teacher's probabilities of one batch tell.

    Args:
        targets: (G, B, K), each row of K sums to 1.

    Returns:
        "teacher_entropy": mean entropy of a row in nats, 0 to ln K. "batch_entropy":
        entropy of the mean of all rows, between that and ln K; what it is above
        "teacher_entropy" is what the prototypes tell about which photo was seen, at
        most ln(G B). "chosen": (K,), how many rows each prototype is the largest of.

    Reference:
        Caron et al. 2021, section 5.3 and figure 7, for the first.
    """
    targets = ops.reshape(targets, (-1, targets.shape[-1]))
    rows = ops.cast(ops.shape(targets)[0], targets.dtype)
    largest = ops.argmax(targets, axis=-1)
    ones = ops.ones_like(largest, dtype="float32")
    return {
        "teacher_entropy": _entropy(targets) / rows,
        "batch_entropy": _entropy(ops.mean(targets, axis=0)),
        "chosen": ops.segment_sum(ones, largest, num_segments=targets.shape[-1]),
    }


def no_signals(out_dim, terms=()):
    """Zeros of the structure of `teacher_signals` for K = `out_dim`, and of `terms`."""
    return {
        **{name: ops.zeros(()) for name in terms},
        "teacher_entropy": ops.zeros(()),
        "batch_entropy": ops.zeros(()),
        "chosen": ops.zeros((out_dim,)),
    }


def _entropy(shares):
    # Shares of zero add nothing, but have no finite logarithm.
    return -ops.sum(shares * ops.log(ops.maximum(shares, 1e-30)))


class Signals(keras.metrics.Metric):
    """Signals of all steps since `reset_state`.

    Read it on every worker, or on none: what replicas have gathered is summed up when
    it is read. It is reset by `on_epoch_begin` of `Watch` and not among the model's
    `metrics`, so that an evaluation in the middle of an epoch leaves it alone.

    Args:
        out_dim: Number of prototypes K.
        terms: Names of further terms of the loss, whose means over the steps are
            told too.
    """

    def __init__(self, out_dim, terms=(), name="signals"):
        super().__init__(name=name)
        self.out_dim, self.terms = out_dim, tuple(terms)
        self.names = (*SUMS, *self.terms)
        self.sums = self.add_variable((len(self.names),), "zeros", name="sums")
        self.chosen = self.add_variable((out_dim,), "zeros", name="chosen")

    def update_state(self, loss, signals, gradient_norm):
        """Adds one step.

        Args:
            loss: Scalar.
            signals: Of `teacher_signals`, and a scalar for each of `terms`.
            gradient_norm: L2 norm of the gradient of all weights before clipping. One
                that is not finite, as in steps that float16 skips, is left out.
        """
        finite = ops.isfinite(gradient_norm)
        values = {
            "loss": loss,
            **signals,
            "gradient_norm": ops.where(finite, gradient_norm, 0.0),
            "finite": ops.cast(finite, "float32"),
            "steps": ops.ones(()),
        }
        self.sums.assign_add(ops.stack([values[name] for name in self.names]))
        self.chosen.assign_add(signals["chosen"])

    def result(self):
        """Means over the steps, and the share of prototypes chosen in any of them."""
        sums = dict(zip(self.names, ops.unstack(self.sums.value), strict=True))
        steps, finite = (ops.maximum(sums[n], 1.0) for n in ("steps", "finite"))
        chosen = ops.cast(self.chosen.value > 0, "float32")
        return {
            "teacher_entropy": sums["teacher_entropy"] / steps,
            "kl": (sums["loss"] - sums["teacher_entropy"]) / steps,
            "batch_entropy": sums["batch_entropy"] / steps,
            "prototypes_used": ops.mean(chosen),
            "gradient_norm": sums["gradient_norm"] / finite,
            **{name: sums[name] / steps for name in self.terms},
        }

    def get_config(self):
        return {"out_dim": self.out_dim, "terms": self.terms, "name": self.name}
