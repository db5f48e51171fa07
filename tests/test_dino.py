"""The training model: steps, replicas, accumulation, precision, saving."""

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.dino import DINO
from dino_tf.loss import DINOLoss
from dino_tf.models.backbones import create_backbone
from dino_tf.models.head import DINOHead
from dino_tf.models.vit import VisionTransformer
from dino_tf.optimizers import LARS, SGD, AdamW
from dino_tf.schedules import EpochLinear, WarmupCosine

STEPS = 10


def tiny_vit(**kwargs):
    sizes = {"embed_dim": 24, "depth": 1, "num_heads": 3, "patch_size": 8}
    return VisionTransformer(**{**sizes, "image_size": 32, **kwargs})


def tiny_model(use_bn=False, seed=0, vit=None, **kwargs):
    keras.utils.set_random_seed(seed)
    head = DINOHead(32, hidden_dim=24, bottleneck_dim=16, use_bn=use_bn)
    loss = DINOLoss(32, teacher_temp=EpochLinear(0.04, 0.07, 2, 5))
    momentum = WarmupCosine(0.9, 1.0, STEPS)
    return DINO(tiny_vit(**(vit or {})), head, loss, momentum, **kwargs)


def scheduled(kind=AdamW, rate=1e-3):
    return kind(WarmupCosine(rate, 1e-6, STEPS, 3), WarmupCosine(0.04, 0.4, STEPS))


def views(batch=8, local=3, steps=STEPS, seed=1):
    draw = np.random.default_rng(seed)
    batches = {
        "global": draw.normal(size=(steps * batch, 2, 32, 32, 3)).astype("float32"),
        "local": draw.normal(size=(steps * batch, local, 16, 16, 3)).astype("float32"),
    }
    dataset = tf.data.Dataset.from_tensor_slices(batches)
    return dataset.batch(batch, drop_remainder=True)


def fitted(strategy=None, optimizer=None, dataset=None, compile_options=None, **kwargs):
    scope = strategy.scope() if strategy else contextlib.nullcontext()
    with scope:
        model = tiny_model(**kwargs)
        model.compile(optimizer=optimizer or scheduled(), **(compile_options or {}))
    data = dataset or views()
    history = model.fit(data, epochs=1, verbose=0, shuffle=False)
    return model, history.history["loss"][-1]


@functools.cache
def alone(kind=AdamW, rate=1e-3, use_bn=False):
    """What `fitted` gives without a strategy, for tests that only look at it."""
    return fitted(optimizer=scheduled(kind, rate), use_bn=use_bn)


def state(model):
    return [v.numpy() for v in model.weights]


# A batch norm removes these biases' effect: their gradient is rounding, which AdamW
# and LARS turn into whole steps, and the running mean holds them.
FEED_BATCH_NORM = ("/norm/beta", "/mlp.0/bias", "/mlp.3/bias", "/moving_mean")


def check_same(one, other, tolerance, skipped=()):
    assert one[1] == pytest.approx(other[1], abs=tolerance)
    for a, b in zip(one[0].weights, other[0].weights, strict=True):
        if a.path.endswith(tuple(skipped)):
            continue
        values = a.numpy(), b.numpy()
        if skipped and a.path.endswith("/qkv/bias"):
            # A softmax ignores the bias of the keys just so.
            values = [np.delete(v, np.s_[24:48]) for v in values]
        np.testing.assert_allclose(*values, atol=tolerance, err_msg=a.path)


@pytest.mark.parametrize(
    ("kind", "use_bn"),
    [(AdamW, False), (AdamW, True), (SGD, False), (SGD, True), (LARS, False)],
)
def test_two_replicas_equal_one(strategy, use_bn, kind):
    rate = {AdamW: 1e-4, SGD: 1e-2, LARS: 1e-1}[kind]
    one = alone(kind, rate, use_bn)
    with strategy.scope():
        optimizer = scheduled(kind, rate)
    two = fitted(strategy, optimizer=optimizer, use_bn=use_bn)
    check_same(one, two, 1e-4, FEED_BATCH_NORM if use_bn and kind != SGD else ())
    assert np.abs(one[0].dino_loss.center.numpy()).max() > 1e-4


def convolutional(arch, strategy=None, steps=STEPS):
    """A network of Keras after a few steps, and its last loss."""
    with strategy.scope() if strategy else contextlib.nullcontext():
        keras.utils.set_random_seed(0)
        backbone = create_backbone(arch)
        head = DINOHead(32, hidden_dim=24, bottleneck_dim=16)
        model = DINO(backbone, head, DINOLoss(32), 0.9)
        model.compile(optimizer=SGD(1e-1, 1e-4))
    history = model.fit(views(steps=steps), verbose=0, shuffle=False)
    return model, history.history["loss"][-1]


def test_two_replicas_equal_one_with_a_network_of_keras(tiny_application, strategy):
    one, two = (convolutional(tiny_application, s) for s in (None, strategy))
    check_same(one, two, 1e-4)
    teacher = one[0].teacher_backbone
    moved = [v for v in teacher.weights if v.path.endswith("moving_mean")]
    # A frozen batch norm of Keras's would have kept its zeros.
    assert len(moved) == 2
    assert all(np.abs(v.numpy()).max() > 1e-3 for v in moved)
    for variable in two[0].weights:
        copies = strategy.experimental_local_results(variable.value)
        np.testing.assert_array_equal(*[c.numpy() for c in copies])


def test_network_of_keras_is_saved_whole(tiny_application, tmp_path):
    model, _ = convolutional(tiny_application, steps=1)
    model.save(tmp_path / "dino.keras")
    loaded = keras.saving.load_model(tmp_path / "dino.keras")
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_step_of_a_network_of_keras_is_undisturbed(tiny_application):
    """Dropout of the network's own would make the teacher's pass random."""
    model, _ = convolutional(tiny_application, steps=1)
    batch = next(iter(views()))
    logits = [model.teacher_logits(batch["global"]) for _ in range(2)]
    np.testing.assert_array_equal(*logits)


def test_two_replicas_with_an_ordinary_keras_optimizer(strategy):
    one = fitted(optimizer=keras.optimizers.AdamW(1e-4, weight_decay=0.1))
    with strategy.scope():
        optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.1)
    two = fitted(strategy, optimizer=optimizer)
    check_same(one, two, 1e-4)


def test_xla_equals_eager_graph():
    compiled = fitted(compile_options={"jit_compile": True})
    check_same(alone(), compiled, 1e-4)


@pytest.mark.slow
def test_drop_path_on_two_replicas(strategy):
    with strategy.scope():
        optimizer = scheduled()
    vit = {"depth": 2, "drop_path_rate": 0.2}
    model, loss = fitted(strategy, optimizer, vit=vit)
    assert np.isfinite(loss)
    drops = [v for v in model.variables if v.path.endswith("seed_generator_state")]
    assert drops and all(np.ptp(v.numpy()) > 0 for v in drops)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_drop_path_with_accumulation(jit_compile):
    vit = {"depth": 2, "drop_path_rate": 0.2}
    options = {"jit_compile": jit_compile}
    _, loss = fitted(accumulate_steps=2, vit=vit, compile_options=options)
    assert np.isfinite(loss)


@pytest.mark.slow
def test_xla_under_a_strategy(strategy):
    with strategy.scope():
        optimizer = scheduled()
    compiled = fitted(
        strategy, optimizer=optimizer, compile_options={"jit_compile": True}
    )
    check_same(alone(), compiled, 1e-4)


def test_accumulation_equals_the_whole_batch():
    whole = alone(SGD, 1e-2)
    parts = fitted(optimizer=scheduled(SGD, 1e-2), accumulate_steps=4)
    check_same(whole, parts, 1e-4)


def test_accumulation_on_two_replicas(strategy):
    whole = alone(SGD, 1e-2)
    with strategy.scope():
        optimizer = scheduled(SGD, 1e-2)
    parts = fitted(strategy, optimizer=optimizer, accumulate_steps=2)
    check_same(whole, parts, 1e-4)


def test_batch_that_accumulation_does_not_divide():
    with pytest.raises(ValueError, match="accumulate_steps=3"):
        fitted(accumulate_steps=3)


def test_teacher_follows_by_momentum():
    model = tiny_model()
    model.compile(optimizer=scheduled(SGD, 1e-1))
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(2)
    before = model.teacher_head.last_layer.weight_v.numpy()
    kernel = model.teacher_head.mlp[0].kernel.numpy()
    model.train_on_batch(next(iter(views())))
    momentum = WarmupCosine(0.9, 1.0, STEPS)(2)
    student = model.student_head.mlp[0].kernel.numpy()
    expected = momentum * kernel + (1 - momentum) * student
    np.testing.assert_allclose(
        model.teacher_head.mlp[0].kernel.numpy(), expected, atol=1e-7
    )
    assert np.abs(student - kernel).max() > 1e-4
    assert np.any(model.teacher_head.last_layer.weight_v.numpy() != before)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: scheduled(AdamW),
        lambda: scheduled(SGD, 1e-1),
        lambda: keras.optimizers.AdamW(1e-3, weight_decay=0.5),
    ],
    ids=["adamw", "sgd", "keras_adamw"],
)
def test_last_layer_is_frozen_for_its_steps_only(optimizer):
    model = tiny_model(freeze_last_layer_steps=3)
    model.compile(optimizer=optimizer())
    last = model.student_head.last_layer.weight_v
    start, first = last.numpy(), model.student_head.mlp[0].kernel.numpy()
    batches = list(views())
    for batch in batches[:3]:
        model.train_on_batch(batch)
    np.testing.assert_array_equal(last.numpy(), start)
    assert np.abs(model.student_head.mlp[0].kernel.numpy() - first).max() > 1e-6
    model.train_on_batch(batches[3])
    assert np.abs(last.numpy() - start).max() > 1e-6


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_lower_precision_trains_as_float32_does(policy):
    full = alone()
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        optimizer = scheduled()
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 64.0)
        half = fitted(optimizer=optimizer)
    finally:
        keras.config.set_dtype_policy(previous)
    assert half[1] == pytest.approx(full[1], rel=2e-2)
    assert half[0].dino_loss.compute_dtype == "float32"
    assert {v.dtype for v in half[0].trainable_variables} == {"float32"}


def test_float16_skips_a_step_that_overflows():
    model = tiny_model()
    optimizer = keras.optimizers.LossScaleOptimizer(scheduled(SGD, 1e-1))
    model.compile(optimizer=optimizer)
    batch = next(iter(views()))
    model.train_on_batch(batch)
    before = model.student_head.mlp[0].kernel.numpy()
    scale = float(optimizer.dynamic_scale.numpy())
    batch["global"] = batch["global"] * np.inf
    model.train_on_batch(batch)
    assert float(optimizer.dynamic_scale.numpy()) == scale / 2
    np.testing.assert_array_equal(model.student_head.mlp[0].kernel.numpy(), before)


def test_any_number_of_local_views():
    for local in (0, 1, 5):
        model = tiny_model()
        model.compile(optimizer=scheduled())
        assert np.isfinite(model.train_on_batch(next(iter(views(local=local)))))


def test_evaluate_changes_nothing():
    model = tiny_model(vit={"drop_path_rate": 0.5})
    model.compile(optimizer=scheduled())
    before = state(model)
    losses = [model.evaluate(views(steps=2), verbose=0) for _ in range(2)]
    assert losses[0] == losses[1]
    for a, b in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_predict_gives_the_teachers_features():
    model = tiny_model()
    images = np.ones((3, 40, 24, 3), "float32")
    expected = model.teacher_backbone(images)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-6)


def test_saved_model_goes_on_alike(tmp_path):
    model, _ = fitted(vit={"drop_path_rate": 0.0})
    model.save(tmp_path / "dino.keras")
    loaded = keras.saving.load_model(tmp_path / "dino.keras")
    assert int(loaded.optimizer.iterations.numpy()) == STEPS
    batch = next(iter(views(seed=5)))
    # Keras before 3.15 goes on with the mean of the epoch.
    model.reset_metrics()
    assert model.train_on_batch(batch) == pytest.approx(loaded.train_on_batch(batch))
    for a, b in zip(state(model), state(loaded), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_config_round_trip_and_clone():
    model = tiny_model(use_bn=True, clip_grad=1.0, freeze_last_layer_steps=4)
    again = DINO.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    clone = keras.models.clone_model(model)
    assert [v.shape for v in clone.weights] == [v.shape for v in model.weights]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "other"}, "head.out_dim=32 and loss.out_dim=16"),
        ({"teacher_momentum": 1.5}, "teacher_momentum=1.5"),
        ({"clip_grad": -1.0}, "clip_grad=-1.0"),
        ({"accumulate_steps": 0}, "accumulate_steps=0"),
    ],
)
def test_wrong_arguments(arguments, message):
    if arguments.get("loss"):
        arguments = {"loss": DINOLoss(16)}
    with pytest.raises(ValueError, match=message):
        DINO(tiny_vit(), DINOHead(32, 24, 16), **arguments)


def test_the_end_of_a_stream_counts_nothing():
    model = tiny_model()
    model.compile(optimizer=scheduled())
    # Filtered, so that nobody knows how many batches come.
    stream = views(steps=2).filter(lambda batch: True)
    model.fit(stream, epochs=2, verbose=0, shuffle=False)
    assert int(model.optimizer.iterations.numpy()) == 4
    assert float(model.loss_tracker.count) == 2
