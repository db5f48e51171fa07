"""XCiT: arrays of the published program, sizes, names, drop path, replicas, DINO."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.dino import DINO
from dino_tf.errors import UserError
from dino_tf.loss import DINOLoss
from dino_tf.models.head import DINOHead
from dino_tf.models.loading import load_backbone
from dino_tf.models.weights import (
    assign_published,
    published_name,
    published_weights,
    to_published,
)
from dino_tf.models.xcit import XCiT, create_xcit
from dino_tf.models.xcit_block import fourier_features
from dino_tf.optimizers import SGD

ARRAYS = Path(__file__).with_name("data") / "xcit.npz"
ARGUMENTS = {
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "patch_size": 8,
    "mlp_ratio": 2.0,
    "eta": 0.5,
    "cls_attn_layers": 2,
    "drop_path_rate": 0.2,
    "seed": 5,
}
TOLERANCE = {"float32": 1e-5, "mixed_bfloat16": 6e-2, "mixed_float16": 1e-2}


@pytest.fixture(scope="module")
def arrays():
    return np.load(ARRAYS)


def parts(arrays, key):
    """{published name: array} of one flat array."""
    shapes = json.loads(str(arrays[f"{key}/shapes"]))
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    pieces = np.split(arrays[key], np.cumsum(sizes)[:-1])
    pairs = zip(shapes.items(), pieces, strict=True)
    return {name: piece.reshape(shape) for (name, shape), piece in pairs}


def published(arrays, key, dtype="float32"):
    config = json.loads(str(arrays[f"{key}/config"]))
    xcit = XCiT(patch_size=int(key[1:]), dtype=dtype, **config)
    xcit.build()
    assign_published(xcit, parts(arrays, f"{key}/weights"))
    return xcit


def image_of(arrays, case):
    return arrays[f"{case}/image"].astype("float32") / 32.0


def tiny(**changes):
    keras.utils.set_random_seed(0)
    xcit = XCiT(**{**ARGUMENTS, **changes})
    xcit.build()
    return xcit


def images(*shape, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(*shape, 3)).astype("float32")


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("case", ["p16/case0", "p16/case1", "p8/case0"])
def test_published_results(arrays, case, dtype):
    xcit, batch = published(arrays, case.split("/")[0], dtype), image_of(arrays, case)
    found = xcit.extract(batch, xcit.result_names)
    assert set(found) == {"cls", "tokens", "attention", "keys", "queries", "values"}
    found["forward"] = xcit(batch)
    for name, value in found.items():
        expected = arrays[f"{case}/{'cls' if name == 'forward' else name}"]
        value = keras.ops.cast(value, "float32")
        assert value.shape == expected.shape
        np.testing.assert_allclose(
            value, expected, rtol=0, atol=TOLERANCE[dtype], err_msg=name
        )


def test_published_results_compiled(arrays):
    xcit, case = published(arrays, "p16"), "p16/case0"
    compiled = tf.function(xcit, jit_compile=True)
    np.testing.assert_allclose(
        compiled(image_of(arrays, case)), arrays[f"{case}/cls"], atol=1e-5
    )


@pytest.mark.parametrize("key", ["p16", "p8"])
def test_published_training_mode(arrays, key):
    xcit, case = published(arrays, key), f"{key}/train"
    with tf.GradientTape() as tape:
        features = xcit(image_of(arrays, case), training=True)
        count = int(np.prod(features.shape))
        weights = np.arange(count, dtype="float32").reshape(features.shape) / count
        loss = tf.reduce_sum(features * weights)
    np.testing.assert_allclose(features, arrays[f"{case}/cls"], atol=1e-5)
    after = published_weights(xcit)
    for name, expected in parts(arrays, f"{case}/after").items():
        np.testing.assert_allclose(after[name], expected, atol=1e-6, err_msg=name)
    if key == "p16":
        return
    variables = xcit.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    found = {
        published_name(v, xcit): to_published(g.numpy())
        for v, g in zip(variables, gradients, strict=True)
    }
    expected = parts(arrays, f"{case}/gradient")
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    ("arch", "patch", "parameters", "statistics"),
    [
        ("xcit_small_12", 16, 25_868_304, 10_656),
        ("xcit_small_12", 8, 25_828_032, 10_560),
        pytest.param("xcit_medium_24", 16, 83_882_752, 26_496, marks=pytest.mark.slow),
        pytest.param("xcit_medium_24", 8, 83_810_624, 26_368, marks=pytest.mark.slow),
    ],
)
def test_published_names_and_sizes(arrays, arch, patch, parameters, statistics):
    xcit = create_xcit(arch, patch)
    shapes = json.loads(str(arrays[f"shapes/{arch}_p{patch}"]))
    expected = {
        name: tuple(shape)
        for name, shape in shapes.items()
        if not name.endswith("num_batches_tracked")
    }
    found = {k: v.shape for k, v in published_weights(xcit).items()}
    assert found == expected
    assert sum(int(np.prod(v.shape)) for v in xcit.trainable_weights) == parameters
    assert xcit.count_params() == parameters + statistics
    eta = {"xcit_small_12": 1.0, "xcit_medium_24": 1e-5}[arch]
    np.testing.assert_allclose(xcit.blocks[-1].gamma3, eta, rtol=1e-6)


def test_keeps_the_layer_contract(check_layer):
    check_layer(tiny(), images(2, 16, 24), ARGUMENTS)


@pytest.mark.parametrize("size", [(16, 24), (24, 16), (8, 8), (8, 40)])
def test_one_set_of_weights_for_every_size(size):
    xcit, count = tiny(), 1 + size[0] * size[1] // 64
    assert xcit(images(2, *size)).shape == (2, 16)
    found = xcit.extract(images(2, *size), ["tokens", "attention"])
    assert list(found) == ["tokens", "attention"]
    assert found["tokens"].shape == (2, count, 16)
    assert found["attention"].shape == (2, 2, 1, count)
    np.testing.assert_allclose(np.sum(found["attention"], axis=-1), 1.0, atol=1e-5)


def test_positions_by_hand():
    waves = fourier_features((2, 4))
    assert waves.shape == (2, 4, 64)
    assert waves.dtype == "float32"
    # Row 1 of 2 is half a turn, column 1 of 4 a quarter: the first sine and cosine.
    np.testing.assert_allclose(waves[0, 0, :2], [0.0, -1.0], atol=1e-5)
    np.testing.assert_allclose(waves[0, 0, 32:34], [1.0, 0.0], atol=1e-5)
    # The last of 16 frequencies is 10000 ** (15 / 16) times as slow.
    slowest = np.sin(np.pi / 10000 ** (15 / 16))
    np.testing.assert_allclose(waves[0, 3, 30], slowest, rtol=1e-4)


def test_images_of_a_batch_do_not_mix_at_inference():
    xcit, batch = tiny(), images(3, 16, 24)
    np.testing.assert_allclose(xcit(batch)[1:2], xcit(batch[1:2]), atol=1e-5)


def test_unknown_results():
    assert set(tiny().extract(images(1, 8, 8), ["keys"])) == {"keys"}
    with pytest.raises(ValueError, match=r"unknown names \['key'\]"):
        tiny().extract(images(1, 8, 8), ["keys", "key"])


def test_tokens_of_the_last_blocks():
    xcit, batch = tiny(), images(2, 16, 24)
    outputs = xcit.intermediate_tokens(batch, 2)
    assert [tuple(x.shape) for x in outputs] == [(2, 7, 16)] * 2
    np.testing.assert_allclose(outputs[-1][:, 0], xcit(batch), atol=1e-5)
    last = xcit.extract(batch, ["tokens"])["tokens"]
    np.testing.assert_allclose(xcit.intermediate_tokens(batch)[0], last, atol=1e-6)
    # The first is what a network of one block less gives.
    short = tiny(depth=1)
    own = {v.path.split("/", 1)[1]: v for v in xcit.weights}
    for variable in short.weights:
        variable.assign(own[variable.path.split("/", 1)[1]])
    np.testing.assert_allclose(outputs[0][:, 0], short(batch), atol=1e-5)
    for n in (0, 3):
        with pytest.raises(ValueError, match=f"n={n}"):
            xcit.intermediate_tokens(batch, n)


def test_drop_path_is_the_same_for_every_block_and_acts_in_training_alone():
    xcit, batch = tiny(drop_path_rate=0.4), images(4, 16, 16)
    assert xcit.drop_path.rates == (0.4,) * 6
    np.testing.assert_array_equal(xcit(batch), xcit(batch))
    one, two = (np.array(xcit(batch, training=True)) for _ in range(2))
    assert np.abs(one - two).max() > 1e-3
    still = tiny(drop_path_rate=0.0)
    one, two = (np.array(still(batch, training=True)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_a_dropped_block_leaves_the_patches_as_they_are():
    block = tiny().blocks[0]
    x = np.random.default_rng(0).normal(size=(2, 6, 16)).astype("float32")
    nothing = np.zeros((2, 1, 1), "float32")
    np.testing.assert_array_equal(block(x, (nothing,) * 3, grid=(2, 3)), x)
    whole = np.array(block(x, grid=(2, 3)))
    for place in range(3):
        factors = [None] * 3
        factors[place] = nothing
        assert np.abs(block(x, factors, grid=(2, 3)) - whole).max() > 1e-3


def test_half_precision_keeps_the_residual_stream_wide():
    xcit = tiny(dtype="mixed_bfloat16")
    (patches,) = xcit._patches(images(1, 16, 16))
    assert patches.dtype == "float32"
    assert xcit(images(1, 16, 16)).dtype == "float32"
    assert {w.dtype for w in xcit.weights} == {"float32"}


def test_saved_and_loaded_as_a_backbone(tmp_path):
    xcit, batch = tiny(), images(2, 16, 16)
    xcit(batch, training=True)
    xcit.save(tmp_path / "backbone.keras")
    loaded = load_backbone(tmp_path)
    np.testing.assert_allclose(loaded(batch), xcit(batch), atol=1e-6)
    assert len(loaded.trainable_variables) == len(xcit.trainable_variables)


def model_and_data(depth=1, drop_path_rate=0.0, **kwargs):
    keras.utils.set_random_seed(0)
    head = DINOHead(16, hidden_dim=16, bottleneck_dim=8)
    backbone = tiny(depth=depth, drop_path_rate=drop_path_rate, cls_attn_layers=1)
    model = DINO(backbone, head, DINOLoss(16), 0.9, **kwargs)
    model.compile(optimizer=SGD(1e-1))
    draw = np.random.default_rng(3)
    batch = {
        "global": draw.normal(size=(4, 2, 32, 32, 3)).astype("float32"),
        "local": draw.normal(size=(4, 2, 16, 16, 3)).astype("float32"),
    }
    return model, tf.data.Dataset.from_tensor_slices(batch).batch(4)


def test_a_step_of_dino(tmp_path):
    model, data = model_and_data(drop_path_rate=0.2)
    assert not any(model.teacher_backbone.drop_path.rates)
    before = published_weights(model.student_backbone)
    loss = model.fit(data, verbose=0, shuffle=False).history["loss"][0]
    assert np.isfinite(loss) and loss > 0
    after = published_weights(model.student_backbone)
    still = [name for name in before if np.array_equal(before[name], after[name])]
    assert not still
    # Both take their statistics from their own passes, two student's, one teacher's.
    teacher = published_weights(model.teacher_backbone)
    name = "patch_embed.proj.0.1.running_mean"
    assert np.abs(teacher[name]).max() > 0
    assert np.abs(teacher[name] - after[name]).max() > 0
    model.save(tmp_path / "dino.keras")
    loaded = keras.saving.load_model(tmp_path / "dino.keras", compile=False)
    np.testing.assert_allclose(
        loaded(images(1, 16, 16)), model(images(1, 16, 16)), atol=1e-6
    )


def test_statistics_are_those_of_all_replicas(strategy):
    one, batch = tiny(depth=1, drop_path_rate=0.0), images(4, 16, 24)
    expected = one(batch, training=True)
    with strategy.scope():
        two = tiny(depth=1, drop_path_rate=0.0)

    @tf.function
    def forward(values):
        return strategy.run(lambda x: two(x, training=True), (values,))

    halves = strategy.experimental_distribute_values_from_function(
        lambda context: batch[2 * context.replica_id_in_sync_group :][:2]
    )
    features = strategy.experimental_local_results(forward(halves))
    np.testing.assert_allclose(np.concatenate(features), expected, atol=1e-5)
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5, err_msg=a.path)


@pytest.mark.slow
def test_two_replicas_equal_one(strategy):
    one, data = model_and_data()
    one.fit(data, verbose=0, shuffle=False)
    with strategy.scope():
        two, data = model_and_data()
    two.fit(data, verbose=0, shuffle=False)
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-4, err_msg=a.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 5}, "embed_dim=16 is not a multiple of num_heads=5"),
        ({"embed_dim": 18}, "embed_dim=18 .* patch_size // 2 = 4"),
        ({"patch_size": 4}, "patch_size=4: expected 8 or 16"),
        ({"drop_path_rate": 1.0}, "drop_path_rate=1.0"),
        ({"eta": 0.0}, "eta=0.0: expected above 0"),
        ({"depth": 0}, "depth=0: expected at least 1"),
        ({"cls_attn_layers": 0}, "cls_attn_layers=0: expected at least 1"),
    ],
)
def test_wrong_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("xcit_smal_12", 16), "unknown architecture .*; nearest is 'xcit_small_12'"),
        (("vit_tiny", 16), "known are xcit_small_12, xcit_medium_24"),
        (("xcit_small_12", 14), "patch_size=14: expected 8 or 16"),
        (("xcit_small_12", 16, (32, 40)), "image size 32 x 40"),
    ],
)
def test_wrong_names_and_sizes(arguments, message):
    with pytest.raises(UserError, match=message):
        create_xcit(*arguments)


def test_arguments_replace_those_of_the_name():
    xcit = create_xcit("xcit_small_12", 8, 32, embed_dim=16, depth=1, num_heads=None)
    assert (xcit.embed_dim, xcit.depth, xcit.num_heads, xcit.eta) == (16, 1, 8, 1.0)


def test_an_image_that_the_patch_does_not_divide():
    with pytest.raises(ValueError, match="image size 18 x 24"):
        tiny()(images(1, 18, 24))
