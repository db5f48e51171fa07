"""Sinkhorn-Knopp centering: the teacher's answers spread evenly over prototypes."""

from keras import ops

from dino_tf.distribute import gather_over_replicas

ITERATIONS = 3


def sinkhorn_knopp(logits, temperature, iterations=ITERATIONS, counted=None):
    """Probabilities whose sum over all samples is nearly the same for each prototype.

    Prototypes and samples are normalised in turn, the samples last, so that each of
    them sums to one exactly. Computed in float32 on logarithms: nothing overflows or
    vanishes, however large the logits are for the temperature.

    Args:
        logits: (..., K); all but the last axis are samples, those of all replicas
            taken together, as many on each.
        temperature: Positive scalar that the logits are divided by.
        iterations: Times that both are normalised, at least 1.
        counted: (..., 1) bool, False for samples that have no part in the sums; None
            counts all.

    Returns:
        float32 of the same shape.

    Reference:
        Caron et al. 2020, arXiv 2006.09882; Oquab et al. 2023, arXiv
        2304.07193, section 4; facebookresearch/dinov2, `loss/dino_clstoken_loss.py`,
        `sinkhorn_knopp_teacher`. Its factors of 1 / K and 1 / B and its first sum over
        everything cancel out.
    """
    shares = ops.cast(logits, "float32") / temperature
    for _ in range(iterations):
        shares = shares - _sums_over_samples(shares, counted)
        shares = shares - ops.logsumexp(shares, axis=-1, keepdims=True)
    return ops.exp(shares)


def _sums_over_samples(shares, counted):
    """Logarithm (K,) of each prototype's sum over the samples of all replicas."""
    if counted is not None:
        shares = ops.where(counted, shares, -1e30)
    samples = ops.reshape(shares, (-1, shares.shape[-1]))
    each = ops.logsumexp(samples, axis=0, keepdims=True)
    return ops.logsumexp(gather_over_replicas(each), axis=0)
