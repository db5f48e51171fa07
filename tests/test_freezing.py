"""What is frozen stays, has no gradient, and is the same in student and teacher."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.dino import DINO
from dino_tf.freezing import frozen_until, share_frozen
from dino_tf.loss import DINOLoss
from dino_tf.models.head import DINOHead
from dino_tf.models.vit import VisionTransformer
from dino_tf.models.weights import published_name, published_weights
from dino_tf.optimizers import SGD, AdamW

FRONT = ("cls_token", "pos_embed", "register_tokens", "blocks.0.", "patch_embed.")


def made(optimizer=None, **kwargs):
    keras.utils.set_random_seed(0)
    sizes = {"embed_dim": 12, "depth": 2, "num_heads": 2, "patch_size": 8}
    vit = VisionTransformer(image_size=16, num_registers=1, **sizes)
    head = DINOHead(16, hidden_dim=12, bottleneck_dim=8)
    model = DINO(vit, head, DINOLoss(16), 0.9, **kwargs)
    model.compile(optimizer or AdamW(1e-2, 0.5))
    return model


def batch(rows=4):
    draw = np.random.default_rng(0)
    return {
        "global": draw.normal(size=(rows, 2, 16, 16, 3)).astype("float32"),
        "local": draw.normal(size=(rows, 1, 8, 8, 3)).astype("float32"),
    }


def fit(model, steps=2):
    data = tf.data.Dataset.from_tensors(batch()).repeat(steps)
    model.fit(data, verbose=0)
    return model


def values(model):
    return published_weights(model.student_backbone)


def moved(before, model):
    """Names of the backbone's weights that are not as they were."""
    after = values(model)
    return {name for name in before if np.any(before[name] != after[name])}


def check_equal_to_teacher(model, names):
    own, teacher = model.student_backbone, model.teacher_backbone
    for a, b in zip(own.weights, teacher.weights, strict=True):
        if published_name(a, own).startswith(names):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_patch_projection_stays():
    model = made(freeze_patch_embed=True)
    before = values(model)
    fit(model)
    frozen = {"patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert set(before) - moved(before, model) == frozen
    check_equal_to_teacher(model, "patch_embed.")


def test_front_of_the_network_stays():
    model = made(freeze_blocks=1)
    before = values(model)
    fit(model)
    frozen = {name for name in before if name.startswith(FRONT)}
    assert len(frozen) == 5 + 12
    assert set(before) - moved(before, model) == frozen
    check_equal_to_teacher(model, FRONT)


@pytest.mark.slow
def test_front_stays_on_two_replicas_that_recompute(strategy):
    with strategy.scope():
        model = made(freeze_blocks=1, recompute=True)
        model.compile(AdamW(1e-2, 0.5))
    before = values(model)
    fit(model)
    alone = fit(made(freeze_blocks=1))
    for a, b in zip(alone.weights, model.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3, err_msg=a.path)
    frozen = {name for name in before if name.startswith(FRONT)}
    assert set(before) - moved(before, model) == frozen


def test_what_is_frozen_for_good_has_no_gradient_and_no_moments():
    whole, model = made(), made(freeze_blocks=1)
    count = len(whole.trainable_variables) - len(model.trainable_variables)
    assert count == 5 + 12
    moments = len(whole.optimizer.variables) - len(model.optimizer.variables)
    assert moments == 2 * count
    compute = tf.function(model._compute).get_concrete_function(
        *(tf.TensorSpec(v.shape) for v in batch().values()), 0, 1.0
    )
    assert len(compute.structured_outputs[1]) == len(model.trainable_variables)


@pytest.mark.parametrize("optimizer", ["keras", "float16"])
def test_backbone_waits_for_the_head(optimizer):
    made_by = {
        "keras": lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.5),
        "float16": lambda: keras.optimizers.LossScaleOptimizer(SGD(1e-1, 0.5), 0.01),
    }
    model = made(made_by[optimizer](), freeze_backbone_steps=2)
    before, head = values(model), model.student_head.mlp[0].kernel.numpy()
    fit(model)
    assert not moved(before, model)
    check_equal_to_teacher(model, "")
    assert np.abs(model.student_head.mlp[0].kernel.numpy() - head).max() > 1e-4
    fit(model, steps=1)
    assert {"norm.weight", "pos_embed", "patch_embed.proj.weight"} <= moved(
        before, model
    )


def test_steps_of_each_part():
    model = made(freeze_backbone_steps=5, freeze_last_layer_steps=2, freeze_blocks=1)
    steps = frozen_until(model)
    named = {
        published_name(v, part): steps.get(id(v))
        for part in (model.student_backbone, model.student_head)
        for v in part.trainable_variables
    }
    assert (named["norm.weight"], named["last_layer.weight_v"]) == (5, 2)
    assert named["mlp.0.weight"] is None and "blocks.1.attn.qkv.bias" in named
    assert not any(name.startswith(FRONT) for name in named)
    assert frozen_until(made()) == {}


def test_weights_that_are_loaded_agree_where_they_are_frozen():
    model = made(freeze_blocks=1)
    for variable in model.teacher_backbone.weights:
        variable.assign_add(keras.ops.ones_like(variable))
    last = model.student_backbone.blocks[1].mlp.fc1.kernel.numpy()
    share_frozen(model)
    check_equal_to_teacher(model, FRONT)
    np.testing.assert_array_equal(
        model.student_backbone.blocks[1].mlp.fc1.kernel.numpy(), last
    )
    waiting = made(freeze_backbone_steps=1)
    for variable in waiting.teacher_backbone.weights:
        variable.assign_add(keras.ops.ones_like(variable))
    share_frozen(waiting)
    check_equal_to_teacher(waiting, "")


@pytest.mark.slow
def test_saved_model_stays_frozen(tmp_path):
    options = {"freeze_blocks": 1, "freeze_backbone_steps": 3}
    model = fit(made(freeze_patch_embed=True, **options))
    model.save(tmp_path / "dino.keras")
    loaded = keras.saving.load_model(tmp_path / "dino.keras")
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    assert loaded.freeze_patch_embed and loaded.freeze_blocks == 1
    assert loaded.freeze_backbone_steps == 3
    for steps in (1, 2):
        for each in (model, loaded):
            fit(each, steps)
        for a, b in zip(model.weights, loaded.weights, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6, err_msg=a.path)


def test_more_blocks_than_there_are():
    with pytest.raises(ValueError, match="freeze_blocks=3: expected a Vision .* its 2"):
        made(freeze_blocks=3)
