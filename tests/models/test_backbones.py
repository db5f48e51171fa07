"""Backbones by name and from files."""

import keras
import numpy as np
import pytest

from dino_tf.dino import DINO
from dino_tf.errors import UserError
from dino_tf.loss import DINOLoss
from dino_tf.models.backbones import create_backbone
from dino_tf.models.head import DINOHead
from dino_tf.models.loading import load_backbone
from dino_tf.models.resnet import ResNet
from dino_tf.models.xcit import XCiT

TINY = {"embed_dim": 12, "depth": 2, "num_heads": 2, "patch_size": 8, "image_size": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run folder with a backbone, a whole model, another network and a bad file."""
    folder = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(1)
    backbone = create_backbone("vit_tiny", **TINY)
    backbone.save(folder / "backbone.keras")
    head = DINOHead(8, hidden_dim=8, bottleneck_dim=4)
    model = DINO(create_backbone("vit_tiny", **TINY), head, DINOLoss(8))
    for weight in model.teacher_backbone.weights:
        weight.assign(weight + 1.0)
    model.save(folder / "dino.keras")
    np.save(folder / "teacher.npy", model.teacher_backbone.cls_token.numpy())
    np.save(folder / "backbone.npy", backbone(np.ones((1, 16, 16, 3), "float32")))
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save(folder / "other.keras")
    (folder / "broken.keras").write_bytes(b"no archive")
    return folder


@pytest.mark.parametrize(
    ("arch", "sizes"),
    [("vit_tiny", (192, 12, 3)), ("vit_small", (384, 12, 6))],
)
def test_sizes_by_name(arch, sizes):
    backbone = create_backbone(arch, patch_size=8, image_size=32)
    assert (backbone.embed_dim, backbone.depth, backbone.num_heads) == sizes
    assert (backbone.patch_size, backbone.grid) == (8, (4, 4))
    assert backbone.built


def test_other_networks_by_name():
    xcit = create_backbone("xcit_small_12", 8, (32, 40), depth=1, cls_attn_layers=1)
    assert isinstance(xcit, XCiT)
    assert (xcit.embed_dim, xcit.depth, xcit.patch_size) == (384, 1, 8)
    assert create_backbone("xcit_medium_24", depth=1).patch_size == 16
    resnet = create_backbone("resnet50", image_size=33, stages=(1, 1), width=8)
    assert isinstance(resnet, ResNet)
    assert (resnet.embed_dim, resnet.patch_size) == (64, 8)


def test_arguments_replace_those_of_the_name():
    backbone = create_backbone("vit_base", 8, (16, 24), embed_dim=24, depth=1)
    assert (backbone.embed_dim, backbone.depth, backbone.num_heads) == (24, 1, 12)
    assert backbone.grid == (2, 3)
    # None means: as the name says.
    assert create_backbone("vit_tiny", depth=1, num_heads=None).num_heads == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vit_smal",), "unknown architecture 'vit_smal'; nearest is 'vit_small'"),
        (("xcit_smal_12",), "nearest is 'xcit_small_12'"),
        (("resnet_50",), "nearest is 'resnet50'.*known are vit_tiny, .*, resnet50"),
        (("resnet50", 16), "patch_size: got 16; resnet50 takes stages, width"),
        (("xcit_small_12", 14), "patch_size=14: expected 8 or 16"),
        (("vit_tiny", 16, 100), "image size 100 x 100"),
        (("vit_tiny", 0), "patch_size=0"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(UserError, match=message):
        create_backbone(*arguments)


@pytest.mark.parametrize("source", ["", "backbone.keras"])
def test_backbone_of_a_run(run, source):
    backbone = load_backbone(run / source)
    features = backbone(np.ones((1, 16, 16, 3), "float32"))
    np.testing.assert_allclose(features, np.load(run / "backbone.npy"), atol=1e-6)


def test_what_is_loaded_can_be_trained(run):
    fresh = create_backbone("vit_tiny", **TINY)
    for file in ("backbone.keras", "dino.keras"):
        loaded = load_backbone(run / file)
        assert len(loaded.trainable_variables) == len(fresh.trainable_variables)


def test_teacher_of_a_whole_model(run):
    backbone = load_backbone(str(run / "dino.keras"))
    teacher = np.load(run / "teacher.npy")
    np.testing.assert_array_equal(backbone.cls_token.numpy(), teacher)
    assert backbone.extract(np.ones((1, 16, 16, 3)), ["keys"])["keys"].shape[1] == 5


def test_untrained_backbones():
    backbone = load_backbone("random:vit_tiny/8")
    assert (backbone.embed_dim, backbone.patch_size) == (192, 8)
    assert load_backbone("random:vit_tiny").patch_size == 16
    assert load_backbone("random:vit_tiny/32", num_heads=6).num_heads == 6
    assert load_backbone("random:resnet50").patch_size == 32


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing", "no weights at .*missing.*run folder"),
        ("weights.h5", "no weights at"),
        ("broken.keras", "broken.keras cannot be read as a Keras model"),
        ("other.keras", "other.keras .* it asks for 'keras.Sequential'; allowed are"),
    ],
)
def test_files_without_a_backbone(run, source, message):
    with pytest.raises(UserError, match=message) as caught:
        load_backbone(run / source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("random:vit_tiny/x", "expected random:ARCH/PATCH"),
        ("random:vit_huge/8", "unknown architecture 'vit_huge'"),
        ("random:vit_tiny/15", "image size 224 x 224"),
        ("random:vit_tiny/0", "patch_size=0"),
        ("random:resnet50/16", "patch_size: got 16; resnet50 takes"),
    ],
)
def test_wrong_random_sources(source, message):
    with pytest.raises(UserError, match=message):
        load_backbone(source)
