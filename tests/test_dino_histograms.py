"""Guessed histograms and Muon in the training step: weight, replicas, parts, XLA."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.dino import DINO
from dino_tf.histograms import HistogramPrediction
from dino_tf.loss import DINOLoss
from dino_tf.models.head import DINOHead
from dino_tf.models.vit import VisionTransformer
from dino_tf.muon import Muon, matrix_parts
from dino_tf.optimizers import SGD
from dino_tf.schedules import WarmupCosine


def made(weight=0.0, **kwargs):
    keras.utils.set_random_seed(0)
    sizes = {"embed_dim": 12, "depth": 1, "num_heads": 2, "patch_size": 8}
    vit = VisionTransformer(image_size=16, **sizes)
    head = DINOHead(16, hidden_dim=12, bottleneck_dim=8)
    histograms = HistogramPrediction(weight) if weight else None
    return DINO(vit, head, DINOLoss(16), 0.9, histograms=histograms, **kwargs)


def views(batch=8):
    draw = np.random.default_rng(0)
    return {
        "global": draw.normal(size=(batch, 2, 16, 16, 3)).astype("float32"),
        "local": draw.normal(size=(batch, 1, 8, 8, 3)).astype("float32"),
    }


def muon_of(model, rate):
    parts = matrix_parts(model, model.student_backbone)
    return Muon(rate, parts=parts, matrix_rate=5.0 * rate)


def fitted(strategy=None, optimizer=SGD, rate=1e-2, jit_compile=False, **kwargs):
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = made(**kwargs)
        own = muon_of(model, rate) if optimizer is Muon else optimizer(rate)
        model.compile(own, jit_compile=jit_compile)
    data = tf.data.Dataset.from_tensor_slices(views(16)).batch(8, drop_remainder=True)
    model.fit(data, verbose=0, shuffle=False)
    return model


def check_same(one, other, tolerance=1e-5):
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=tolerance, err_msg=a.path)


def test_what_is_left_is_told_beside_the_loss():
    model, data = made(weight=2.0), views()
    model.compile(SGD(0.0))
    images = data["global"], data["local"]
    _, _, known = model.student_tokens(*images, None)
    shapes = [[part.shape for part in pair] for pair in known]
    assert shapes == [[(16, 12), (16, 4, 12)], [(8, 12), (8, 1, 12)]]
    expected = model.histograms.loss(known, *images)
    logs = model.train_on_batch(data, return_dict=True)
    told = model.signals.result()
    assert float(told["histograms"]) == pytest.approx(float(expected), rel=1e-5)
    plain = made()
    plain.compile(SGD(0.0))
    found = plain.train_on_batch(data, return_dict=True)
    assert found["loss"] == pytest.approx(logs["loss"], rel=1e-6)
    assert "histograms" not in plain.signals.result()


def test_gradient_has_its_weight():
    moved = []
    for weight in (0.0, 1.0, 2.0):
        model = made(weight=weight, clip_grad=0.0)
        model.compile(SGD(0.1))
        model.train_on_batch(views())
        moved.append(model.student_backbone.cls_token.numpy())
    first, second = moved[1] - moved[0], moved[2] - moved[0]
    np.testing.assert_allclose(second, 2 * first, atol=1e-5)
    assert np.abs(first).max() > 1e-4


def test_the_weight_may_follow_the_step():
    falling = WarmupCosine(2.0, 0.0, 2)  # 2, 1, 0
    model, moved = made(weight=falling, clip_grad=0.0), []
    model.compile(SGD(1e-3, momentum=0.0))
    kernel = model.histograms.layers["patch"].kernel
    for _ in range(3):
        before = kernel.numpy()
        model.train_on_batch(views())
        moved.append(np.abs(kernel.numpy() - before).max())
    assert moved[0] > 1e-5 and moved[2] == 0
    assert moved[1] / moved[0] == pytest.approx(0.5, rel=0.05)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(model.histograms)
    )
    assert again.weight(1) == pytest.approx(1.0)


def test_the_guess_gets_better():
    model, data, left = made(weight=1.0), views(), []
    model.compile(muon_of(model, 3e-3))
    for _ in range(30):
        model.signals.reset_state()
        model.train_on_batch(data)
        left.append(float(model.signals.result()["histograms"]))
    assert left[-1] < 0.8 * left[0]


@pytest.mark.parametrize("kind", ["two replicas", "xla"])
def test_histograms_by_parts_and_replicas(kind, strategy):
    if kind == "xla":
        check_same(fitted(weight=2.0), fitted(weight=2.0, jit_compile=True))
        return
    two = fitted(strategy, weight=2.0)
    check_same(fitted(weight=2.0, accumulate_steps=2), two)


def test_muon_over_two_replicas_equals_one(strategy):
    check_same(fitted(optimizer=Muon), fitted(strategy, optimizer=Muon), 1e-4)


def test_saved_and_loaded(tmp_path):
    model = fitted(optimizer=Muon, weight=2.0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.histograms.weight == 2.0 and isinstance(loaded.optimizer, Muon)
    for one in (model, loaded):
        one.train_on_batch(views())
    check_same(model, loaded)
