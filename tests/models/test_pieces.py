"""Pieces of a network against operations whose gradients TensorFlow knows."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from dino_tf.models import pieces
from dino_tf.models.vit import VisionTransformer


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def draw(rng, *shape):
    return tf.constant(rng.standard_normal(shape), "float32")


def value_and_gradients(function, inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = function(*inputs)
        # Every number of the output has a weight of its own.
        weights = tf.reshape(tf.range(tf.size(output), dtype="float32"), output.shape)
        total = tf.reduce_sum(tf.cast(output, "float32") * tf.sin(weights))
    return output, tape.gradient(total, inputs)


def agree(ours, known, inputs, atol=2e-5):
    found, expected = (value_and_gradients(f, inputs) for f in (ours, known))
    np.testing.assert_allclose(found[0], expected[0], atol=atol)
    for one, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(one, other, atol=atol)


def known_norm(x, gamma, beta):
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    return (x - mean) / tf.sqrt(variance + 1e-6) * gamma + beta


def known_gelu(x, bias=0.0):
    return tf.nn.gelu(x + bias, approximate=False)


def known_attention(made, heads=2):
    batch, tokens, width = made.shape
    parts = [
        tf.transpose(tf.reshape(p, (batch, tokens, heads, -1)), (0, 2, 1, 3))
        for p in tf.split(made, 3, axis=-1)
    ]
    scores = tf.matmul(parts[0], parts[1], transpose_b=True)
    weights = tf.nn.softmax(scores / np.sqrt(width / 3 / heads))
    mixed = tf.transpose(tf.matmul(weights, parts[2]), (0, 2, 1, 3))
    return tf.reshape(mixed, (batch, tokens, -1))


@pytest.mark.parametrize("compiled", [False, True])
def test_pieces_and_their_products_have_the_known_gradients(rng, compiled, monkeypatch):
    monkeypatch.setattr(pieces, "WORTH_COMPILING", 0 if compiled else 2**60)
    norm = pieces.layer_norm(1e-6, "float32")
    rows, kernel = draw(rng, 6, 5), draw(rng, 5, 4)
    factor, shift = draw(rng, 5), draw(rng, 5)
    with pieces.one_pass():
        agree(norm, known_norm, [draw(rng, 2, 3, 5), factor, shift])
        agree(pieces.BIASED_GELU, known_gelu, [rows, shift])
        agree(pieces.GELU, known_gelu, [draw(rng, 2, 3, 5)])
        agree(
            lambda *x: pieces.GELU.times(x[:-1], x[-1], "float32"),
            lambda x, kernel: tf.matmul(known_gelu(x), kernel),
            [rows, kernel],
        )
        for piece, known in ((norm, known_norm), (pieces.BIASED_GELU, known_gelu)):
            inputs = [factor, shift] if piece is norm else [shift]
            agree(
                lambda *x, p=piece: p.times(x[:-1], x[-1], "float32"),
                lambda *x, f=known: tf.matmul(f(*x[:-1]), x[-1]),
                [rows, *inputs, kernel],
            )
        agree(
            lambda *x: pieces.AS_IT_IS.times(x[:1], x[1], "float32", x[2]),
            lambda x, kernel, bias: tf.matmul(x, kernel) + bias,
            [rows, kernel, draw(rng, 4)],
        )


def test_attention_has_the_known_gradients(rng):
    made = draw(rng, 2, 5, 3 * 8)
    agree(pieces.attention(2), known_attention, [made])


def test_attention_of_one_query_is_a_row_of_all(rng):
    made = draw(rng, 2, 5, 3 * 8)

    def one(made):
        return pieces.attention(2)(made[:, :1, :8], made[:, :, 8:])

    agree(one, lambda made: known_attention(made)[:, :1], [made])


def test_low_precision_is_kept_low_and_computed_high(rng):
    rows = tf.cast(draw(rng, 6, 5) * 30, "bfloat16")
    bias = tf.zeros((5,), "bfloat16")
    wide = tf.nn.gelu(tf.cast(rows, "float32"), approximate=False)
    rounded = tf.cast(tf.cast(wide, "bfloat16"), "float32")
    for output in (pieces.BIASED_GELU(rows, bias), pieces.GELU(rows)):
        assert output.dtype == "bfloat16"
        np.testing.assert_allclose(tf.cast(output, "float32"), rounded, atol=1e-8)


def network():
    keras.utils.set_random_seed(1)
    return VisionTransformer(
        embed_dim=12, depth=5, num_heads=3, patch_size=4, image_size=16
    )


def gradients_in_a_graph(vit, images, **options):
    @tf.function
    def run(images):
        with pieces.one_pass(**options):
            with tf.GradientTape() as tape:
                loss = ops.sum(ops.sin(vit(images, training=True)))
            variables = [v.value for v in vit.trainable_variables]
            return loss, tape.gradient(loss, variables)

    return run(images), run.get_concrete_function(images).graph.as_graph_def()


@pytest.mark.parametrize("recompute", [False, True])
def test_blocks_traced_once_train_as_each_by_itself(rng, recompute):
    vit, images = network(), draw(rng, 2, 16, 16, 3)
    with tf.GradientTape() as tape:
        loss = ops.sum(ops.sin(vit(images, training=True)))
    expected = tape.gradient(loss, [v.value for v in vit.trainable_variables])
    (found, gradients), graph = gradients_in_a_graph(vit, images, recompute=recompute)
    np.testing.assert_allclose(found, loss, rtol=1e-6)
    for one, other in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    calls = [node for node in graph.node if node.op.endswith("PartitionedCall")]
    # Forward and backward of four equal blocks; the last gives the CLS token alone.
    assert len(calls) >= 2 * 4
    bodies = {f.signature.name for f in graph.library.function}
    assert len(bodies) <= 6


def test_scope_ends_and_knows_its_thread():
    assert not pieces.is_training_graph()
    with pieces.one_pass(), pieces.one_pass(recompute=True):
        assert pieces.is_training_graph()
    assert not pieces.is_training_graph()


def test_exports_see_plain_operations(rng):
    vit, images = network(), draw(rng, 1, 16, 16, 3)
    graph = tf.function(lambda x: vit(x)).get_concrete_function(images).graph
    assert not any("Call" in op.type for op in graph.get_operations())
