"""Masked patch prediction: the student guesses what the teacher says of hidden patches.

The student sees its global views with a learnt token in the place of some patches, the
teacher sees them whole; for the hidden patches alone the two distributions over the
prototypes are compared. `PatchPrediction` is what `DINO` needs for it.

Reference:
    Zhou et al. 2022, arXiv 2111.07832 (iBOT); Oquab et al. 2023, arXiv 2304.07193, in
    whose form it is here: facebookresearch/dinov2, `train/ssl_meta_arch.py`.
"""

from typing import NamedTuple

import keras
from keras import ops

from dino_tf.distribute import mean_over_replicas
from dino_tf.loss import DINOLoss
from dino_tf.masking import upper_bound
from dino_tf.models.vit import VisionTransformer
from dino_tf.schedules import restored, value_at
from dino_tf.sinkhorn import sinkhorn_knopp


class Hidden(NamedTuple):
    """The hidden patches of n views, as many rows as there may be at most.

    Attributes:
        masks: (n, h * w) bool, True where a patch is hidden.
        rows: (U,) their places among the n * h * w patches.
        weights: (U,) one over the number of hidden patches of the same view; 0 for the
            rows that are left over.
    """

    masks: object
    rows: object
    weights: object


def hidden_patches(masks, most):
    """`Hidden` of masks.

    Args:
        masks: (n, h * w) of 0 and 1.
        most: Number of rows U; more hidden patches than that are no part of them.

    Reference:
        facebookresearch/dinov2, `data/collate.py`, `collate_data_and_cast`.
    """
    views, patches = masks.shape
    masks = ops.cast(masks, "bool")
    counted = ops.cumsum(ops.cast(ops.reshape(masks, (-1,)), "int32"))
    numbers = ops.arange(1, most + 1)
    rows = ops.minimum(ops.searchsorted(counted, numbers), views * patches - 1)
    each = ops.sum(ops.cast(masks, "float32"), axis=-1)
    weights = ops.take(1.0 / ops.maximum(each, 1.0), rows // patches)
    return Hidden(masks, rows, ops.where(numbers <= counted[-1], weights, 0.0))


@keras.saving.register_keras_serializable(package="dino_tf")
class PatchLoss(DINOLoss):
    """Cross-entropy of student and teacher over hidden patches, with its own center.

    Arguments and temperatures are those of `DINOLoss`; the center is that of the
    hidden patches.

    Reference:
        facebookresearch/dinov2, `loss/ibot_patch_loss.py`, `iBOTPatchLoss`. There the
        center's step is the mean of the replicas' means, here the mean over all.
    """

    def call(self, student, teacher, hidden, step=0, training=False):
        """Loss of one batch; `training=True` moves the center afterwards.

        Args:
            student: (U, K) logits of the hidden patches.
            teacher: (U, K) logits of the same.
            hidden: `Hidden`.
            step: Optimizer step, for the teacher temperature.
            training: Whether to move the center by this batch.

        Returns:
            Scalar: the mean over the hidden patches of a view, then over all views,
            of which those without hidden patches count 0.
        """
        targets = self.patch_probabilities(teacher, hidden, step)
        loss = self.cross_entropy(student, targets, hidden)
        if training:
            self.update_center(self.batch_center(teacher, hidden))
        return loss

    def patch_probabilities(self, teacher, hidden, step=0):
        """`teacher_probabilities` of (U, K) logits, of which some rows are left over.

        With "sinkhorn" they are spread by themselves, apart from the CLS features.
        """
        if self.centering == "center":
            return self.teacher_probabilities(teacher, step)
        temperature = value_at(self.teacher_temp, step)
        counted = hidden.weights[:, None] > 0
        return sinkhorn_knopp(teacher, temperature, counted=counted)

    def cross_entropy(self, student, targets, hidden):
        """Loss as in `call` from (U, K) probabilities, to which no gradient goes."""
        logits = ops.cast(student, "float32") / self.student_temp
        products = ops.sum(ops.stop_gradient(targets) * logits, axis=-1)
        each = ops.logsumexp(logits, axis=-1) - products
        return ops.sum(each * hidden.weights) / hidden.masks.shape[0]

    def batch_center(self, teacher, hidden):
        """Sum (1, K) of the teacher's logits of the hidden patches, and their number.

        Not their mean: of parts of a batch that would be another center.
        """
        present = ops.cast(hidden.weights > 0, "float32")
        logits = ops.cast(teacher, "float32") * present[:, None]
        return ops.sum(logits, axis=0, keepdims=True), ops.sum(present)

    def no_center(self):
        """Zeros of the structure of `batch_center`."""
        return ops.zeros_like(self.center), ops.zeros(())

    def update_center(self, batch_center):
        """Moves the center towards the mean that `batch_center` tells."""
        total, count = mean_over_replicas(batch_center)
        super().update_center(total / ops.maximum(count, 1e-6))


@keras.saving.register_keras_serializable(package="dino_tf")
class PatchPrediction(keras.layers.Layer):
    """What masked patch prediction adds to a `DINO`: mask token, loss, perhaps a head.

    The mask token belongs to the training: a backbone that leaves it has none.

    Args:
        loss: `PatchLoss` with the head's K.
        head: `DINOHead` of the patches alone ("untied", DINOv2); None has them share
            the head of the CLS features (iBOT).
        weight: Of the loss beside that of the CLS features; published: 1.
        mask_ratio: As that of the `masking.PatchMasks` that make the batch's masks.
        mask_probability: The same.

    Raises:
        ValueError: Head and loss differ in K, or the head has batch norm, which rows
            that are left over would disturb.
    """

    def __init__(
        self,
        loss,
        head=None,
        weight=1.0,
        mask_ratio=(0.1, 0.5),
        mask_probability=0.5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if head is not None and (head.out_dim != loss.out_dim or head.use_bn):
            raise ValueError(
                f"head of patches: out_dim={head.out_dim}, use_bn={head.use_bn}, "
                f"loss.out_dim={loss.out_dim}: expected the same and no batch norm"
            )
        self.patch_loss, self.student_head, self.weight = loss, head, weight
        self.mask_ratio = tuple(mask_ratio)
        self.mask_probability = mask_probability
        self.teacher_head = None
        if head is not None:
            config = {**head.get_config(), "name": f"teacher_{head.name}"}
            self.teacher_head = head.__class__.from_config(config)

    def build(self, input_shape):
        """Builds for features (B, D)."""
        width = input_shape[-1]
        # Zeros as in the published program, kept in float32.
        self.mask_token = self.add_weight(
            (1, width), "zeros", name="mask_token", autocast=False
        )
        for head in filter(None, (self.student_head, self.teacher_head)):
            if not head.built:
                head.build((None, width))
        self.reset_teacher()
        if self.teacher_head:
            self.teacher_head.trainable = False

    def reset_teacher(self):
        """Makes the teacher's head a copy of the student's."""
        if self.teacher_head:
            self.teacher_head.set_weights(self.student_head.get_weights())

    def check(self, backbone, head):
        """Refuses what cannot be trained with it.

        Args:
            backbone: Of the student.
            head: `DINOHead` of the CLS features.

        Raises:
            ValueError: No `VisionTransformer`, or a shared head that does not fit.
        """
        if not isinstance(backbone, VisionTransformer):
            kind = type(backbone).__name__
            raise ValueError(f"patches with a {kind}: expected a VisionTransformer")
        shared = self.student_head is None
        if shared and (head.out_dim != self.patch_loss.out_dim or head.use_bn):
            raise ValueError(
                f"patches share a head of out_dim={head.out_dim}, "
                f"use_bn={head.use_bn}: expected {self.patch_loss.out_dim} and False"
            )

    def hidden(self, masks, parts=1):
        """`Hidden` of masks (B, G, h * w) of 0 and 1, the views outermost.

        Args:
            masks: Made by `PatchMasks`, B known.
            parts: Lists of masks that they hold one after the other.
        """
        most = parts * self._most(masks, parts)
        masks = ops.transpose(masks, (1, 0, 2))
        return hidden_patches(ops.reshape(masks, (-1, masks.shape[-1])), most)

    def counts(self, masks, parts):
        """Hidden patches (parts,) of each list of `hidden`, and the most of any."""
        each = ops.reshape(ops.cast(masks, "int32"), (parts, -1))
        return ops.sum(each, axis=1), self._most(masks, parts)

    def _most(self, masks, parts):
        photos, views, patches = masks.shape
        if photos is None or photos % parts:
            raise ValueError(
                f"masks of shape {masks.shape}: expected a known batch, a multiple of "
                f"accumulate_steps={parts}"
            )
        own = self.mask_ratio, self.mask_probability
        return upper_bound(photos // parts * views, patches, *own)

    def masks(self, hidden):
        """What `patch_tokens` of a student's backbone takes beside the images."""
        return hidden.masks, ops.convert_to_tensor(self.mask_token)

    def take(self, tokens, hidden):
        """The hidden ones (U, D) of patches (n, h * w, D)."""
        rows = ops.reshape(tokens, (-1, tokens.shape[-1]))
        return ops.take(rows, hidden.rows, axis=0)

    def logits(self, head, own, cls, patches, training=False):
        """Logits (n, K) and (U, K) of CLS features (n, D) and hidden patches (U, D).

        Args:
            head: That of the CLS features.
            own: That of the patches, of student or teacher; None for a shared one.
            cls: CLS features.
            patches: Of `take`.
            training: As in `call` of a head.
        """
        if own is not None:
            return head(cls, training=training), own(patches, training=training)
        both = head(ops.concatenate([cls, patches], axis=0), training=training)
        count = ops.shape(cls)[0]
        return both[:count], both[count:]

    def get_config(self):
        head = self.student_head
        return {
            **super().get_config(),
            "loss": keras.saving.serialize_keras_object(self.patch_loss),
            "head": head and keras.saving.serialize_keras_object(head),
            "weight": self.weight,
            "mask_ratio": list(self.mask_ratio),
            "mask_probability": self.mask_probability,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**restored(config, ("loss", "head")))
