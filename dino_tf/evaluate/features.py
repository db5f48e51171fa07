"""Features of many photos from one compiled forward pass."""

import numpy as np
import tensorflow as tf

from dino_tf.errors import UserError

# The published linear protocol takes CLS of so many last blocks.
BLOCKS = 4


def summaries_of(backbone):
    """{name: numbers a photo} of the features of whole photos that a backbone has.

    "cls" (N, D) is what `backbone(images)` gives. Networks with a CLS token also have
    "blocks" (N, n, D), CLS of the last n blocks (n of 4, or all), and "mean_patch"
    (N, D), the mean of the patch tokens of the last block; both after the final norm.
    """
    width = getattr(backbone, "embed_dim", 0)
    blocks = min(BLOCKS, getattr(backbone, "depth", 0))
    if not blocks or not getattr(backbone, "num_prefix_tokens", 0):
        return {"cls": width}
    return {"cls": width, "blocks": blocks * width, "mean_patch": width}


def extract_summaries(backbone, dataset, names=("cls",), advance=None, forward=None):
    """Features of every photo of a dataset, several kinds from one pass.

    The forward pass is traced once: a smaller last batch is filled up with empty
    images, whose features are dropped.

    Args:
        backbone: Keras layer or model, (B, H, W, 3) normalised float -> (B, D).
        dataset: yields {"image": (B, H, W, 3), "index": (B,)}, H and W fixed, no batch
            larger than the first; see `dino_tf.pipeline.evaluation_dataset`.
        names: of `summaries_of`.
        advance: function of the number of photos done since its last call.
        forward: `compiled_summarizer` of the same backbone and names, where a pass is
            not the first; None compiles one.

    Returns:
        Dictionary from each name to float32 (N, ...), as the network gives them, and
        "index" to int64 (N,), the places of the photos in their source.

    Raises:
        UserError: the dataset is empty.
    """
    forward = forward or compiled_summarizer(backbone, tuple(names))
    parts = {name: [] for name in (*names, "index")}
    for batch, found in passes(forward, dataset):
        for name, values in found.items():
            parts[name].append(values)
        parts["index"].append(np.asarray(batch["index"], dtype=np.int64))
        if advance:
            advance(len(batch["index"]))
    if not parts["index"]:
        raise UserError("no photo to take features of; at least one must be readable")
    return {name: np.concatenate(found) for name, found in parts.items()}


def extract_features(backbone, dataset, forward=None):
    """L2-normalised features of every photo of a dataset.

    Args:
        backbone: see `extract_summaries`.
        dataset: see `extract_summaries`.
        forward: see `extract_summaries`.

    Returns:
        features: float32 (N, D), of length one.
        indices: int64 (N,), the places of the photos in their source.

    Raises:
        UserError: the dataset is empty.
    """
    found = extract_summaries(backbone, dataset, forward=forward)
    return normalize(found["cls"]), found["index"]


def normalize(features):
    """Features (N, D) divided by their lengths; those of length zero stay zero."""
    # Without the array of squares, which would be as large as the features.
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features))
    return features / np.maximum(lengths, 1e-12)[:, None]


def compiled_summarizer(backbone, names):
    """`summarizer` in float32 as a compiled function, to be used for several passes."""
    forward = summarizer(backbone, names)

    def in_float32(images):
        found = forward(images)
        return {name: tf.cast(values, tf.float32) for name, values in found.items()}

    return compiled(in_float32)


def passes(forward, dataset):
    """What a network gives for every batch, from one trace.

    A smaller last batch is filled up with empty images, whose results are dropped.

    Args:
        forward: function from images (B, H, W, 3) to {name: tensor (B, ...)}.
        dataset: yields {"image": (b, H, W, 3), "index": (b,), ...}, no batch larger
            than the first.

    Yields:
        (batch, {name: array (b, ...)}).
    """
    full = 0
    for batch in dataset:
        count = len(batch["index"])
        full = max(full, count)
        images = tf.pad(batch["image"], [[0, full - count], *[[0, 0]] * 3])
        found = forward(images)
        yield batch, {name: values[:count].numpy() for name, values in found.items()}


def compiled(function, signature=None):
    """A function of one tensor as a graph; nothing in a network branches on values.

    Args:
        function: takes a tensor.
        signature: `tf.TensorSpec`; None lets every shape have a graph of its own.
    """
    signature = None if signature is None else [signature]
    graph = tf.function(function, input_signature=signature, autograph=False)
    # TensorFlow counts traces by lines of code: the same lines for another network
    # would look like one function that is traced again and again.
    graph._omit_frequent_tracing_warning = True
    return graph


def summarizer(backbone, names):
    """Function from images (B, H, W, 3) to {name: features}, of `summaries_of`."""
    if names == ("cls",):
        return lambda images: {"cls": backbone(images, training=False)}
    count = min(BLOCKS, backbone.depth) if "blocks" in names else 1
    prefix = backbone.num_prefix_tokens

    def forward(images):
        tokens = backbone.intermediate_tokens(images, count)
        found = {
            "cls": tokens[-1][:, 0],
            "blocks": tf.stack([block[:, 0] for block in tokens], axis=1),
            "mean_patch": tf.reduce_mean(tokens[-1][:, prefix:], axis=1),
        }
        return {name: found[name] for name in names}

    return forward
