"""Signals of a training step: literal entropies, sums over steps, replicas, parts."""

import contextlib
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.dino import DINO
from dino_tf.loss import DINOLoss
from dino_tf.models.head import DINOHead
from dino_tf.models.vit import VisionTransformer
from dino_tf.optimizers import SGD
from dino_tf.signals import Signals, no_signals, teacher_signals


def test_signals_of_known_answers():
    # Two photos seen twice: sure of two prototypes, and undecided between them.
    targets = tf.constant([[[1.0, 0, 0, 0], [0, 1.0, 0, 0]], [[0.5, 0.5, 0, 0]] * 2])
    found = teacher_signals(targets)
    assert float(found["teacher_entropy"]) == pytest.approx(math.log(2) / 2)
    assert float(found["batch_entropy"]) == pytest.approx(math.log(2))
    np.testing.assert_array_equal(found["chosen"], [3, 1, 0, 0])
    zeros = no_signals(4)
    assert {k: v.shape for k, v in zeros.items()} == {
        k: v.shape for k, v in found.items()
    }


def test_collapsed_answers_tell_nothing_about_the_photo():
    for answer in (np.full(8, 1 / 8), np.eye(8)[3]):
        found = teacher_signals(tf.constant(np.tile(answer, (2, 5, 1)), "float32"))
        information = found["batch_entropy"] - found["teacher_entropy"]
        assert float(information) == pytest.approx(0, abs=1e-6)


def test_means_over_steps():
    signals = Signals(4)
    step = {"teacher_entropy": 0.5, "batch_entropy": 1.0, "chosen": tf.eye(4)[1]}
    step = {k: tf.constant(v) for k, v in step.items()}
    signals.update_state(tf.constant(2.0), step, tf.constant(3.0))
    step["chosen"] = tf.constant([5.0, 0, 0, 0])
    signals.update_state(tf.constant(3.0), step, tf.constant(math.inf))
    assert {k: float(v) for k, v in signals.result().items()} == {
        "teacher_entropy": 0.5,
        "kl": 2.0,
        "batch_entropy": 1.0,
        "prototypes_used": 0.5,
        # The step that float16 would skip is left out.
        "gradient_norm": 3.0,
    }
    signals.reset_state()
    assert not any(float(v) for v in signals.result().values())


def test_further_terms_are_told_by_their_names():
    signals = Signals(4, ("koleo",))
    zeros = no_signals(4, ("koleo",))
    for value in (1.0, 2.0):
        step = {**zeros, "koleo": tf.constant(value)}
        signals.update_state(tf.constant(0.0), step, tf.constant(1.0))
    assert float(signals.result()["koleo"]) == 1.5
    assert "koleo" not in Signals(4).result()
    again = Signals.from_config(signals.get_config())
    assert again.sums.shape == (7,) and Signals(4).sums.shape == (6,)


def fitted(strategy=None, accumulate_steps=1, jit_compile=False, optimizer=None):
    with strategy.scope() if strategy else contextlib.nullcontext():
        keras.utils.set_random_seed(0)
        vit = VisionTransformer(
            embed_dim=12, depth=1, num_heads=2, patch_size=8, image_size=16
        )
        head = DINOHead(16, hidden_dim=12, bottleneck_dim=8)
        model = DINO(vit, head, DINOLoss(16), accumulate_steps=accumulate_steps)
        model.compile(optimizer or SGD(0.1), jit_compile=jit_compile)
    draw = np.random.default_rng(0)
    views = {
        "global": draw.normal(size=(16, 2, 16, 16, 3)).astype("float32"),
        "local": draw.normal(size=(16, 1, 8, 8, 3)).astype("float32"),
    }
    data = tf.data.Dataset.from_tensor_slices(views).batch(8, drop_remainder=True)
    history = model.fit(data, verbose=0, shuffle=False).history
    return model, {k: float(v) for k, v in model.signals.result().items()}, history


@pytest.fixture(scope="module")
def plain():
    """What `fitted` gives, to look at."""
    return fitted()


def test_entropy_and_divergence_add_up_to_the_loss(plain):
    _, found, history = plain
    total = found["teacher_entropy"] + found["kl"]
    assert total == pytest.approx(history["loss"][0], abs=1e-5)
    assert 0 < found["teacher_entropy"] < found["batch_entropy"] < math.log(16)
    assert found["kl"] > 0 and 0 < found["prototypes_used"] <= 1
    # Progress lines and logs of `fit` stay as they were.
    assert list(history) == ["loss"]


def test_evaluation_leaves_the_signals_alone(plain):
    model, found, _ = plain
    views = {"global": np.zeros((8, 2, 16, 16, 3)), "local": np.zeros((8, 1, 8, 8, 3))}
    data = tf.data.Dataset.from_tensor_slices(views).batch(8, drop_remainder=True)
    model.evaluate(data, verbose=0)
    assert {k: float(v) for k, v in model.signals.result().items()} == found


@pytest.mark.parametrize("kind", ["replicas", "parts", "xla", "float16"])
def test_other_ways_to_compute_tell_the_same(kind, strategy, plain):
    whole = dict(plain[1])
    ways = {
        "replicas": {"strategy": strategy},
        "parts": {"accumulate_steps": 2},
        "xla": {"jit_compile": True},
        "float16": {"optimizer": keras.optimizers.LossScaleOptimizer(SGD(0.1))},
    }
    if kind == "replicas":
        with strategy.scope():
            ways[kind]["optimizer"] = SGD(0.1)
    other = fitted(**ways[kind])[1]
    # Replicas and parts have a mean answer of their own, over fewer photos.
    if kind in ("replicas", "parts"):
        assert 0 < whole.pop("batch_entropy") - other.pop("batch_entropy") < 0.2
    assert other == pytest.approx(whole, rel=1e-3, abs=1e-4)


def test_weights_files_do_not_hold_the_signals(tmp_path, plain):
    import h5py

    model, *_ = plain
    model.save_weights(tmp_path / "model.weights.h5")
    names = []
    with h5py.File(tmp_path / "model.weights.h5") as file:
        file.visititems(
            lambda name, item: names.append(name) if hasattr(item, "shape") else None
        )
    assert names and not any("signals" in name for name in names)
    assert not any("signals" in v.path for v in model.variables)
