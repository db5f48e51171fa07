"""Features of many photos from one compiled forward pass."""

import numpy as np
import tensorflow as tf

from dino_tf.errors import UserError


def extract_features(backbone, dataset):
    """L2-normalised features of every photo of a dataset.

    The forward pass is traced once: a smaller last batch is filled up with empty
    images, whose features are dropped.

    Args:
        backbone: Keras layer or model, (B, H, W, 3) normalised float -> (B, D).
        dataset: yields {"image": (B, H, W, 3), "index": (B,)}, H and W fixed, no batch
            larger than the first; see `dino_tf.pipeline.evaluation_dataset`.

    Returns:
        features: float32 (N, D), of length one.
        indices: int64 (N,), the places of the photos in their source.

    Raises:
        UserError: the dataset is empty.
    """
    forward = tf.function(lambda images: backbone(images, training=False))
    features, indices, full = [], [], 0
    for batch in dataset:
        images, count = batch["image"], len(batch["index"])
        full = max(full, count)
        images = tf.pad(images, [[0, full - count], [0, 0], [0, 0], [0, 0]])
        features.append(tf.cast(forward(images), tf.float32)[:count].numpy())
        indices.append(np.asarray(batch["index"], dtype=np.int64))
    if not features:
        raise UserError("no photo to take features of; at least one must be readable")
    return normalize(np.concatenate(features)), np.concatenate(indices)


def normalize(features):
    """Features (N, D) divided by their lengths; those of length zero stay zero."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, 1e-12)
