"""Checkpoints: nothing half, nothing lost, and resume equals uninterrupted."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.checkpoint import Checkpoints
from dino_tf.dino import DINO
from dino_tf.errors import UserError
from dino_tf.loss import DINOLoss
from dino_tf.models.head import DINOHead
from dino_tf.models.vit import VisionTransformer
from dino_tf.optimizers import SGD, AdamW
from dino_tf.schedules import WarmupCosine


def tiny_model(seed=0, width=8, optimizer=None):
    keras.utils.set_random_seed(seed)
    vit = VisionTransformer(
        embed_dim=width,
        depth=2,
        num_heads=2,
        patch_size=8,
        image_size=16,
        drop_path_rate=0.5,
    )
    head = DINOHead(16, hidden_dim=8, bottleneck_dim=4)
    model = DINO(vit, head, DINOLoss(16), WarmupCosine(0.9, 1.0, 10))
    rate = WarmupCosine(1e-2, 1e-4, 10)
    model.compile(optimizer or AdamW(rate, 0.1), run_eagerly=True)
    return model


def batch(number):
    draw = np.random.default_rng(number)
    return {
        "global": tf.constant(draw.normal(size=(4, 2, 16, 16, 3)), "float32"),
        "local": tf.constant(draw.normal(size=(4, 1, 8, 8, 3)), "float32"),
    }


def train(model, numbers):
    return [float(model.train_on_batch(batch(n))) for n in numbers]


def state(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


def test_resume_equals_uninterrupted(tmp_path):
    whole = tiny_model()
    train(whole, [0, 1])
    # Saving and restoring must leave the saved model alone, too.
    Checkpoints(tmp_path).save(whole, epoch=2)
    # Another start: other weights, other states of the random layers.
    resumed = tiny_model(seed=7)
    assert Checkpoints(tmp_path).restore(resumed) == 2
    whole.reset_metrics()
    assert train(resumed, [2, 3]) == train(whole, [2, 3])
    assert int(resumed.optimizer.iterations.numpy()) == 4
    # The two models may differ in the name of a variable, not in its value.
    for a, b in zip(state(resumed), state(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_center_teacher_and_seeds_come_back(tmp_path):
    model = tiny_model()
    train(model, [0])
    Checkpoints(tmp_path).save(model, epoch=1)
    record = json.loads((tmp_path / "epoch-0001.json").read_text())
    assert (record["epoch"], record["step"]) == (1, 1)
    assert len(record["seeds"]) == 1  # the first block drops no path
    other = tiny_model(seed=3)
    Checkpoints(tmp_path).restore(other)
    center = model.dino_loss.center.numpy()
    assert np.abs(center).max() > 0
    np.testing.assert_array_equal(other.dino_loss.center.numpy(), center)
    for a, b in zip(
        other.teacher_backbone.weights, model.teacher_backbone.weights, strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_scale_of_float16_comes_back(tmp_path):
    def scaled():
        return keras.optimizers.LossScaleOptimizer(SGD(0.1), initial_scale=64.0)

    model = tiny_model(optimizer=scaled())
    train(model, [0])
    model.optimizer.dynamic_scale.assign(16.0)
    Checkpoints(tmp_path).save(model, epoch=1)
    other = tiny_model(seed=1, optimizer=scaled())
    Checkpoints(tmp_path).restore(other)
    assert float(other.optimizer.dynamic_scale.numpy()) == 16.0


def test_only_the_latest_are_kept(tmp_path):
    model, checkpoints = tiny_model(), Checkpoints(tmp_path, keep=2)
    for epoch in (1, 2, 10):
        checkpoints.save(model, epoch)
    assert checkpoints.epochs() == [2, 10]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "epoch-0002.json",
        "epoch-0002.weights.h5",
        "epoch-0010.json",
        "epoch-0010.weights.h5",
    ]


def test_half_a_checkpoint_is_passed_over(tmp_path):
    model, checkpoints = tiny_model(), Checkpoints(tmp_path)
    checkpoints.save(model, 3)
    # Interrupted while the weights were written, and before the JSON file was.
    (tmp_path / "part-epoch-0004.weights.h5").write_bytes(b"half")
    (tmp_path / "epoch-0004.weights.h5").write_bytes(b"whole, but not noted")
    (tmp_path / "epoch-0005.json").write_text("{}")
    assert checkpoints.epochs() == [3]
    assert checkpoints.restore(tiny_model(seed=2)) == 3


def test_an_empty_or_missing_folder_is_epoch_0(tmp_path):
    model = tiny_model()
    before = state(model)
    assert Checkpoints(tmp_path).restore(model) == 0
    assert Checkpoints(tmp_path / "missing").restore(model) == 0
    for a, b in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_optimizer_is_refused(tmp_path):
    model = tiny_model()
    train(model, [0])
    Checkpoints(tmp_path).save(model, 1)
    with pytest.raises(UserError, match="is of step 1, but its optimizer state"):
        Checkpoints(tmp_path).restore(tiny_model(optimizer=SGD(0.1)))


def test_another_network_is_refused(tmp_path):
    Checkpoints(tmp_path).save(tiny_model(), 1)
    with pytest.raises(UserError, match="damaged or of another network"):
        Checkpoints(tmp_path).restore(tiny_model(width=12))


def test_a_damaged_file_is_refused(tmp_path):
    Checkpoints(tmp_path).save(tiny_model(), 1)
    file = tmp_path / "epoch-0001.weights.h5"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="epoch-0001.weights.h5 is damaged") as caught:
        Checkpoints(tmp_path).restore(tiny_model())
    assert "\n" not in str(caught.value)
