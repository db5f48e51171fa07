"""DINO, self-distillation with no labels, for TensorFlow and Keras 3.

Shapes in all docstrings: B batch, V views, N tokens, D width, K prototypes,
H W pixels, h w patches.
"""

import importlib

__version__ = "0.1.0"

# Loaded at first use: `main.py --help` must not wait for TensorFlow.
_HOMES = {
    "create_backbone": "dino_tf.models.backbones",
    "load_backbone": "dino_tf.models.loading",
    "Classifier": "dino_tf.models.classifier",
    "DINOHead": "dino_tf.models.head",
    "DINOLoss": "dino_tf.loss",
    "DINO": "dino_tf.dino",
    "PatchLoss": "dino_tf.ibot",
    "PatchMasks": "dino_tf.masking",
    "PatchPrediction": "dino_tf.ibot",
    "MultiCrop": "dino_tf.transforms.multicrop",
    "open_source": "dino_tf.datasets",
    "write_shards": "dino_tf.shard_writer",
    "make_dataset": "dino_tf.pipeline",
    "train": "dino_tf.training",
    "evaluate_weights": "dino_tf.evaluation",
    "embed": "dino_tf.embedding",
    "EvaluateEvery": "dino_tf.callbacks",
    "Health": "dino_tf.watch",
    "ArraySource": "dino_tf.datasets.arrays",
    "Config": "dino_tf.config",
}
__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'dino_tf' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__():
    return sorted([*globals(), *_HOMES])
