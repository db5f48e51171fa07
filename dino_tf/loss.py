"""Cross-entropy between the views of teacher and student, with a moving center."""

import keras
from keras import ops

from dino_tf.schedules import restored, saved, value_at
from dino_tf.sinkhorn import sinkhorn_knopp

CENTERINGS = ("center", "sinkhorn")


@keras.saving.register_keras_serializable(package="dino_tf")
class DINOLoss(keras.layers.Layer):
    """Cross-view cross-entropy with centering and sharpening, in float32.

    A layer rather than a `keras.losses.Loss`, so that the center is saved with the
    model.

    Args:
        out_dim: Number of prototypes K.
        student_temp: Temperature of the student's softmax, positive.
        teacher_temp: Temperature of the teacher's softmax, a positive number or a
            schedule called with the step (see `schedules.EpochLinear`).
        center_momentum: Share of the center kept at each step, in [0, 1].
        centering: "center" subtracts the moving center from the teacher's logits, as
            published; "sinkhorn" spreads the answers of each batch, all its global
            views and replicas together, evenly over the prototypes
            (`sinkhorn.sinkhorn_knopp`), and leaves the center at zero.

    Raises:
        ValueError: For values outside these ranges.

    Reference:
        Caron et al. 2021, equations 1, 3 and 4; facebookresearch/dino,
        `main_dino.py`, `DINOLoss`. For "sinkhorn" facebookresearch/dinov2,
        `train/ssl_meta_arch.py`.
    """

    def __init__(
        self,
        out_dim,
        student_temp=0.1,
        teacher_temp=0.04,
        center_momentum=0.9,
        centering="center",
        **kwargs,
    ):
        # float32 whatever the policy: exponents of logits over 0.04 need it.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if student_temp <= 0 or (not callable(teacher_temp) and teacher_temp <= 0):
            raise ValueError(
                f"student_temp={student_temp}, teacher_temp={teacher_temp}: "
                "expected positive temperatures"
            )
        if not 0.0 <= center_momentum <= 1.0:
            raise ValueError(
                f"center_momentum={center_momentum}: expected 0 <= momentum <= 1"
            )
        if centering not in CENTERINGS:
            known = " or ".join(CENTERINGS)
            raise ValueError(f"centering={centering!r}: expected {known}")
        self.out_dim, self.student_temp = out_dim, student_temp
        self.centering = centering
        self.teacher_temp, self.center_momentum = teacher_temp, center_momentum
        # "mean": each replica assigns its own center, all get the average.
        self.center = self.add_weight(
            (1, out_dim), "zeros", name="center", trainable=False, aggregation="mean"
        )
        self.built = True

    def call(self, student, teacher, step=0, training=False):
        """Loss of one batch; `training=True` moves the center afterwards.

        Args:
            student: (V, B, K) logits; the first views are the teacher's, in order.
            teacher: (G, B, K) logits of the G global views, G <= V, V >= 2.
            step: Optimizer step, for the teacher temperature.
            training: Whether to move the center by this batch.

        Returns:
            Scalar, mean over the pairs of different views and over the batch.
        """
        loss = self.compute(student, teacher, step)
        if training:
            self.update_center(self.batch_center(teacher))
        return loss

    def compute(self, student, teacher, step=0):
        """Loss as in `call`, changing nothing."""
        return self.cross_entropy(student, self.teacher_probabilities(teacher, step))

    def cross_entropy(self, student, targets):
        """Mean cross-entropy over the pairs of different views and over the batch.

        Args:
            student: (V, B, K) logits; the first views are the teacher's, in order.
            targets: (G, B, K) of `teacher_probabilities`; no gradient goes there.
        """
        views, globals_ = student.shape[0], targets.shape[0]
        logits = ops.cast(student, "float32") / self.student_temp
        targets = ops.stop_gradient(targets)
        # Sum over pairs of <q, logsumexp(z) - z>. Each q sums to one, so one
        # logsumexp a view serves all its pairs, and the pairs' products are the
        # product of the sums less those of equal views.
        all_pairs = ops.sum(ops.sum(targets, axis=0) * ops.sum(logits, axis=0))
        same_view = ops.sum(targets * logits[:globals_])
        spread = ops.sum(ops.logsumexp(logits, axis=-1), axis=-1)
        spread = globals_ * ops.sum(spread) - ops.sum(spread[:globals_])
        pairs = globals_ * views - globals_
        batch = ops.cast(ops.shape(student)[1], "float32")
        return (spread - all_pairs + same_view) / (pairs * batch)

    def teacher_probabilities(self, teacher, step=0):
        """Centered and sharpened softmax of the teacher's logits (..., K)."""
        temperature = value_at(self.teacher_temp, step)
        if self.centering == "sinkhorn":
            return sinkhorn_knopp(teacher, temperature)
        return ops.softmax((ops.cast(teacher, "float32") - self.center) / temperature)

    def batch_center(self, teacher):
        """Mean (1, K) of the teacher's logits over views and batch."""
        logits = ops.reshape(ops.cast(teacher, "float32"), (-1, self.out_dim))
        return ops.mean(logits, axis=0, keepdims=True)

    def no_center(self):
        """Zeros of the structure of `batch_center`."""
        return ops.zeros_like(self.center)

    def update_center(self, batch_center):
        """Moves the center towards (1, K) `batch_center`, averaged over replicas."""
        if self.centering == "sinkhorn":
            return
        kept = self.center * self.center_momentum
        self.center.assign(kept + batch_center * (1.0 - self.center_momentum))

    def get_config(self):
        return {
            **super().get_config(),
            "out_dim": self.out_dim,
            "student_temp": self.student_temp,
            "teacher_temp": saved(self.teacher_temp),
            "center_momentum": self.center_momentum,
            "centering": self.centering,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**restored(config, ["teacher_temp"]))
