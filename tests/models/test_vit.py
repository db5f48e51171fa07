"""The Vision Transformer: sizes, named results, saving, drop path, registers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.models.backbones import create_backbone
from dino_tf.models.block import LayerNorm, gelu
from dino_tf.models.vit import VisionTransformer

ARGUMENTS = {
    "embed_dim": 12,
    "depth": 3,
    "num_heads": 2,
    "patch_size": 4,
    "image_size": (16, 24),
    "mlp_ratio": 2.0,
    "drop_path_rate": 0.2,
    "num_registers": 2,
    "seed": 5,
}


ROTARY = {"num_heads": 3, "rope_periods": (1.0,), "norm_epsilon": 1e-5}


def tiny(**changes):
    keras.utils.set_random_seed(0)
    vit = VisionTransformer(**{**ARGUMENTS, **changes})
    vit.build()
    return vit


def images(*shape, seed=0):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(*shape, 3)).astype("float32")


def test_keeps_the_layer_contract(check_layer):
    check_layer(tiny(), images(2, 16, 24), ARGUMENTS)


def test_keeps_the_layer_contract_with_rotary_positions(check_layer):
    check_layer(tiny(**ROTARY), images(2, 16, 24), {**ARGUMENTS, **ROTARY})


def test_published_sizes():
    # Touvron et al. 2021, table 1: 5 and 22 million, classifier included.
    counts = {
        name: create_backbone(name).count_params() for name in ("vit_tiny", "vit_small")
    }
    assert counts == {"vit_tiny": 5_524_416, "vit_small": 21_665_664}


@pytest.mark.parametrize("size", [(16, 24), (24, 16), (8, 8), (4, 40)])
def test_one_set_of_weights_for_every_size(size):
    vit = tiny()
    features = vit(images(2, *size))
    assert features.shape == (2, 12)
    tokens = vit.extract(images(2, *size), ["tokens"])["tokens"]
    assert tokens.shape == (2, 3 + size[0] * size[1] // 16, 12)
    assert vit.position_table((size[0] // 4, size[1] // 4)).shape[1] == (
        1 + size[0] * size[1] // 16
    )


def test_the_table_is_as_it_is_on_its_own_grid():
    vit = tiny()
    np.testing.assert_array_equal(vit.position_table((4, 6)), vit.pos_embed)
    other = vit.position_table((6, 4))
    np.testing.assert_array_equal(other[:, 0], vit.pos_embed[:, 0])


def test_named_results():
    vit = tiny()
    batch = images(2, 16, 24)
    names = ["cls", "tokens", "attention", "keys", "queries", "values"]
    found = vit.extract(batch, names)
    assert list(found) == names
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    assert shapes == {
        "cls": (2, 12),
        "tokens": (2, 27, 12),
        "attention": (2, 2, 27, 27),
        "keys": (2, 27, 12),
        "queries": (2, 27, 12),
        "values": (2, 27, 12),
    }
    np.testing.assert_allclose(np.sum(found["attention"], axis=-1), 1.0, atol=1e-5)
    np.testing.assert_array_equal(found["cls"], found["tokens"][:, 0])
    # The short cut for the CLS token alone gives the same.
    np.testing.assert_allclose(vit(batch), found["cls"], atol=1e-5)


def test_attention_is_that_of_queries_and_keys():
    vit = tiny()
    found = vit.extract(images(1, 8, 8), ["attention", "keys", "queries"])
    queries, keys = (np.array(found[name])[0] for name in ("queries", "keys"))
    # Second head: channels 6 to 11.
    scores = queries[:, 6:] @ keys[:, 6:].T / np.sqrt(6)
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["attention"][0, 1], expected, atol=1e-5)


def test_only_what_was_asked_for():
    assert set(tiny().extract(images(1, 8, 8), ["keys"])) == {"keys"}
    with pytest.raises(ValueError, match=r"unknown names \['key'\]"):
        tiny().extract(images(1, 8, 8), ["keys", "key"])


def test_tokens_of_the_last_blocks():
    vit = tiny()
    batch = images(2, 8, 8)
    outputs = vit.intermediate_tokens(batch, 3)
    assert [tuple(x.shape) for x in outputs] == [(2, 7, 12)] * 3
    np.testing.assert_allclose(outputs[-1][:, 0], vit(batch), atol=1e-5)
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3
    last_two = vit.intermediate_tokens(batch, 2)
    np.testing.assert_array_equal(last_two[0], outputs[1])
    for n in (0, 4):
        with pytest.raises(ValueError, match=f"n={n}"):
            vit.intermediate_tokens(batch, n)


def test_images_of_a_batch_do_not_mix():
    vit = tiny()
    batch = images(3, 16, 24)
    np.testing.assert_allclose(vit(batch)[1:2], vit(batch[1:2]), atol=1e-5)


def test_registers_stand_between_cls_and_patches():
    plain, with_registers = tiny(num_registers=0), tiny()
    assert (plain.num_prefix_tokens, with_registers.num_prefix_tokens) == (1, 3)
    assert plain.count_params() + 2 * 12 == with_registers.count_params()
    tokens = with_registers._tokens(images(1, 8, 8))
    np.testing.assert_array_equal(tokens[:, 1:3], with_registers.register_tokens)
    patches = with_registers.patch_embed(images(1, 8, 8))
    table = with_registers.position_table((2, 2))
    expected = np.reshape(patches, (1, 4, 12)) + table[:, 1:]
    np.testing.assert_allclose(tokens[:, 3:], expected, atol=1e-6)


def test_rotary_positions_stand_for_the_table():
    plain, rotary = tiny(), tiny(**ROTARY)
    assert plain.count_params() - rotary.count_params() == (1 + 4 * 6) * 12
    batch = images(1, 8, 16)
    tokens = rotary._tokens(batch)
    np.testing.assert_array_equal(tokens[:, :1], rotary.cls_token)
    patches = np.reshape(rotary.patch_embed(batch), (1, 8, 12))
    np.testing.assert_array_equal(tokens[:, 3:], patches)
    # Patches that change places do not give the same CLS.
    turned = (
        batch[:, :, ::-1].reshape(1, 8, 4, 4, 3)[:, :, :, ::-1].reshape(batch.shape)
    )
    assert np.abs(rotary(batch) - rotary(turned)).max() > 1e-6


@pytest.mark.parametrize("size", [(16, 24), (8, 8), (4, 40)])
def test_rotary_positions_at_every_size_and_under_xla(size):
    vit, batch = tiny(**ROTARY), images(2, *size)
    for weight in vit.weights:  # so that the positions matter
        weight.assign(weight * 10.0 if "qkv/kernel" in weight.path else weight)
    found = vit.extract(batch, ["cls", "tokens"])
    np.testing.assert_allclose(vit(batch), found["cls"], atol=1e-5)
    last = vit.intermediate_tokens(batch, 2)[-1]
    np.testing.assert_allclose(last, found["tokens"], atol=1e-5)
    compiled = tf.function(vit, jit_compile=True)
    np.testing.assert_allclose(compiled(batch), found["cls"], atol=1e-5)


def test_attention_is_that_of_rotated_queries_and_keys():
    vit, batch = tiny(**ROTARY), images(1, 8, 12)
    for weight in vit.weights:
        weight.assign(weight * 30.0 if "qkv/kernel" in weight.path else weight)
    found = vit.extract(batch, ["attention", "keys", "queries", "values"])
    # Third head: channels 8 to 11; the pairs are 8 with 10 by row, 9 with 11 by column.
    queries, keys = (np.array(found[name])[0, :, 8:] for name in ("queries", "keys"))
    rows = np.repeat([-0.5, 0.5], 3)
    columns = np.tile([-2 / 3, 0, 2 / 3], 2)
    angles = np.zeros((9, 2))
    angles[3:] = 2 * np.pi * np.stack([rows, columns], axis=1)
    pairs = [(x[:, :2] + 1j * x[:, 2:]) * np.exp(1j * angles) for x in (queries, keys)]
    scores = (pairs[0] @ pairs[1].conj().T).real / np.sqrt(4)
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["attention"][0, 2], expected, atol=1e-5)
    unturned = np.exp(queries @ keys.T / 2)
    unturned /= unturned.sum(axis=1, keepdims=True)
    assert np.abs(unturned - expected).max() > 1e-2


def test_rotary_positions_in_half_precision():
    full = tiny(**ROTARY)
    half = VisionTransformer(**{**ARGUMENTS, **ROTARY}, dtype="mixed_bfloat16")
    half.build()
    half.set_weights(full.get_weights())
    batch = images(2, 16, 24)
    np.testing.assert_allclose(half(batch), full(batch), atol=5e-2)


def test_epsilon_of_the_norms():
    vit = tiny(norm_epsilon=0.5)
    norms = [vit.norm, *(n for b in vit.blocks for n in (b.norm1, b.norm2))]
    x = np.random.default_rng(0).normal(size=(2, 3, 12)).astype("float32")
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.5)
    for norm in norms:
        np.testing.assert_allclose(norm(x), expected, atol=1e-5)


def test_drop_path_grows_with_depth_and_acts_in_training_alone():
    vit = tiny(drop_path_rate=0.4)
    assert vit.drop_path.rates == pytest.approx([0.0, 0.0, 0.2, 0.2, 0.4, 0.4])
    batch = images(4, 8, 8)
    np.testing.assert_array_equal(vit(batch), vit(batch))
    one, two = (np.array(vit(batch, training=True)) for _ in range(2))
    assert np.abs(one - two).max() > 1e-3


def test_drop_path_follows_its_seed():
    batch = images(16, 8, 8)
    one, same, other = (
        tiny(drop_path_rate=0.5, seed=seed).drop_path(batch, training=True)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(np.stack(one[2:]), np.stack(same[2:]))
    assert np.abs(np.stack(one[2:]) - np.stack(other[2:])).max() > 0


def test_dropped_branches_are_made_up_for():
    samples = np.zeros((4000, 2), "float32")
    drop = tiny(drop_path_rate=0.5).drop_path
    never, _, first, _, last, second = drop(samples, training=True)
    assert np.all(never == 1)
    for factors, kept in ((first, 0.75), (last, 0.5), (second, 0.5)):
        factors = np.array(factors)
        assert factors.shape == (4000, 1, 1)
        np.testing.assert_allclose(np.unique(factors), [0.0, 1 / kept], rtol=1e-6)
        assert factors.mean() == pytest.approx(1.0, abs=0.06)
    # The two branches of a block are dropped independently.
    both = np.mean((np.array(last) > 0) & (np.array(second) > 0))
    assert both == pytest.approx(0.25, abs=0.04)
    assert drop(samples) == [None] * 6


def test_hand_written_gradients_are_those_of_the_formulas():
    x = keras.ops.convert_to_tensor(images(2, 3, 8)[:, :, :, 0] * 3)
    weights = np.arange(x.shape[-1], dtype="float32")

    def standard(x):
        mean = tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean((x - mean) ** 2, -1, keepdims=True)
        return (x - mean) / tf.sqrt(variance + 1e-6)

    norm = LayerNorm()
    norm.build(x.shape)
    pairs = (
        (gelu, lambda x: tf.nn.gelu(x, approximate=False)),
        (norm, standard),
    )
    for ours, formula in pairs:
        results = []
        for function in (ours, formula):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = function(x)
                loss = tf.reduce_sum(y * weights + y * y * y)
            results.append((y, tape.gradient(loss, x)))
        for one, two in zip(*results, strict=True):
            np.testing.assert_allclose(one, two, atol=2e-5)


def test_half_precision_keeps_the_residual_stream_wide():
    full = tiny()
    half = VisionTransformer(**ARGUMENTS, dtype="mixed_bfloat16")
    half.build()
    half.set_weights(full.get_weights())
    batch = images(2, 16, 24)
    assert half._tokens(batch).dtype == "float32"
    np.testing.assert_allclose(half(batch), full(batch), atol=5e-2)
    assert {w.dtype for w in half.trainable_weights} == {"float32"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 5}, "embed_dim=12 is not a multiple of num_heads=5"),
        ({"patch_size": 5}, "image size 16 x 24 .* patch_size=5"),
        ({"image_size": 30}, "image size 30 x 30"),
        ({"drop_path_rate": 1.0}, "drop_path_rate=1.0"),
        ({"patch_size": 0}, "patch_size=0: expected at least 1"),
        ({"depth": 0}, "depth=0: expected at least 1"),
        ({"num_heads": 0}, "num_heads=0: expected at least 1"),
        ({"rope_periods": (1.0,)}, "a quarter of the head width 6 in number"),
        ({"num_heads": 3, "rope_periods": (1.0, 2.0)}, "of the head width 4"),
        ({"num_heads": 3, "rope_periods": ()}, "of the head width 4"),
        ({"num_heads": 3, "rope_periods": (0.0,)}, "each above 0"),
        ({"num_heads": 3, "rope_periods": (np.inf,)}, "each above 0"),
    ],
)
def test_wrong_arguments(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_an_image_that_the_patch_does_not_divide():
    with pytest.raises(ValueError, match="image size 18 x 24"):
        tiny()(images(1, 18, 24))


@pytest.mark.parametrize("changes", [{}, ROTARY])
def test_attention_of_every_block(changes):
    vit = tiny(**changes)
    batch = images(2, 8, 12)
    found = list(vit.attention_by_block(batch))
    assert [tuple(x.shape) for x in found] == [(2, vit.num_heads, 9, 9)] * 3
    last = vit.extract(batch, ["attention"])["attention"]
    np.testing.assert_array_equal(found[-1], last)
    # The first block sees what a network of one block sees.
    short = tiny(**changes, depth=1, drop_path_rate=0.0)
    names = {v.path.partition("/")[2]: v for v in vit.weights}
    for weight in short.weights:
        weight.assign(names[weight.path.partition("/")[2]])
    first = short.extract(batch, ["attention"])["attention"]
    np.testing.assert_array_equal(found[0], first)
