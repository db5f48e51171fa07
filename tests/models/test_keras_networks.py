"""Networks of Keras and keras-hub as backbones: contract, batch norm, saving."""

import builtins

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.errors import UserError
from dino_tf.models.backbones import create_backbone
from dino_tf.models.keras_networks import (
    KerasBackbone,
    SharedBatchNorm,
    gather_statistics,
)
from dino_tf.models.loading import load_backbone

SMALL = "keras:MobileNetV3Small"


def images(*shape, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(*shape, 3)).astype("float32")


@pytest.fixture(scope="module")
def small():
    """The smallest application, its batch norms having seen one batch."""
    keras.utils.set_random_seed(0)
    backbone = create_backbone(SMALL, alpha=0.35)
    for _ in range(30):
        backbone(images(4, 64, 64), training=True)
    return backbone


def test_features_are_the_mean_of_the_last_map(small):
    # 6 times 96 * 0.35 rounded to eights; MobileNetV3 halves five times.
    assert (small.embed_dim, small.patch_size) == (192, 32)
    assert small.num_prefix_tokens == 0 and small.result_names == ("cls", "tokens")
    batch = images(2, 64, 96)
    found = small.extract(batch, ["tokens", "cls"])
    whole = small.network(batch, training=False)
    assert whole.shape == (2, 2, 3, 192)
    np.testing.assert_allclose(found["tokens"][:, 4], whole[:, 1, 1], atol=1e-6)
    for features in (found["cls"], small(batch)):
        expected = np.asarray(whole).reshape(2, 6, 192).mean(axis=1)
        np.testing.assert_allclose(features, expected, atol=1e-6)
    assert np.abs(found["cls"]).max() > 1e-3


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (32, 96), (70, 50)])
def test_one_set_of_weights_takes_every_size(small, size):
    features = small(images(2, *size), training=True)
    assert features.shape == small.compute_output_shape((2, *size, 3)) == (2, 192)
    tokens = small.extract(images(2, *size), ["tokens"])["tokens"]
    rows, columns = small.grid_of(size)
    assert tokens.shape == (2, rows * columns, 192)


@pytest.mark.parametrize("name", ["attention", "keys"])
def test_results_that_the_network_has_not(small, name):
    with pytest.raises(UserError, match=f"no {name}, allowed: cls, tokens"):
        small.extract(images(1, 32, 32), [name])


def test_last_maps_of_each_resolution(small):
    maps = small.intermediate_tokens(images(2, 64, 96), 3)
    assert [m.shape[1] for m in maps] == [8 * 12, 4 * 6, 2 * 3]
    tokens = small.extract(images(2, 64, 96), ["tokens"])["tokens"]
    np.testing.assert_allclose(maps[-1], tokens, atol=1e-6)
    with pytest.raises(UserError, match=r"n=6, allowed for .*: 1 to 5"):
        small.intermediate_tokens(images(1, 64, 64), 6)


def test_saved_and_loaded(small, tmp_path):
    small.save(tmp_path / "backbone.keras")
    loaded = load_backbone(tmp_path)
    batch = images(2, 64, 32)
    np.testing.assert_allclose(loaded(batch), small(batch), atol=1e-6)
    pairs = list(zip(loaded.weights, small.weights, strict=True))
    assert len(pairs) > 100
    for one, other in pairs:
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert loaded.get_config() == small.get_config()
    assert all(type(n) is SharedBatchNorm for n in norms(loaded))


def test_clone_by_configuration(small):
    clone = KerasBackbone.from_config({**small.get_config(), "name": "other"})
    clone.set_weights(small.get_weights())
    batch = images(2, 32, 64)
    np.testing.assert_allclose(clone(batch), small(batch), atol=1e-6)
    assert clone.name == "other"


def norms(model):
    kind = keras.layers.BatchNormalization
    return [n for n in model._flatten_layers() if isinstance(n, kind)]


def test_batch_norms_are_synchronised_and_gather_as_published(small):
    assert len(norms(small)) > 20
    for norm in norms(small):
        assert type(norm) is SharedBatchNorm
        assert norm.synchronized and norm.momentum == 0.9


def one_norm():
    norm = SharedBatchNorm(momentum=0.9)
    norm.build((None, None, None, 2))
    return norm


def test_untrained_network_with_the_statistics_of_a_batch(tiny_application):
    keras.utils.set_random_seed(0)
    backbone, batch = create_backbone(tiny_application), images(8, 32, 32) * 1e-3
    expected = np.asarray(backbone(batch, training=True))
    assert np.abs(np.asarray(backbone(batch)) / expected).max() < 0.1
    gather_statistics(backbone, batch)
    # The running variance is that of n - 1.
    np.testing.assert_allclose(backbone(batch), expected, rtol=0.02, atol=1e-4)
    assert [n.momentum for n in norms(backbone)] == [0.9, 0.9]


def test_frozen_batch_norm_goes_on_as_the_teachers_must():
    norm, batch = one_norm(), images(4, 3, 3)[..., :2] * 2.0 + 5.0
    norm.trainable = False
    out = np.asarray(norm(batch, training=True))
    np.testing.assert_allclose(out.mean(axis=(0, 1, 2)), 0.0, atol=1e-5)
    mean, variance = batch.mean(axis=(0, 1, 2)), batch.var(axis=(0, 1, 2), ddof=1)
    np.testing.assert_allclose(norm.moving_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * variance, rtol=1e-5)
    before = norm.moving_mean.numpy()
    expected = (batch - before) / np.sqrt(norm.moving_variance.numpy() + 1e-3)
    np.testing.assert_allclose(norm(batch), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), before)


def test_statistics_are_those_of_both_replicas(strategy):
    batch = images(4, 3, 3)[..., :2] * np.arange(1, 5).reshape(4, 1, 1, 1)
    alone = one_norm()
    expected = np.asarray(alone(batch, training=True))
    with strategy.scope():
        norm = one_norm()
    halves = iter([batch[:2], batch[2:]])
    parts = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant(next(halves))
    )

    @tf.function
    def both(parts):
        return strategy.run(lambda x: norm(x, training=True), (parts,))

    found = strategy.experimental_local_results(both(parts))
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)
    for copy in strategy.experimental_local_results(norm.moving_variance.value):
        np.testing.assert_allclose(copy, alone.moving_variance.numpy(), rtol=1e-5)


@pytest.mark.parametrize("name", ["EfficientNetB0"])
@pytest.mark.slow
def test_pixels_arrive_as_they_are_and_nothing_is_dropped(name):
    keras.utils.set_random_seed(0)
    backbone = create_backbone(f"keras:{name}")
    batch = images(2, 32, 32)
    np.testing.assert_array_equal(
        backbone(batch, training=True), backbone(batch, training=True)
    )
    first = next(
        n for n in backbone.network.layers if isinstance(n, keras.layers.Conv2D)
    )
    entered = np.asarray(keras.Function(backbone.network.inputs, first.input)([batch]))
    # EfficientNetB0 surrounds the image with zeros.
    assert entered.shape[1] in (32, 33, 34)
    np.testing.assert_allclose(np.abs(entered).sum(), np.abs(batch).sum(), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("ConvNeXtTiny", 768)])
def test_other_applications(name, width, tmp_path):
    backbone = create_backbone(f"keras:{name}")
    assert (backbone.embed_dim, backbone.patch_size) == (width, 32)
    assert backbone(images(1, 64, 32)).shape == (1, width)
    backbone.save(tmp_path / "backbone.keras")
    loaded = load_backbone(tmp_path)
    for one, other in zip(loaded.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_half_precision_stays_with_the_network(tmp_path):
    backbone = KerasBackbone(SMALL, options={"alpha": 0.35}, dtype="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"
    backbone.save(tmp_path / "backbone.keras")
    for network in (backbone, load_backbone(tmp_path)):
        map_ = network.network(images(1, 32, 32))
        assert map_.dtype == "bfloat16"
        assert network(images(1, 32, 32)).dtype == "float32"


def test_untrained_by_name():
    backbone = load_backbone(f"random:{SMALL}")
    assert backbone.embed_dim == 576
    assert create_backbone(SMALL, patch_size=16, depth=None, num_registers=0).built


@pytest.mark.parametrize(
    ("arch", "arguments", "message"),
    [
        ("keras:ResNet51", {}, "unknown network keras:ResNet51; nearest is keras:ResN"),
        ("keras:NASNetMobile", {}, "images of one size"),
        (SMALL, {"patch_size": 8}, "patch_size: got 8, allowed: with vit_"),
        (SMALL, {"drop_path_rate": 0.1}, "drop_path_rate: got 0.1"),
        (SMALL, {"alfa": 0.35}, "alfa"),
    ],
)
def test_wrong_arguments(arch, arguments, message):
    with pytest.raises(UserError, match=message):
        create_backbone(arch, **arguments)


def test_images_of_which_nothing_is_left():
    backbone = create_backbone("keras:VGG16")
    with pytest.raises(UserError, match="16 x 16 pixels, of which it leaves nothing"):
        backbone.grid_of((16, 16))
    assert backbone.grid_of((32, 64)) == (1, 2)


def test_missing_keras_hub_is_said_in_one_line(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "keras_hub":
            raise ImportError("no keras_hub")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match="pip install keras-hub"):
        create_backbone("keras_hub:resnet_50_imagenet")


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Folder of tiny presets: a ResNet, a ViT, and a text network."""
    hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed")
    folder = tmp_path_factory.mktemp("presets")
    hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    ).save_to_preset(folder / "resnet")
    hub.models.ViTBackbone(
        image_shape=(32, 32, 3),
        patch_size=16,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
    ).save_to_preset(folder / "vit")
    hub.models.BertBackbone(10, 1, 1, 4, 8).save_to_preset(folder / "bert")
    return folder


def test_hub_network_of_any_size(presets, tmp_path):
    backbone = create_backbone(f"keras_hub:{presets / 'resnet'}")
    assert (backbone.embed_dim, backbone.patch_size) == (64, 8)
    assert all(type(n) is SharedBatchNorm for n in norms(backbone))
    for size in ((32, 32), (16, 48)):
        assert backbone(images(2, *size), training=True).shape == (2, 64)
    maps = backbone.intermediate_tokens(images(1, 32, 32), 2)
    assert [m.shape for m in maps] == [(1, 64, 64), (1, 16, 64)]
    backbone.save(tmp_path / "backbone.keras")
    loaded = load_backbone(tmp_path)
    batch = images(2, 32, 48)
    np.testing.assert_allclose(loaded(batch), backbone(batch), atol=1e-6)
    again = KerasBackbone.from_config({**backbone.get_config(), "name": "other"})
    assert [w.shape for w in again.weights] == [w.shape for w in backbone.weights]


def test_hub_network_of_one_size(presets):
    backbone = create_backbone(f"keras_hub:{presets / 'vit'}", image_size=(48, 32))
    assert backbone.fixed_size == (48, 32) and backbone.num_prefix_tokens == 1
    assert (backbone.embed_dim, backbone.patch_size) == (8, 16)
    batch = images(2, 48, 32)
    found = backbone.extract(batch, ["cls", "tokens"])
    assert found["tokens"].shape == (2, 1 + 3 * 2, 8)
    np.testing.assert_array_equal(found["cls"], found["tokens"][:, 0])
    with pytest.raises(UserError, match="32 x 32 pixels, allowed: 48 x 32 only"):
        backbone.extract(images(1, 32, 32))
    with pytest.raises(UserError, match="no feature maps"):
        backbone.intermediate_tokens(batch)


def test_hub_weights_are_random_unless_asked_for(presets):
    hub = pytest.importorskip("keras_hub")
    arch, kept = f"keras_hub:{presets / 'resnet'}", presets / "resnet"
    stored = hub.models.Backbone.from_preset(str(kept)).get_weights()[0]
    kernels = [
        create_backbone(arch, weights=w).get_weights()[0] for w in (None, "preset")
    ]
    assert np.abs(kernels[0] - stored).max() > 1e-3
    np.testing.assert_array_equal(kernels[1], stored)


@pytest.mark.parametrize(
    ("name", "message"),
    [("bert", "is a BertBackbone, which gives no map"), ("none", "cannot be read")],
)
def test_wrong_presets(presets, name, message):
    with pytest.raises(UserError, match=message):
        create_backbone(f"keras_hub:{presets / name}")
