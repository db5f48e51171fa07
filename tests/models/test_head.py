"""The projection head and its layers, by small numbers and by contract."""

import keras
import numpy as np
import pytest

from dino_tf.models.head import BatchNorm, DINOHead, WeightNormDense

ARGUMENTS = {
    "out_dim": 10,
    "hidden_dim": 8,
    "bottleneck_dim": 4,
    "num_layers": 3,
    "use_bn": True,
    "norm_last_layer": False,
}


def tiny(**changes):
    keras.utils.set_random_seed(0)
    head = DINOHead(**{**ARGUMENTS, **changes})
    head.build((None, 6))
    return head


def features(batch=5, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, 6)).astype("float32")


def leaves(weights):
    return {w.path.partition("/")[2] for w in weights}


@pytest.mark.parametrize("use_bn", [False, True])
def test_keeps_the_layer_contract(check_layer, use_bn):
    arguments = {**ARGUMENTS, "use_bn": use_bn}
    check_layer(tiny(use_bn=use_bn), features(), arguments)


def test_published_defaults():
    head = DINOHead()
    head.build((None, 384))
    shapes = [tuple(w.shape) for w in head.trainable_weights]
    assert shapes == [
        (384, 2048),
        (2048,),
        (2048, 2048),
        (2048,),
        (2048, 256),
        (256,),
        (256, 65536),
    ]


def test_logits_are_cosines_when_the_last_layer_is_normalised():
    head = tiny(norm_last_layer=True)
    head.last_layer.weight_v.assign(100.0 * head.last_layer.weight_v)
    logits = np.array(head(1000.0 * features(50)))
    assert logits.shape == (50, 10)
    assert np.abs(logits).max() <= 1.0 + 1e-6
    assert np.abs(logits).max() > 0.5


def test_kernel_of_the_last_layer_by_hand():
    layer = WeightNormDense(2, train_scale=True)
    layer.build((None, 2))
    layer.weight_v.assign([[3.0, 0.0], [4.0, 2.0]])
    x = np.array([[1.0, 10.0]], "float32")
    # Columns (0.6, 0.8) and (0, 1).
    np.testing.assert_allclose(layer(x), [[8.6, 10.0]], rtol=1e-6)
    layer.weight_g.assign([[2.0, 0.5]])
    np.testing.assert_allclose(layer(x), [[17.2, 5.0]], rtol=1e-6)


@pytest.mark.parametrize("norm_last_layer", [True, False])
def test_lengths_of_prototypes_are_learnt_or_not(norm_last_layer):
    trained = leaves(tiny(norm_last_layer=norm_last_layer).trainable_weights)
    assert "last_layer/weight_v" in trained
    assert ("last_layer/weight_g" in trained) is not norm_last_layer


@pytest.mark.parametrize(
    ("num_layers", "use_bn", "names"),
    [
        (1, False, {"mlp"}),
        (1, True, {"mlp"}),
        (2, False, {"mlp.0", "mlp.2"}),
        (3, False, {"mlp.0", "mlp.2", "mlp.4"}),
        (3, True, {"mlp.0", "mlp.1", "mlp.3", "mlp.4", "mlp.6"}),
    ],
)
def test_layers_have_their_published_places(num_layers, use_bn, names):
    head = tiny(num_layers=num_layers, use_bn=use_bn)
    found = {name.partition("/")[0] for name in leaves(head.weights)}
    assert found == names | {"last_layer"}
    assert head(features()).shape == (5, 10)


def test_batch_norm_by_hand():
    norm = BatchNorm()
    norm.build((None, 1))
    x = np.array([[0.0], [2.0]], "float32")
    # Nothing seen yet: mean 0, variance 1.
    np.testing.assert_allclose(norm(x), [[0.0], [1.99999]], atol=1e-6)
    np.testing.assert_allclose(norm(x, training=True), [[-0.999995], [0.999995]])
    # The batch has mean 1 and unbiased variance 2; a tenth of each is taken over.
    np.testing.assert_allclose(norm.moving_mean, [0.1], rtol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, [1.1], rtol=1e-6)
    norm.gamma.assign([3.0])
    norm.beta.assign([5.0])
    np.testing.assert_allclose(
        norm(x, training=True), [[2.000015], [7.999985]], rtol=1e-6
    )


def test_batch_norm_of_maps_counts_every_place():
    norm = BatchNorm()
    norm.build((None, None, None, 2))
    # Channels of means 1 and 5 over two images of two places.
    x = np.array([[0.0, 5.0], [2.0, 5.0], [0.0, 4.0], [2.0, 6.0]], "float32")
    found = norm(x.reshape(2, 1, 2, 2), training=True)
    assert found.shape == (2, 1, 2, 2)
    np.testing.assert_allclose(norm.moving_mean, [0.1, 0.5], rtol=1e-6)
    # Unbiased variances 4 / 3 and 2 / 3.
    np.testing.assert_allclose(
        norm.moving_variance, [0.9 + 0.4 / 3, 0.9 + 0.2 / 3], rtol=1e-6
    )


def test_inference_moves_no_statistics():
    head = tiny()
    before = [w.numpy() for w in head.weights]
    head(features(), training=False)
    for old, weight in zip(before, head.weights, strict=True):
        np.testing.assert_array_equal(old, weight.numpy())
    head(features(), training=True)
    assert np.any(head.mlp[1].moving_mean.numpy() != 0)


def test_zero_features_give_finite_logits():
    head = tiny(use_bn=False)
    np.testing.assert_array_equal(head(np.zeros((2, 6), "float32")), np.zeros((2, 10)))


def test_half_precision():
    full = tiny()
    half = DINOHead(**ARGUMENTS, dtype="mixed_bfloat16")
    half.build((None, 6))
    half.set_weights(full.get_weights())
    logits = half(features())
    assert logits.dtype == "bfloat16"
    got = keras.ops.cast(logits, "float32")
    np.testing.assert_allclose(got, full(features()), atol=2e-2)
    assert {w.dtype for w in half.weights} == {"float32"}


@pytest.mark.parametrize(
    "name", ["out_dim", "hidden_dim", "bottleneck_dim", "num_layers"]
)
def test_wrong_arguments(name):
    with pytest.raises(ValueError, match=f"{name}=0: expected at least 1"):
        DINOHead(**{**ARGUMENTS, name: 0})
