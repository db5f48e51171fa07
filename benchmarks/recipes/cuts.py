"""Cuts photos for validation from those that are trained on.

The test photos of a data set are for the end alone: settings are chosen by photos that
come from its training split.
"""

from dino_tf.datasets import open_source
from dino_tf.errors import UserError
from dino_tf.shard_writer import write_shards

VALIDATION_EVERY = 4


def cut(spec, folder):
    """Writes shards whose split "train" lacks every fourth photo, which are "test".

    Args:
        spec: SPEC of a data set; only its training split is opened.
        folder: Where the shards go; what is there already is not written again.

    Returns:
        Tuple (photos to train on, photos for validation).

    Raises:
        UserError: The data set is too small, or the folder holds another one.
    """
    source = open_source(spec)
    places = {
        "train": [i for i in range(len(source)) if i % VALIDATION_EVERY],
        "test": range(0, len(source), VALIDATION_EVERY),
    }
    if not places["train"]:
        raise UserError(f"{spec} has {len(source)} photos; a cut needs 2 and more")
    for split, chosen in places.items():
        write_shards(source.subset(chosen), folder, split)
    return tuple(len(chosen) for chosen in places.values())
