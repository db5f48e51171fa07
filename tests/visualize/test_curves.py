"""The picture of a training's numbers."""

import numpy as np

from dino_tf.visualize.curves import learning_curve


def test_picture_has_a_line_for_every_number():
    history = [{"epoch": i, "loss": 1 / i} for i in (1, 2, 3)]
    loss_only = learning_curve(history)
    assert (loss_only.dtype, loss_only.shape) == (np.uint8, (480, 600, 3))
    history[2]["finetune/top1"] = 80.0
    both = learning_curve(history)
    assert both.shape == (480, 1080, 3)
    history[1]["finetune/top1"] = 30.0
    assert (learning_curve(history) != both).any()
