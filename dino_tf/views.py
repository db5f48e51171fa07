"""Batches of views, laid out as the networks want them.

A batch comes as (B, V, H, W, 3); the views contract is in `transforms.multicrop`.
"""

from keras import ops


def views_outermost(views):
    """(B, V, H, W, 3) -> (V * B, H, W, 3), the views outermost as published."""
    views = ops.transpose(views, (1, 0, 2, 3, 4))
    return ops.reshape(views, (-1, *views.shape[2:]))


def split_batch(views, parts):
    """(B, V, ...) -> (parts, B / parts, V, ...).

    Raises:
        ValueError: When B is not a multiple of `parts`.
    """
    if views.shape[0] % parts:
        raise ValueError(
            f"batch of {views.shape[0]} is not a multiple of accumulate_steps={parts}"
        )
    return ops.reshape(views, (parts, views.shape[0] // parts, *views.shape[1:]))
