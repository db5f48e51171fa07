"""Rates layer by layer: which they are, and what the optimizer makes of them."""

import keras
import numpy as np
import pytest

from dino_tf.dino import DINO
from dino_tf.errors import UserError
from dino_tf.ibot import PatchLoss, PatchPrediction
from dino_tf.layer_rates import depths, rate_shares
from dino_tf.loss import DINOLoss
from dino_tf.models.backbones import create_backbone
from dino_tf.models.classifier import Classifier
from dino_tf.models.head import DINOHead
from dino_tf.optimizers import LARS, SGD, AdamW

SIZES = {"embed_dim": 16, "depth": 2, "num_heads": 2}


def by_name(variables, values):
    """{name from the backbone on: value}."""
    return {
        variable.path.partition("/")[2]: value
        for variable, value in zip(variables, values, strict=True)
    }


def test_depths_of_a_vision_transformer():
    backbone = create_backbone("vit_tiny", 4, 8, num_registers=1, **SIZES)
    found, last = depths(backbone)
    assert last == 3
    named = by_name(backbone.trainable_variables, found)
    tokens = ("cls_token", "pos_embed", "register_tokens", "patch_embed/proj/kernel")
    assert [named[name] for name in tokens] == [0, 0, 0, 0]
    assert {named[n] for n in named if n.startswith("blocks.0/")} == {1}
    assert {named[n] for n in named if n.startswith("blocks.1/")} == {2}
    assert [named["norm/gamma"], named["norm/beta"]] == [3, 3]


def test_tokens_beside_the_backbone_have_its_lowest_rate():
    loss, sizes = PatchLoss(8), {"hidden_dim": 8, "bottleneck_dim": 8}
    patches = PatchPrediction(loss, name="ibot")
    backbone = create_backbone("vit_tiny", 4, 8, **SIZES)
    model = DINO(backbone, DINOHead(8, **sizes), DINOLoss(8), patches=patches)
    shares = rate_shares(model, backbone, 0.5, tokens=[patches.mask_token])
    pairs = zip(model.trainable_variables, shares, strict=True)
    named = {variable.path.split("/")[-1]: share for variable, share in pairs}
    # Two blocks, and the head behind them.
    assert (named["mask_token"], named["cls_token"]) == (0.125, 0.125)
    assert named["weight_v"] == 1.0


def test_depths_of_an_xcit():
    backbone = create_backbone("xcit_small_12", 8, 16, embed_dim=16, depth=2)
    found, last = depths(backbone)
    named = by_name(backbone.trainable_variables, found)
    assert last == 5
    assert named["cls_token"] == 0
    prefixes = {"patch_embed": 0, "pos_embeder": 0, "blocks.0": 1, "blocks.1": 2}
    prefixes |= {"cls_attn_blocks.0": 3, "cls_attn_blocks.1": 4, "norm": 5}
    for prefix, depth in prefixes.items():
        assert {named[n] for n in named if n.startswith(prefix + "/")} == {depth}


def test_depths_of_a_resnet_are_its_stages():
    backbone = create_backbone("resnet50", width=4, stages=(1, 2))
    found, last = depths(backbone)
    named = by_name(backbone.trainable_variables, found)
    assert last == 3
    for prefix, depth in {"conv1": 0, "bn1": 0, "layer1.0": 1, "layer2.1": 2}.items():
        assert {named[n] for n in named if n.startswith(prefix + "/")} == {depth}


def test_shares_of_the_rate():
    classifier = Classifier(create_backbone("vit_tiny", 4, 8, **SIZES), ["a", "b"])
    variables = classifier.trainable_variables
    named = by_name(variables, rate_shares(classifier, classifier.backbone, 0.5))
    assert named["pos_embed"] == 0.125
    assert named["blocks.0/attn/qkv/kernel"] == 0.25
    assert named["blocks.1/mlp/fc2/bias"] == 0.5
    assert named["norm/gamma"] == 1.0
    head = {id(v) for v in classifier.head.trainable_variables}
    shares = zip(
        variables, rate_shares(classifier, classifier.backbone, 0.5), strict=True
    )
    assert [share for v, share in shares if id(v) in head] == [1.0, 1.0]
    assert set(rate_shares(classifier, classifier.backbone, 1.0)) == {1.0}


def test_patch_projection_has_a_factor_of_its_own():
    """The published program gives the same to every parameter of such a network."""
    backbone = create_backbone("vit_tiny", 4, 8, num_registers=1, **SIZES)
    named = by_name(
        backbone.trainable_variables, rate_shares(backbone, backbone, 0.9, 0.2)
    )
    expected = {
        "register_tokens": 0.729,
        "pos_embed": 0.729,
        "patch_embed/proj/kernel": 0.1458,
        "patch_embed/proj/bias": 0.1458,
        "blocks.0/mlp/fc1/bias": 0.81,
        "blocks.1/norm1/gamma": 0.9,
        "norm/beta": 1.0,
    }
    assert {name: named[name] for name in expected} == pytest.approx(expected)
    alone = by_name(
        backbone.trainable_variables, rate_shares(backbone, backbone, 1.0, 0.2)
    )
    assert sorted(set(alone.values())) == [0.2, 1.0]


def test_networks_of_keras_have_one_rate(tiny_application):
    classifier = Classifier(create_backbone(tiny_application), ["a", "b"])
    assert set(rate_shares(classifier, classifier.backbone, 1.0)) == {1.0}
    words = "--layer-decay: got 0.5, allowed for keras:TinyNet: 1"
    with pytest.raises(UserError, match=words):
        rate_shares(classifier, classifier.backbone, 0.5)


def test_optimizer_applies_each_share_to_step_and_decay():
    values = [[[1.0]], [[1.0]], [1.0]]
    variables = [keras.Variable(np.array(v, "float32")) for v in values]
    optimizer = AdamW(0.1, 0.5, shares=[1.0, 0.25, 0.5])
    optimizer.build(variables)
    gradients = [keras.ops.ones_like(v) for v in variables]
    optimizer.apply(gradients, variables)
    # Decay 1 - rate * 0.5, then a step of the rate; the rates 0.1, 0.025 and 0.05.
    expected = [0.95 - 0.1, 0.9875 - 0.025, 1.0 - 0.05]
    np.testing.assert_allclose([v.numpy().item() for v in variables], expected, 1e-6)


def test_optimizer_wants_a_share_for_each_variable():
    with pytest.raises(ValueError, match="1 shares for 2 variables"):
        AdamW(0.1, 0.0, shares=[1.0]).build([keras.Variable(1.0)] * 2)


def test_optimizer_is_made_again_from_its_configuration():
    config = AdamW(0.1, 0.2, shares=[1.0, 0.5]).get_config()
    assert AdamW.from_config(config).shares == (1.0, 0.5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    # The rates are 0.1 and 0.025. SGD goes 1 + 0.5 of them, LARS 1e-3 of them times the
    # length of the weight, which is 1.
    [(SGD, [0.85, 0.9625]), (LARS, [0.9999, 0.999975])],
)
def test_other_optimizers_have_shares_too(kind, expected):
    variables = [keras.Variable(np.ones((1, 1), "float32")) for _ in range(2)]
    optimizer = kind(0.1, 0.5, shares=[1.0, 0.25])
    optimizer.build(variables)
    optimizer.apply([keras.ops.ones_like(v) for v in variables], variables)
    np.testing.assert_allclose([v.numpy().item() for v in variables], expected, 1e-6)
