"""One worker of `DINO.fit` in a person's own hands: `fit_worker.py OUT.npz OUT.json`.

Writes the weights after `fit` on whole batches and on shared ones, the losses, and what
happens to a plain Keras model.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from dino_tf.cluster import find_cluster
from dino_tf.datasets import open_source
from dino_tf.dino import DINO
from dino_tf.loss import DINOLoss
from dino_tf.models.head import DINOHead
from dino_tf.models.vit import VisionTransformer
from dino_tf.multi_worker import copy_from_chief, share_batches, start
from dino_tf.optimizers import AdamW
from dino_tf.pipeline import make_dataset
from dino_tf.transforms.multicrop import MultiCrop

BATCH, STEPS = 12, 4


def new_model():
    """A tiny DINO, the same in every process."""
    keras.utils.set_random_seed(0)
    backbone = VisionTransformer(
        embed_dim=24, depth=1, num_heads=3, patch_size=8, image_size=32
    )
    head = DINOHead(32, hidden_dim=24, bottleneck_dim=16)
    model = DINO(backbone, head, DINOLoss(32), 0.9)
    model.compile(AdamW(1e-4, 0.04))
    return model


def batches(source, part=(0, 1)):
    """Endless batches of tiny views."""
    views = MultiCrop(global_size=32, local_size=16, num_local=2)
    return make_dataset(source, views, BATCH, seed=3, workers=1, part=part)


def fitted(data):
    """(model, losses of two epochs, loss of `evaluate`)."""
    model = new_model()
    arguments = {"steps_per_epoch": STEPS, "shuffle": False, "verbose": 0}
    losses = model.fit(data, epochs=2, **arguments).history["loss"]
    return model, losses, model.evaluate(data, steps=2, verbose=0)


def weights_of(model, name):
    """{name and number of each weight: array}; a path would count models, too."""
    return {f"{name}:{i} {v.name}": v.numpy() for i, v in enumerate(model.weights)}


def plain_fit(strategy, skip_symbolic_build):
    """The error of `fit` of a plain Keras model, "" where there is none."""

    class Model(keras.Sequential):
        def _maybe_symbolic_build(self, iterator=None, data_batch=None):
            if not skip_symbolic_build:
                super()._maybe_symbolic_build(iterator, data_batch)

    with strategy.scope():
        model = Model([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
    x, y = np.ones((12, 3), "float32"), np.zeros((12, 1), "float32")
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(6)
    try:
        model.fit(data, verbose=0)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main(arrays, facts):
    """Fits under the strategy that the environment names, or under none."""
    cluster = find_cluster()
    strategy = start(cluster) if cluster else tf.distribute.get_strategy()
    source = open_source("scenes:30")
    found = {}
    with strategy.scope():
        whole, *found["whole"] = fitted(batches(source))
        if cluster:
            data = share_batches(lambda part: batches(source, part))
            shared, *found["shared"] = fitted(data)
        else:
            # One process has every part of a batch: the same training again.
            shared, found["shared"] = whole, found["whole"]
        values = weights_of(whole, "whole") | weights_of(shared, "shared")
        if cluster:
            for variable in whole.trainable_variables:
                variable.assign(variable * (1.0 + cluster.index))
            copy_from_chief([*whole.weights, *whole.optimizer.variables])
            values |= weights_of(whole, "copied")
    np.savez(arrays, **values)
    if cluster:
        found["plain"] = [plain_fit(strategy, skip) for skip in (False, True)]
    with open(facts, "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
