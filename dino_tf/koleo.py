"""KoLeo: a term of the loss that pushes the features of different photos apart."""

from keras import ops

EPSILON = 1e-8


def koleo(features):
    """Minus the mean logarithm of the distance from each feature to its nearest other.

    The features are divided by their length first. Small where they lie spread over
    the sphere. Computed in float32.

    Args:
        features: (B, D) of one view of B photos, at least 2.

    Returns:
        Scalar in nats, from -ln 2 (all at opposite ends) up to 18.4 (all the same).

    Raises:
        ValueError: When B is known and less than 2.

    Reference:
        Sablayrolles et al. 2019, arXiv 1806.03198; Oquab et al. 2023,
        arXiv 2304.07193, section 4; facebookresearch/dinov2, `loss/koleo_loss.py`.
    """
    if features.shape[0] is not None and features.shape[0] < 2:
        raise ValueError(f"KoLeo of {features.shape[0]} photo: expected 2 or more")
    features = ops.cast(features, "float32")
    squares = ops.sum(ops.square(features), axis=-1, keepdims=True)
    # Bounded under the root, which has no slope at zero.
    units = features / ops.sqrt(ops.maximum(squares, EPSILON**2))
    products = ops.matmul(units, ops.transpose(units))
    itself = ops.eye(ops.shape(units)[0], dtype="bool")
    nearest = ops.argmax(ops.where(itself, -2.0, products), axis=-1)
    apart = units - ops.take(units, nearest, axis=0) + EPSILON
    distances = ops.sqrt(ops.sum(ops.square(apart), axis=-1))
    return -ops.mean(ops.log(distances + EPSILON))


def koleo_by_view(features):
    """`koleo` (V,) of each view of features (V, B, D) by itself.

    Views of one photo are no neighbours, which is as published.
    """
    return ops.stack([koleo(view) for view in ops.unstack(features)])
