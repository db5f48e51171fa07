"""Masked patch prediction: its loss by hand, and whole steps of training with it."""

import contextlib
import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.dino import DINO
from dino_tf.ibot import PatchLoss, PatchPrediction, hidden_patches
from dino_tf.loss import DINOLoss
from dino_tf.masking import PatchMasks
from dino_tf.models.head import DINOHead
from dino_tf.models.vit import VisionTransformer
from dino_tf.models.xcit import XCiT
from dino_tf.optimizers import SGD

MASKS = np.array([[0, 1, 1, 0], [0, 0, 0, 0]], bool)
STEPS, BATCH = 3, 8
# Of one ratio, so that lists of masks for parts make up one for the whole batch.
RATIO = (0.25, 0.25)


def test_hidden_patches_by_hand():
    masks = np.array([[0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 1]], bool)
    hidden = hidden_patches(masks, 7)
    np.testing.assert_array_equal(hidden.rows[:5], [1, 2, 8, 9, 11])
    third = 1 / 3
    expected = [0.5, 0.5, third, third, third, 0.0, 0.0]
    np.testing.assert_allclose(hidden.weights, expected, atol=1e-7)
    # What is too much is left out, not mixed up.
    np.testing.assert_array_equal(hidden_patches(masks, 3).rows, [1, 2, 8])


def test_loss_and_center_by_hand():
    loss = PatchLoss(2, student_temp=1.0, teacher_temp=1.0)
    # Teacher: (3/4, 1/4) and (1/2, 1/2). Student: (1/2, 1/2) and (4/5, 1/5). The third
    # row is left over.
    teacher = np.array([[math.log(3), 0], [0, 0], [9, -9]], "float32")
    student = np.array([[0, 0], [math.log(4), 0], [-9, 9]], "float32")
    hidden = hidden_patches(MASKS, 3)
    # ln 2 = 0.69314718 and -(1/2 ln 4/5 + 1/2 ln 1/5) = 0.91629073: their mean is that
    # of the first view, the second has none.
    value = loss(student, teacher, hidden, training=True)
    assert float(value) == pytest.approx(0.40235948, abs=1e-6)
    # A tenth of the mean of two rows, ln 3 / 2.
    np.testing.assert_allclose(loss.center, [[0.05493061, 0.0]], atol=1e-7)


def test_sinkhorn_leaves_rows_out_that_are_left_over():
    loss = PatchLoss(3, teacher_temp=0.5, centering="sinkhorn")
    logits = np.random.default_rng(0).normal(size=(3, 3)).astype("float32")
    found = []
    for spare in (logits[2], 50 * logits[0]):
        rows = np.stack([*logits[:2], spare])
        found.append(loss.patch_probabilities(rows, hidden_patches(MASKS, 3))[:2])
    np.testing.assert_allclose(*found, atol=1e-6)
    alone = loss.teacher_probabilities(logits[:2])
    np.testing.assert_allclose(found[0], alone, atol=1e-6)


def tiny_vit(**kwargs):
    sizes = {"embed_dim": 24, "depth": 1, "num_heads": 3, "patch_size": 8}
    return VisionTransformer(**{**sizes, "image_size": 32, **kwargs})


def test_tokens_of_masked_images():
    keras.utils.set_random_seed(0)
    vit, draw = tiny_vit(num_registers=2, depth=2), np.random.default_rng(0)
    images = draw.normal(size=(2, 32, 32, 3)).astype("float32")
    token = draw.normal(size=(1, 24)).astype("float32")
    vit.build((None, 32, 32, 3))
    cls, patches = vit.patch_tokens(images)
    found = vit.extract(images, ("cls", "tokens"))
    np.testing.assert_allclose(cls, found["cls"], atol=1e-5)
    np.testing.assert_allclose(patches, found["tokens"][:, 3:], atol=1e-5)
    masks = np.zeros((2, 16), bool)
    masks[0, 5] = True
    cls, patches = vit.patch_tokens(images, masks, token)
    # What the patch in row 1 and column 1 shows is of no account, that it is there is.
    changed = images.copy()
    changed[0, 8:16, 8:16] = draw.normal(size=(8, 8, 3))
    np.testing.assert_allclose(
        vit.patch_tokens(changed, masks, token)[1], patches, atol=1e-6
    )
    assert np.abs(patches[0, 5] - found["tokens"][0, 8]).max() > 0.1
    np.testing.assert_allclose(patches[1], found["tokens"][1, 3:], atol=1e-5)


def made(separate=True, **kwargs):
    keras.utils.set_random_seed(0)
    sizes = {"hidden_dim": 24, "bottleneck_dim": 16}
    head = DINOHead(20, **sizes, name="ibot_head") if separate else None
    loss = PatchLoss(20 if separate else 32, name="ibot_loss")
    ratio = kwargs.pop("ratio", RATIO)
    patches = PatchPrediction(loss, head, mask_ratio=ratio, name="ibot")
    return DINO(
        tiny_vit(),
        DINOHead(32, **sizes),
        DINOLoss(32),
        0.9,
        patches=patches,
        **kwargs,
    )


def batches(parts=2, masked=True, ratio=RATIO):
    draw, made = np.random.default_rng(1), []
    for step in range(STEPS):
        batch = {
            "global": draw.normal(size=(BATCH, 2, 32, 32, 3)).astype("float32"),
            "local": draw.normal(size=(BATCH, 3, 16, 16, 3)).astype("float32"),
        }
        if masked:
            masks = PatchMasks(8, ratio, parts=parts)
            drawn = masks.draw(0, step * BATCH, batch["global"].shape)
            batch["masks"] = drawn.astype("uint8")
        made.append(batch)
    whole = {name: np.concatenate([b[name] for b in made]) for name in made[0]}
    return tf.data.Dataset.from_tensor_slices(whole).batch(BATCH, drop_remainder=True)


def fitted(strategy=None, jit_compile=False, optimizer=None, **kwargs):
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = made(**kwargs)
        model.compile(optimizer or SGD(1e-1), jit_compile=jit_compile)
    history = model.fit(batches(), verbose=0, shuffle=False).history
    return model, (history["loss"][-1], history["ibot"][-1])


@functools.cache
def alone(separate=True):
    return fitted(separate=separate)


def check_same(one, other):
    assert one[1] == pytest.approx(other[1], abs=1e-4)
    for a, b in zip(one[0].weights, other[0].weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-4, err_msg=a.path)


def log_softmax(x):
    x = np.asarray(x, "float64")
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def test_loss_of_a_batch_view_by_view():
    model, batch = made(separate=False), next(iter(batches()))
    model.compile(SGD(1e-1))
    draw = np.random.default_rng(0)
    for variable in (*model.teacher_backbone.weights, model.patches.mask_token):
        variable.assign_add(0.1 * draw.normal(size=variable.shape))
    student, teacher = model.student_heads[-1], model.teacher_heads[-1]
    token, losses = model.patches.mask_token.value, []
    for views, masks in zip(batch["global"], batch["masks"].numpy(), strict=True):
        hidden = masks.astype(bool)
        _, seen = model.student_backbone.patch_tokens(views, hidden, token)
        whole = model.teacher_backbone.extract(views, ("tokens",))["tokens"][:, 1:]
        targets = np.exp(log_softmax(np.asarray(teacher(whole)) / 0.04))
        each = -(targets * log_softmax(np.asarray(student(seen)) / 0.1)).sum(axis=-1)
        losses += [
            e[m].mean() if m.any() else 0 for e, m in zip(each, hidden, strict=True)
        ]
    model.test_on_batch(batch)
    assert np.count_nonzero(losses) == BATCH
    assert float(model.ibot_tracker.result()) == pytest.approx(
        np.mean(losses), rel=1e-4
    )


def test_a_step_trains_token_heads_and_center():
    model, _ = alone()
    patches, start = model.patches, made().patches
    assert np.abs(patches.mask_token).max() > 1e-5
    assert np.abs(patches.patch_loss.center).max() > 1e-4
    kernels = [
        head.mlp[0].kernel.numpy()
        for head in (start.student_head, patches.student_head, patches.teacher_head)
    ]
    moved = [np.abs(kernel - kernels[0]).max() for kernel in kernels[1:]]
    assert moved[0] > moved[1] > 1e-6
    names = [v.path for v in model.trainable_variables]
    assert sum("ibot" in n for n in names) == 8 and not any(
        "teacher" in n for n in names
    )


def test_the_loss_of_the_cls_features_is_told_alone():
    model, (loss, ibot) = alone()
    signals = {k: float(v) for k, v in model.signals.result().items()}
    assert signals["kl"] + signals["teacher_entropy"] == pytest.approx(loss, abs=1e-4)
    assert [m.name for m in model.metrics] == ["loss", "ibot"]
    assert loss < math.log(32) + 0.5 and ibot > 0


def test_two_replicas_equal_one(strategy):
    check_same(alone(), fitted(strategy))


def test_parts_xla_and_recompute_equal_the_whole():
    together = {"accumulate_steps": 2, "jit_compile": True, "recompute": True}
    check_same(alone(), fitted(**together))


def test_lower_precision():
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        optimizer = keras.optimizers.LossScaleOptimizer(SGD(1e-1), 1.0)
        model, losses = fitted(optimizer=optimizer)
    finally:
        keras.config.set_dtype_policy(previous)
    assert losses == pytest.approx(alone()[1], rel=3e-2)
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_both_last_layers_are_frozen():
    model = made(freeze_last_layer_steps=1)
    model.compile(keras.optimizers.AdamW(1e-3, weight_decay=0.5))
    first = [head.last_layer.weight_v.numpy() for head in model.student_heads]
    for step, batch in enumerate(list(batches())[:2]):
        model.train_on_batch(batch)
        for head, before in zip(model.student_heads, first, strict=True):
            moved = np.abs(head.last_layer.weight_v.numpy() - before).max()
            assert (moved > 1e-6) == (step == 1)


def test_evaluate_changes_nothing():
    model = made(accumulate_steps=2)
    model.compile(SGD(1e-1))
    before = [v.numpy() for v in model.weights]
    found = [model.evaluate(batches(), verbose=0) for _ in range(2)]
    assert found[0] == found[1] and found[0][0] > 0
    for a, b in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_saved_model_goes_on_alike(tmp_path):
    model, _ = alone()
    model.save(tmp_path / "dino.keras")
    loaded = keras.saving.load_model(tmp_path / "dino.keras")
    assert loaded.patches.mask_ratio == RATIO
    for a, b in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)
    # `alone` is for others as well, so it is the loaded one that is trained.
    assert np.isfinite(loaded.train_on_batch(next(iter(batches())))).all()


@pytest.mark.parametrize("separate", [True, False])
def test_config_round_trip(separate):
    model = made(separate, ratio=(0.2, 0.4))
    again = DINO.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert again.patches.mask_ratio == (0.2, 0.4)
    assert (again.patches.student_head is None) != separate


def test_the_backbone_that_is_left_has_no_mask_token():
    model, plain = alone()[0], tiny_vit()
    plain.build()
    own = model.teacher_backbone.weights
    assert [v.shape for v in own] == [v.shape for v in plain.weights]
    assert not any("mask" in v.path for v in own)


def test_models_saved_before_there_were_patches():
    config = DINO(tiny_vit(), DINOHead(32, 24, 16), DINOLoss(32)).get_config()
    assert config.pop("patches") is None
    assert DINO.from_config(config).patches is None


def test_more_masks_than_there_is_room_for():
    model = made(accumulate_steps=2, ratio=(0.1, 0.5))
    model.compile(SGD(1e-1))
    # One list for the whole batch: its halves are not alike.
    for batch in batches(parts=1, ratio=(0.1, 0.5)):
        masks = np.sort(batch["masks"].numpy().reshape(8, -1), axis=0)
        batch["masks"] = masks.reshape(8, 2, 16)
        with pytest.raises(tf.errors.InvalidArgumentError, match="more hidden patches"):
            model.train_on_batch(batch)


def test_batches_that_do_not_fit():
    model = made()
    model.compile(SGD(1e-1))
    with pytest.raises(ValueError, match="expected masks with `patches`"):
        model.train_on_batch(next(iter(batches(masked=False))))
    plain = DINO(tiny_vit(), DINOHead(32, 24, 16), DINOLoss(32))
    plain.compile(SGD(1e-1))
    with pytest.raises(ValueError, match="none without"):
        plain.train_on_batch(next(iter(batches())))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="out_dim=8, use_bn=False, loss.out_dim=9"):
        PatchPrediction(PatchLoss(9), DINOHead(8, 24, 16))
    with pytest.raises(ValueError, match="use_bn=True"):
        PatchPrediction(PatchLoss(8), DINOHead(8, 24, 16, use_bn=True))
    shared = PatchPrediction(PatchLoss(8))
    with pytest.raises(ValueError, match="share a head of out_dim=32"):
        DINO(tiny_vit(), DINOHead(32, 24, 16), DINOLoss(32), patches=shared)
    xcit = XCiT(embed_dim=16, depth=1, num_heads=2, patch_size=8)
    with pytest.raises(ValueError, match="patches with a XCiT"):
        DINO(xcit, DINOHead(8, 24, 16), DINOLoss(8), patches=shared)
