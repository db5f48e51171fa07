"""Sinkhorn-Knopp and KoLeo in the training step: replicas, parts, precision, XLA."""

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.dino import DINO
from dino_tf.koleo import koleo
from dino_tf.loss import DINOLoss
from dino_tf.models.head import DINOHead
from dino_tf.models.vit import VisionTransformer
from dino_tf.optimizers import SGD

TERMS = {"centering": "sinkhorn", "koleo_weight": 0.1}


def made(centering="center", koleo_weight=0.0, **kwargs):
    keras.utils.set_random_seed(0)
    sizes = {"embed_dim": 12, "depth": 1, "num_heads": 2, "patch_size": 8}
    vit = VisionTransformer(image_size=16, **sizes)
    head = DINOHead(16, hidden_dim=12, bottleneck_dim=8)
    loss = DINOLoss(16, centering=centering)
    return DINO(vit, head, loss, 0.9, koleo_weight=koleo_weight, **kwargs)


def batches(steps=3, batch=8):
    draw = np.random.default_rng(0)
    rows = steps * batch
    views = {
        "global": draw.normal(size=(rows, 2, 16, 16, 3)).astype("float32"),
        "local": draw.normal(size=(rows, 1, 8, 8, 3)).astype("float32"),
    }
    data = tf.data.Dataset.from_tensor_slices(views)
    return data.batch(batch, drop_remainder=True)


def fitted(strategy=None, jit_compile=False, optimizer=None, **kwargs):
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = made(**kwargs)
        model.compile(optimizer or SGD(1e-2), jit_compile=jit_compile)
    history = model.fit(batches(), verbose=0, shuffle=False).history
    return model, history["loss"][-1]


@functools.cache
def alone(**kwargs):
    """What `fitted` gives, to look at."""
    return fitted(**kwargs)


def check_same(one, other, tolerance=1e-5):
    assert one[1] == pytest.approx(other[1], abs=tolerance)
    for a, b in zip(one[0].weights, other[0].weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=tolerance, err_msg=a.path)


@pytest.mark.parametrize("kind", ["sinkhorn", "koleo"])
def test_each_changes_what_is_learned(kind):
    term = {"centering": "sinkhorn"} if kind == "sinkhorn" else {"koleo_weight": 0.1}
    kernels = [
        model.student_backbone.blocks[0].mlp.fc1.kernel.numpy()
        for model in (alone()[0], alone(**term)[0])
    ]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4


def test_sinkhorn_leaves_the_center_at_zero():
    assert np.abs(alone()[0].dino_loss.center.numpy()).max() > 1e-4
    assert not alone(**TERMS)[0].dino_loss.center.numpy().any()


def test_koleo_is_told_beside_the_loss():
    model = made(koleo_weight=0.5)
    model.compile(SGD(0.0))
    batch = next(iter(batches()))
    features = model.student_features(batch["global"], batch["local"])
    expected = np.mean([float(koleo(view)) for view in features[:2]])
    loss = model.train_on_batch(batch)
    found = {k: float(v) for k, v in model.signals.result().items()}
    assert found["koleo"] == pytest.approx(expected, rel=1e-5)
    # The loss is that of the answers alone.
    without = made()
    without.compile(SGD(0.0))
    assert loss == pytest.approx(without.train_on_batch(batch), abs=1e-6)
    assert "koleo" not in without.signals.result()


def test_gradient_of_koleo_has_its_weight():
    """Twice the weight moves the weights by twice as much more."""
    batch = next(iter(batches()))
    moved = []
    for weight in (0.0, 0.1, 0.2):
        model = made(koleo_weight=weight, clip_grad=0.0)
        model.compile(SGD(1.0))
        model.train_on_batch(batch)
        moved.append(model.student_backbone.cls_token.numpy())
    first, second = moved[1] - moved[0], moved[2] - moved[0]
    np.testing.assert_allclose(second, 2 * first, atol=1e-5)
    assert np.abs(first).max() > 1e-3


def test_sinkhorn_over_two_replicas_equals_one(strategy):
    with strategy.scope():
        optimizer = SGD(1e-2)
    two = fitted(strategy, optimizer=optimizer, centering="sinkhorn")
    check_same(alone(centering="sinkhorn"), two)
    # Its sums cross replicas, which XLA cannot do within the passes.
    with strategy.scope():
        two[0].compile(SGD(1e-2), jit_compile=True)
    assert two[0].get_compile_config()["jit_compile"] is False


@pytest.mark.slow
def test_koleo_over_two_replicas_sees_each_by_itself(strategy):
    with strategy.scope():
        optimizer = SGD(1e-2)
    two = fitted(strategy, optimizer=optimizer, koleo_weight=0.1)
    parts = fitted(koleo_weight=0.1, accumulate_steps=2)
    check_same(parts, two)
    told = [float(m.signals.result()["koleo"]) for m in (parts[0], two[0])]
    assert told[0] == pytest.approx(told[1], abs=1e-4)


@pytest.mark.slow
def test_parts_by_themselves():
    model, loss = fitted(**TERMS, accumulate_steps=2)
    assert np.isfinite(loss) and loss != alone(**TERMS)[1]
    assert np.isfinite(float(model.signals.result()["koleo"]))


def test_parts_over_replicas_are_refused_with_sinkhorn(strategy):
    with pytest.raises(ValueError, match="accumulate_steps=2 with sinkhorn over"):
        with strategy.scope():
            optimizer = SGD(1e-2)
        fitted(strategy, optimizer=optimizer, centering="sinkhorn", accumulate_steps=2)


@pytest.mark.slow
def test_xla_and_recompute_give_the_same():
    check_same(alone(**TERMS), fitted(**TERMS, jit_compile=True, recompute=True))


@pytest.mark.slow
def test_lower_precision():
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        # The first gradients of a head this small are in the ten thousands.
        optimizer = keras.optimizers.LossScaleOptimizer(SGD(1e-2), 0.01)
        model, loss = fitted(**TERMS, optimizer=optimizer)
    finally:
        keras.config.set_dtype_policy(previous)
    full, expected = alone(**TERMS)
    assert loss == pytest.approx(expected, rel=2e-2)
    told = [float(m.signals.result()["koleo"]) for m in (full, model)]
    assert told[0] == pytest.approx(told[1], rel=5e-2)


@pytest.mark.slow
def test_saved_model_goes_on_alike(tmp_path):
    model, _ = fitted(**TERMS)
    model.save(tmp_path / "dino.keras")
    loaded = keras.saving.load_model(tmp_path / "dino.keras")
    assert loaded.dino_loss.centering == "sinkhorn" and loaded.koleo_weight == 0.1
    batch = next(iter(batches()))
    model.reset_metrics()
    assert model.train_on_batch(batch) == pytest.approx(loaded.train_on_batch(batch))


def test_a_model_saved_before_there_was_a_choice():
    config = made().get_config()
    del config["koleo_weight"], config["loss"]["config"]["centering"]
    again = DINO.from_config(config)
    assert again.koleo_weight == 0 and again.dino_loss.centering == "center"


def test_wrong_arguments():
    with pytest.raises(ValueError, match="centering='mean': expected center or sink"):
        made(centering="mean")
    with pytest.raises(ValueError, match="koleo_weight=-1"):
        made(koleo_weight=-1.0)
