"""What a training step does with gradients, and with the averaged copy, the teacher."""

import tensorflow as tf

from dino_tf.distribute import replicas_in_sync, update_each_replica
from dino_tf.freezing import frozen_until
from dino_tf.optimizers import unscaled
from dino_tf.views import split_batch

CLIP_EPSILON = 1e-6


def mean_over_parts(compute, views, parts, zeros):
    """Mean of what `compute` gives for the parts of a batch, one after the other.

    Args:
        compute: Function of the views of a part, pure.
        views: List of tensors (B, ...), B a multiple of `parts`.
        parts: Number of parts.
        zeros: Zeros of the structure and shapes that `compute` gives.
    """
    split = [split_batch(view, parts) for view in views]

    def one_part(index, totals):
        part = compute(*[group[index] for group in split])
        sums = tf.nest.map_structure(lambda a, b: a + b / parts, totals, part)
        return index + 1, sums

    # A loop, not an unrolled sum, so that only one part is in memory at a time.
    _, totals = tf.while_loop(
        lambda index, _: index < parts,
        one_part,
        (0, zeros),
        parallel_iterations=1,
    )
    return totals


def norms_of(gradients, loss_scale):
    """L2 norm (n,) of each of n gradients, which are of the loss times `loss_scale`."""
    squares = 2.0 * tf.stack([tf.nn.l2_loss(g) for g in gradients])
    return tf.sqrt(squares) / loss_scale


def clip_each(gradients, norms, limit):
    """Each gradient shortened to the norm `limit` by itself; 0 shortens none."""
    if not limit:
        return gradients
    shares = tf.unstack(tf.minimum(limit / (norms + CLIP_EPSILON), 1.0))
    return [g * share for g, share in zip(gradients, shares, strict=True)]


def update_student(model, gradients, step):
    """Applies averaged gradients to the student; parts of it may still be frozen.

    Args:
        model: `DINO`.
        gradients: One for each of `model.trainable_variables`.
        step: Optimizer step.
    """
    variables, until = model.trainable_variables, frozen_until(model)
    frozen = {steps: step < steps for steps in set(until.values())}
    frozen = [frozen.get(until.get(id(v))) for v in variables]
    gradients = [
        g if now is None else tf.where(now, tf.zeros_like(g), g)
        for g, now in zip(gradients, frozen, strict=True)
    ]
    held, before = [], []
    inner = unscaled(model.optimizer)
    if getattr(inner, "reduces_gradients", True):
        # Keras sums over replicas what is averaged here already.
        gradients = [g / replicas_in_sync() for g in gradients]
        # Some of its optimizers decay even a variable without gradient.
        pairs = [(v.value, now) for v, now in zip(variables, frozen, strict=True)]
        held = [(v, now) for v, now in pairs if now is not None]
        before = [(tf.identity(v), now) for v, now in held]
    model.optimizer.apply_gradients(zip(gradients, variables, strict=True))
    if held:
        update_each_replica(
            lambda v, kept: v.assign(tf.where(kept[1], kept[0], v)),
            [v for v, _ in held],
            before,
        )


def update_teacher(model, momentum):
    """Moves the teacher's weights to the student's, keeping the share `momentum`."""
    new = 1.0 - tf.cast(momentum, "float32")
    update_each_replica(
        lambda t, s: t.assign_add((s - t) * new), *_parameter_pairs(model)
    )


def _parameter_pairs(model):
    """Teacher's variables and the student's trained ones of the same place.

    Statistics of batch norms are left out: the teacher gathers its own.
    """
    pairs, heads = [], zip(model.student_heads, model.teacher_heads, strict=True)
    for student, teacher in (
        (model.student_backbone, model.teacher_backbone),
        *heads,
    ):
        both = zip(student.weights, teacher.weights, strict=True)
        pairs += [(s, t) for s, t in both if s.trainable]
    return [t for _, t in pairs], [s for s, _ in pairs]
