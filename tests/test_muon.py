"""Muon by matrices whose singular values are known."""

import keras
import numpy as np
import pytest

from dino_tf.models.backbones import create_backbone
from dino_tf.models.vit import VisionTransformer
from dino_tf.muon import Muon, matrix_parts, orthogonalised
from dino_tf.optimizers import AdamW
from dino_tf.schedules import WarmupCosine


def quintic(value):
    """What five iterations make of a singular value."""
    for _ in range(5):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    return value


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_singular_values_come_near_to_one(shape):
    left, _, right = np.linalg.svd(np.random.default_rng(0).normal(size=shape))
    values = np.array([3.0, 2.0, 0.5])
    matrix = left[:, :3] * values @ right[:3]
    found = orthogonalised(matrix.astype("float32")).numpy()
    scaled = quintic(values / np.linalg.norm(values))
    np.testing.assert_allclose(found, left[:, :3] * scaled @ right[:3], atol=1e-5)
    assert scaled.min() > 0.65 and scaled.max() < 1.25


def test_zeros_stay_zeros():
    np.testing.assert_array_equal(orthogonalised(np.zeros((2, 3), "float32")), 0.0)


def test_equals_that_of_keras():
    matrix = np.random.default_rng(1).normal(size=(8, 24)).astype("float32")
    expected = keras.optimizers.Muon().zeropower_via_newtonschulz5(matrix, 5)
    np.testing.assert_allclose(orthogonalised(matrix), expected, atol=1e-5)


def steps(optimizer, gradients, shape=(2, 2)):
    """Matrix and bias after each step from zeros."""
    weight, bias = (keras.Variable(np.zeros(s, "float32")) for s in (shape, shape[0]))
    optimizer.build([weight, bias])
    values = []
    for gradient in gradients:
        pair = [np.array(gradient, "float32"), np.ones(shape[0], "float32")]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in pair], [weight, bias])
        values.append((weight.numpy(), bias.numpy()))
    return values


def test_two_steps_by_hand():
    optimizer = Muon(0.1, 0.0, parts=(1, 0), matrix_rate=0.3, momentum=0.5)
    first, second = steps(optimizer, [np.diag([2.0, 1.0]), np.diag([0.0, 1.0])])
    # 2, 1 in the sum, and 1.5 times that ahead: 0.3 long in both directions.
    expected = -0.3 * quintic(np.array([2, 1]) / 5**0.5)
    np.testing.assert_allclose(first[0], np.diag(expected), atol=1e-6)
    # 1, 1.5 in the sum; 0.5, 1 + 0.75 ahead.
    then = quintic(np.array([0.5, 1.75]) / np.hypot(0.5, 1.75))
    np.testing.assert_allclose(second[0], np.diag(expected - 0.3 * then), atol=1e-6)
    # The bias goes by AdamW, whose steps by equal gradients are as long as the rate.
    np.testing.assert_allclose(second[1], -0.2, atol=1e-5)


def test_parts_are_orthogonalised_one_by_one():
    gradient = np.concatenate([np.eye(2), 50 * np.eye(2), -np.eye(2)], axis=1)
    optimizer = Muon(0.1, 0.0, parts=(3, 0), momentum=0.0)
    ((weight, _),) = steps(optimizer, [gradient], (2, 6))
    length = 0.1 * quintic(0.5**0.5)
    expected = np.concatenate([np.eye(2), np.eye(2), -np.eye(2)], axis=1)
    np.testing.assert_allclose(weight, -length * expected, atol=1e-6)


def test_queries_and_keys_go_more_slowly():
    gradient = np.concatenate([np.eye(2)] * 3, axis=1)
    optimizer = Muon(0.1, 0.5, parts=(3, 0), momentum=0.0, query_key=0.2)
    ((weight, _),) = steps(optimizer, [gradient], (2, 6))
    length = 0.1 * quintic(0.5**0.5)
    expected = np.concatenate([0.2 * np.eye(2), 0.2 * np.eye(2), np.eye(2)], axis=1)
    np.testing.assert_allclose(weight, -length * expected, atol=1e-6)
    # Neither those of two parts nor of one are queries and keys.
    optimizer = Muon(0.1, 0.0, parts=(2, 0), momentum=0.0, query_key=0.2)
    ((weight, _),) = steps(optimizer, [gradient[:, :4]], (2, 4))
    np.testing.assert_allclose(weight, -length * gradient[:, :4], atol=1e-6)


def test_wide_matrices_go_further():
    gradient = np.concatenate([np.eye(2)] * 4, axis=1)
    ((weight, _),) = steps(Muon(0.1, 0.0, parts=(1, 0)), [gradient], (2, 8))
    # Four columns share each direction, and the root of 8 / 2 lengthens it.
    length = 2 * 0.1 * quintic(0.5**0.5) / 2
    np.testing.assert_allclose(weight, -length * gradient, atol=1e-6)


def test_decay_goes_by_the_rate_of_each():
    kept = []
    for optimizer in (AdamW(0.1, 0.5), Muon(0.1, 0.5, parts=(1,), matrix_rate=0.7)):
        weight = keras.Variable(np.ones((2, 2), "float32"))
        optimizer.build([weight])
        gradient = np.array([[1e-12, 0.0], [0.0, 0.0]], "float32")
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
        kept.append(weight.numpy()[1, 1])
    assert kept == pytest.approx([0.95, 0.65])


def test_without_parts_it_is_adamw():
    gradients = np.random.default_rng(2).normal(size=(3, 2, 2))
    ours, other = steps(Muon(0.1, 0.1), gradients), steps(AdamW(0.1, 0.1), gradients)
    np.testing.assert_array_equal(ours[-1][0], other[-1][0])


def test_matrices_of_a_vision_transformer():
    vit = VisionTransformer(
        patch_size=4, image_size=8, embed_dim=8, depth=2, num_heads=2
    )
    vit.build((None, 8, 8, 3))
    parts = matrix_parts(vit, vit)
    found = {
        v.path.split("/", 1)[1]: n
        for v, n in zip(vit.trainable_variables, parts, strict=True)
        if n
    }
    ends = {"attn/qkv": 3, "attn/proj": 1, "mlp/fc1": 1, "mlp/fc2": 1}
    assert len(found) == 8
    for end, count in ends.items():
        assert [n for path, n in found.items() if end in path] == [count] * 2, found
    assert not any("bias" in path or "embed" in path for path in found)


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="ResNet: expected a VisionTransformer"):
        resnet = create_backbone("resnet50")
        matrix_parts(resnet, resnet)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"matrix_rate": 0.0}, "matrix_rate=0.0"),
        ({"momentum": 1.0}, "momentum=1.0"),
        ({"query_key": 0.0}, "query_key=0.0"),
        ({"parts": (1,)}, "1 parts for 2 variables"),
        ({"parts": (3, 0)}, r"parts=3 of .* \(2, 2\): expected 0, or a divisor"),
        ({"parts": (0, 1)}, r"parts=1 of .* \(2,\)"),
    ],
)
def test_what_cannot_be(options, words):
    with pytest.raises(ValueError, match=words):
        steps(Muon(**options), [np.eye(2)])


def test_configuration_round_trip():
    rate = WarmupCosine(0.1, 0.0, 10, 2)
    length = WarmupCosine(0.3, 0.1, 10, 2)
    made = Muon(rate, 0.2, (3, 0), length, 0.9, 0.2, shares=(1, 0.5))
    again = Muon.from_config(made.get_config())
    assert again.get_config() == made.get_config()
    assert (again.parts, again.matrix_rate.base) == ((3, 0), 0.3)
    assert (again.momentum, again.query_key) == (0.9, 0.2)
    number = Muon.from_config(Muon(matrix_rate=9.0).get_config())
    assert number.matrix_rate == 9.0 and number.parts is None


def test_matrices_have_a_schedule_and_their_share_of_it():
    optimizer = Muon(
        0.1, 0.0, (1, 0), lambda step: 0.3 / (step + 1.0), 0.0, shares=(0.5, 1.0)
    )
    first, second = steps(optimizer, [np.eye(2), np.eye(2)])
    length = 0.5 * 0.3 * quintic(0.5**0.5)
    np.testing.assert_allclose(first[0], -length * np.eye(2), atol=1e-6)
    np.testing.assert_allclose(second[0], -1.5 * length * np.eye(2), atol=1e-6)
    np.testing.assert_allclose(second[1], -0.2, atol=1e-5)


def test_without_a_rate_of_their_own_matrices_take_the_learning_rate():
    ((weight, _),) = steps(Muon(0.1, 0.0, (1, 0), momentum=0.0), [np.eye(2)])
    np.testing.assert_allclose(weight, -0.1 * quintic(0.5**0.5) * np.eye(2), atol=1e-6)
