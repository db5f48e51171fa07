"""ResNet: arrays of torchvision's program, sizes, names, replicas, DINO."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.dino import DINO
from dino_tf.errors import UserError
from dino_tf.loss import DINOLoss
from dino_tf.models.backbones import create_backbone
from dino_tf.models.head import DINOHead
from dino_tf.models.loading import load_backbone
from dino_tf.models.resnet import Bottleneck, PaddedConv, ResNet, create_resnet
from dino_tf.models.weights import (
    assign_published,
    published_name,
    published_weights,
    to_published,
)
from dino_tf.optimizers import SGD

ARRAYS = Path(__file__).with_name("data") / "resnet.npz"
ARGUMENTS = {"stages": (1, 2, 1), "width": 4}
CASES = ("w3/case0", "w3/case1", "w3/case2", "w2/case0")
# Of the largest number, which is 5 to 35.
TOLERANCE = {"float32": 1e-6, "mixed_bfloat16": 3e-2, "mixed_float16": 4e-3}


@pytest.fixture(scope="module")
def arrays():
    return np.load(ARRAYS)


def parts(arrays, key):
    """{published name: array} of one flat array."""
    shapes = json.loads(str(arrays[f"{key}/shapes"]))
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    pieces = np.split(arrays[key].astype("float32"), np.cumsum(sizes)[:-1])
    pairs = zip(shapes.items(), pieces, strict=True)
    return {name: piece.reshape(shape) for (name, shape), piece in pairs}


def published(arrays, key, dtype="float32"):
    resnet = ResNet(**json.loads(str(arrays[f"{key}/config"])), dtype=dtype)
    resnet.build()
    assign_published(resnet, parts(arrays, f"{key}/weights"))
    return resnet


def image_of(arrays, case):
    return arrays[f"{case}/image"].astype("float32") / 32.0


def tiny(**changes):
    keras.utils.set_random_seed(0)
    resnet = ResNet(**{**ARGUMENTS, **changes})
    resnet.build()
    return resnet


def images(*shape, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(*shape, 3)).astype("float32")


def assert_close(value, expected, share):
    """Equal up to a share of the largest number expected."""
    assert value.dtype == "float32" and value.shape == expected.shape
    most = share * np.abs(expected).max()
    np.testing.assert_allclose(value, expected, rtol=0, atol=most)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("case", CASES)
def test_published_results(arrays, case, dtype):
    resnet, batch = published(arrays, case.split("/")[0], dtype), image_of(arrays, case)
    share = TOLERANCE[dtype]
    assert_close(resnet(batch), arrays[f"{case}/cls"], share)
    found = resnet.extract(batch, ("tokens", "cls"))
    assert list(found) == ["tokens", "cls"]
    assert_close(found["cls"], arrays[f"{case}/cls"], share)
    assert_close(found["tokens"], arrays[f"{case}/stage4"], share)


@pytest.mark.parametrize("case", ["w3/case1", "w2/case0"])
def test_published_maps_of_every_stage(arrays, case):
    resnet, batch = published(arrays, case.split("/")[0]), image_of(arrays, case)
    maps = resnet.intermediate_tokens(batch, 4)
    for stage, found in enumerate(maps, 1):
        assert_close(found, arrays[f"{case}/stage{stage}"], 1e-6)
    assert len(resnet.intermediate_tokens(batch)) == 1
    np.testing.assert_array_equal(resnet.intermediate_tokens(batch)[0], maps[3])
    for n in (0, 5):
        with pytest.raises(ValueError, match=f"n={n}: expected 1 to 4"):
            resnet.intermediate_tokens(batch, n)


def test_published_results_compiled(arrays):
    compiled = tf.function(published(arrays, "w3"), jit_compile=True)
    case = "w3/case1"
    assert_close(compiled(image_of(arrays, case)), arrays[f"{case}/cls"], 1e-6)


@pytest.mark.parametrize("key", ["w3", "w2"])
def test_published_training_mode(arrays, key):
    resnet, case = published(arrays, key), f"{key}/train"
    with tf.GradientTape() as tape:
        features = resnet(image_of(arrays, case), training=True)
        count = int(np.prod(features.shape))
        weights = np.arange(count, dtype="float32").reshape(features.shape) / count
        loss = tf.reduce_sum(features * weights)
    np.testing.assert_allclose(features, arrays[f"{case}/cls"], atol=3e-5)
    after = published_weights(resnet)
    for name, expected in parts(arrays, f"{case}/after").items():
        np.testing.assert_allclose(
            after[name], expected, rtol=1e-5, atol=2e-6, err_msg=name
        )
    if key == "w3":
        return
    variables = resnet.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    found = {
        published_name(v, resnet): to_published(g.numpy())
        for v, g in zip(variables, gradients, strict=True)
    }
    expected = parts(arrays, f"{case}/gradient")
    assert set(found) == set(expected)
    for name, value in expected.items():
        # Batch norms of a dozen values a channel cost float32 some digits.
        assert_close(found[name], value, 1e-3)


def test_published_names_and_sizes(arrays):
    resnet = create_backbone("resnet50")
    shapes = json.loads(str(arrays["shapes/resnet50"]))
    passed_over = ("num_batches_tracked", "fc.weight", "fc.bias")
    expected = {
        name: tuple(shape)
        for name, shape in shapes.items()
        if not name.endswith(passed_over)
    }
    found = {k: v.shape for k, v in published_weights(resnet).items()}
    assert found == expected
    assert sum(int(np.prod(v.shape)) for v in resnet.trainable_weights) == 23_508_032
    assert resnet.count_params() == 23_508_032 + 53_120
    assert (resnet.embed_dim, resnet.patch_size) == (2048, 32)
    assert resnet.num_prefix_tokens == 0
    # Kaiming, fan out: 64 of 7 x 7 and 512 of 3 x 3.
    for conv, fan_out in ((resnet.conv1, 3136), (resnet.blocks[-1].conv2, 4608)):
        std = np.std(conv.kernel.numpy())
        np.testing.assert_allclose(std, np.sqrt(2 / fan_out), rtol=0.03)


def test_keeps_the_layer_contract(check_layer):
    check_layer(tiny(), images(2, 16, 24), ARGUMENTS)


@pytest.mark.parametrize(
    ("size", "grid"),
    [((32, 48), (2, 3)), ((33, 16), (3, 1)), ((1, 5), (1, 1)), ((17, 40), (2, 3))],
)
def test_every_image_has_its_map(size, grid):
    resnet, batch = tiny(), images(2, *size)
    assert resnet.grid_of(size) == grid
    tokens = resnet.extract(batch, ["tokens"])["tokens"]
    assert tokens.shape == (2, grid[0] * grid[1], 64)
    assert (resnet.embed_dim, resnet.patch_size) == (64, 16)
    np.testing.assert_allclose(resnet(batch), np.mean(tokens, axis=1), atol=1e-6)
    symbol = keras.KerasTensor((None, *size, 3))
    told = resnet.conv1(symbol).shape
    assert told == (None, *resnet.conv1(batch).shape[1:])


def test_tokens_stand_row_by_row():
    # What lies far to the right of a wide image changes its last tokens alone.
    resnet, one = tiny(stages=(1, 1)), images(1, 16, 128)
    two = one.copy()
    two[:, :, 120:] = 0.0
    tokens = [resnet.extract(x, ["tokens"])["tokens"][0] for x in (one, two)]
    moved = np.abs(tokens[0] - tokens[1]).max(axis=1).reshape(2, 16) > 1e-6
    assert not moved[:, :8].any() and moved[:, -1].all()


def test_convolution_by_hand():
    conv = PaddedConv(1, 3, 2)
    conv.build((None, None, None, 1))
    conv.kernel.assign(np.ones((3, 3, 1, 1)))
    x = np.arange(16.0, dtype="float32").reshape(1, 4, 4, 1)
    # One row and one column of zeros stand before and behind the image.
    np.testing.assert_array_equal(conv(x)[0, :, :, 0], [[10.0, 24.0], [51.0, 90.0]])


def test_gradient_of_a_projection_with_a_stride():
    # Shapes at which TensorFlow's own step corrupts memory on a processor.
    conv = PaddedConv(16, 1, 2)
    conv.build((None, None, None, 8))
    x = images(3, 16, 10)[..., :1].repeat(8, axis=-1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(conv(x))
    gradient = tape.gradient(loss, conv.kernel.value)[0, 0]
    expected = np.full((8, 16), x[:, ::2, ::2, 0].sum())
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


def test_the_stride_is_on_the_second_convolution():
    block = Bottleneck(4, strides=2, project=True)
    found = [conv.strides for conv in (block.conv1, block.conv2, block.conv3)]
    assert found == [(1, 1), (2, 2), (1, 1)]
    assert block.downsample[0].strides == (2, 2)


def test_images_of_a_batch_do_not_mix_at_inference():
    resnet, batch = tiny(), images(3, 16, 24)
    np.testing.assert_allclose(resnet(batch)[1:2], resnet(batch[1:2]), atol=1e-5)


@pytest.mark.parametrize("name", ["attention", "keys"])
def test_results_that_it_has_not(name):
    assert tiny().result_names == ("cls", "tokens")
    with pytest.raises(UserError, match=f"no {name}; allowed: cls, tokens"):
        tiny().extract(images(1, 8, 8), ["cls", name])


def test_half_precision_keeps_the_statistics_wide():
    resnet, wide = tiny(dtype="mixed_bfloat16"), tiny()
    assert {w.dtype for w in resnet.weights} == {"float32"}
    (last,) = resnet._maps(images(1, 32, 32))
    assert last.dtype == "bfloat16"
    scale = np.float32(1.001)  # bfloat16 has no number between 1 and 1.0078
    resnet.bn1.gamma.assign(np.full(4, scale))
    x = np.ones((1, 2, 2, 4), "float32")
    np.testing.assert_allclose(resnet.bn1(x), scale, rtol=1e-5)
    batch = images(4, 32, 32)
    for network in (resnet, wide):
        assert network(batch, training=True).dtype == "float32"
    np.testing.assert_allclose(
        resnet.bn1.moving_variance, wide.bn1.moving_variance, rtol=1e-2
    )


def test_saved_and_loaded_as_a_backbone(tmp_path):
    resnet, batch = tiny(), images(2, 16, 16)
    resnet(batch, training=True)
    resnet.save(tmp_path / "backbone.keras")
    loaded = load_backbone(tmp_path)
    np.testing.assert_allclose(loaded(batch), resnet(batch), atol=1e-6)
    assert len(loaded.trainable_variables) == len(resnet.trainable_variables)
    assert loaded.stages == (1, 2, 1)


def model_and_data():
    keras.utils.set_random_seed(0)
    head = DINOHead(16, hidden_dim=16, bottleneck_dim=8)
    model = DINO(tiny(stages=(1, 1)), head, DINOLoss(16), 0.9)
    model.compile(optimizer=SGD(1e-1))
    draw = np.random.default_rng(3)
    batch = {
        "global": draw.normal(size=(4, 2, 32, 32, 3)).astype("float32"),
        "local": draw.normal(size=(4, 2, 20, 20, 3)).astype("float32"),
    }
    return model, tf.data.Dataset.from_tensor_slices(batch).batch(4)


def test_a_step_of_dino(tmp_path):
    model, data = model_and_data()
    before = published_weights(model.student_backbone)
    loss = model.fit(data, verbose=0, shuffle=False).history["loss"][0]
    assert np.isfinite(loss) and loss > 0
    after = published_weights(model.student_backbone)
    still = [name for name in before if np.array_equal(before[name], after[name])]
    assert not still
    # Both take their statistics from their own passes, two student's, one teacher's.
    teacher = published_weights(model.teacher_backbone)
    name = "layer1.0.downsample.1.running_mean"
    assert np.abs(teacher[name]).max() > 0
    assert np.abs(teacher[name] - after[name]).max() > 0
    model.save(tmp_path / "dino.keras")
    loaded = keras.saving.load_model(tmp_path / "dino.keras", compile=False)
    np.testing.assert_allclose(
        loaded(images(1, 16, 16)), model(images(1, 16, 16)), atol=1e-6
    )


def test_statistics_are_those_of_all_replicas(strategy):
    one, batch = tiny(), images(4, 32, 24)
    expected = one(batch, training=True)
    with strategy.scope():
        two = tiny()

    @tf.function
    def forward(values):
        return strategy.run(lambda x: two(x, training=True), (values,))

    halves = strategy.experimental_distribute_values_from_function(
        lambda context: batch[2 * context.replica_id_in_sync_group :][:2]
    )
    features = strategy.experimental_local_results(forward(halves))
    np.testing.assert_allclose(np.concatenate(features), expected, atol=1e-4)
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5, err_msg=a.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": ()}, r"stages=\(\): expected one or more"),
        ({"stages": (1, 0)}, r"stages=\(1, 0\): expected one or more"),
        ({"width": 0}, "width=0: expected at least 1"),
    ],
)
def test_wrong_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (("resnet5",), {}, "unknown architecture .*; nearest is 'resnet50'"),
        (("resnet50", 0), {}, "image size 0 x 0"),
        (("resnet50",), {"patch_size": 16}, "patch_size: got 16; resnet50 takes sta"),
        (("resnet50",), {"width": 0}, "width=0"),
    ],
)
def test_wrong_names_and_sizes(arguments, changes, message):
    with pytest.raises(UserError, match=message):
        create_resnet(*arguments, **changes)


def test_arguments_replace_those_of_the_name():
    resnet = create_resnet("resnet50", (32, 40), stages=[1, 1], width=None)
    assert (resnet.stages, resnet.width, resnet.embed_dim) == ((1, 1), 64, 512)
