"""One worker of `train`: `train_worker.py CONFIG.yaml WEIGHTS.npz [fall]`.

With `fall` the chief stops moving after the first checkpoint, for somebody to kill a
worker then.
"""

import pathlib
import sys
import time

import numpy as np

from dino_tf.checkpoint import Checkpoints
from dino_tf.config import Config
from dino_tf.errors import UserError
from dino_tf.training import train


def main(config, weights, *fall):
    """Trains, then writes all weights."""
    save = Checkpoints.save

    def save_and_wait(self, model, place):
        save(self, model, place)
        self.wait()
        pathlib.Path(weights).with_name("saved").touch()
        time.sleep(600)

    if fall:
        Checkpoints.save = save_and_wait
    try:
        run = train(Config.from_yaml(config))
    except UserError as error:
        sys.exit(f"error: {error}")
    values = {v.path: v.numpy() for v in run.model.weights}
    np.savez(weights, **values)


if __name__ == "__main__":
    main(*sys.argv[1:])
