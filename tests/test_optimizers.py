"""One and two steps of every optimizer by numbers computed by hand."""

import keras
import numpy as np
import pytest

from dino_tf.optimizers import LARS, OPTIMIZERS, SGD, AdamW
from dino_tf.schedules import WarmupCosine


def steps(optimizer, weight, bias, gradients):
    """(weight, bias) after each step of a matrix and a bias."""
    weight = keras.Variable(np.array(weight, "float32"), name="kernel")
    bias = keras.Variable(np.array(bias, "float32"), name="bias")
    optimizer.build([weight, bias])
    values = []
    for of_weight, of_bias in gradients:
        pair = [np.array(of_weight, "float32"), np.array(of_bias, "float32")]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in pair], [weight, bias])
        values.append((weight.numpy(), bias.numpy()))
    return values


def check(values, expected):
    for got, wanted in zip(values, expected, strict=True):
        np.testing.assert_allclose(got[0], wanted[0], atol=5e-6)
        np.testing.assert_allclose(got[1], wanted[1], atol=5e-6)


def test_adamw_decays_before_the_step_and_spares_the_bias():
    optimizer = AdamW(learning_rate=0.1, weight_decay=0.5)
    gradient = ([[0.1, 0.2]], [0.3])
    values = steps(optimizer, [[1.0, -2.0]], [0.5], [gradient] * 2)
    # Equal gradients make every Adam step 0.1 long; the decay takes 5 % before.
    expected = [([[0.85, -2.0]], [0.4]), ([[0.7075, -2.0]], [0.3])]
    check(values, expected)


def test_adamw_with_changing_gradients():
    optimizer = AdamW(learning_rate=0.1, weight_decay=0.0)
    values = steps(optimizer, [[1.0]], [0.0], [([[1.0]], [0.0]), ([[-2.0]], [0.0])])
    # m = 0.9 * 0.1 - 0.2 = -0.11, over 0.19; v = 0.999e-3 + 4e-3, over 1.999e-3.
    second = 0.9 + 0.1 * (0.11 / 0.19) / (0.004999 / 0.001999) ** 0.5
    check(values, [([[0.9]], [0.0]), ([[second]], [0.0])])


def test_adamw_adds_epsilon_after_the_bias_correction():
    optimizer = AdamW(learning_rate=0.1, weight_decay=0.0, epsilon=0.1)
    # As `torch.optim.AdamW`: a gradient as small as epsilon makes half a step.
    values = steps(optimizer, [[1.0]], [0.0], [([[0.1]], [0.0])])
    np.testing.assert_allclose(values[0][0], [[0.95]], atol=1e-4)


def test_adamw_refuses_what_it_would_ignore():
    with pytest.raises(ValueError, match="amsgrad=True"):
        AdamW(amsgrad=True)


def test_sgd_adds_decay_to_the_gradient():
    optimizer = SGD(learning_rate=0.1, weight_decay=0.5, momentum=0.9)
    values = steps(optimizer, [[1.0]], [0.5], [([[0.1]], [0.1])] * 2)
    # 0.1 + 0.5 = 0.6; then 0.9 * 0.6 + 0.1 + 0.47 = 1.11. The bias: 0.1, then 0.19.
    check(values, [([[0.94]], [0.49]), ([[0.829]], [0.471])])


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lars_scales_the_step_to_the_length_of_the_weight(decay):
    optimizer = LARS(learning_rate=10.0, weight_decay=decay, eta=0.001)
    gradient = ([[0.6, 0.8]], [0.1])
    values = steps(optimizer, [[3.0, 4.0]], [0.5], [gradient] * 2)
    # Gradient and weight point the same way, so the decay changes nothing. Lengths
    # 5 and 4.95: 0.001 * 5 * 10, then 0.001 * (0.9 * 5 + 4.95) * 10 along (0.6, 0.8).
    # The bias is neither scaled nor decayed: 1, then 1.9.
    expected = [([[2.97, 3.96]], [-0.5]), ([[2.9133, 3.8844]], [-2.4])]
    check(values, expected)


def test_lars_decay_turns_the_direction():
    optimizer = LARS(learning_rate=10.0, weight_decay=1.0, eta=0.001)
    # (0, 4) + 1 * (3, 0): length 5, weight 3, hence 10 * 0.001 * 3 / 5 * (3, 4).
    values = steps(optimizer, [[3.0, 0.0]], [0.0], [([[0.0, 4.0]], [0.0])])
    check(values, [([[2.982, -0.024]], [0.0])])


def test_lars_takes_a_plain_step_from_zero():
    optimizer = LARS(learning_rate=0.1, weight_decay=0.0)
    values = steps(optimizer, [[0.0, 0.0]], [0.0], [([[1.0, 2.0]], [0.0])])
    check(values, [([[-0.1, -0.2]], [0.0])])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Decay 0, then 0.5: 1 - 0.1, then 0.9 * 0.95 - 0.1.
        (AdamW, [0.9, 0.755]),
        # Velocity 1, then 0.9 + 1 + 0.45.
        (SGD, [0.9, 0.665]),
    ],
)
def test_decay_follows_its_schedule(kind, expected):
    optimizer = kind(learning_rate=0.1, weight_decay=WarmupCosine(0.0, 1.0, 2))
    values = steps(optimizer, [[1.0]], [0.0], [([[1.0]], [0.0])] * 2)
    np.testing.assert_allclose([v[0][0, 0] for v in values], expected, atol=5e-6)


def test_rate_and_decay_read_one_clock():
    rate, decay = WarmupCosine(1.0, 0.0, 4), WarmupCosine(0.0, 1.0, 4)
    optimizer = AdamW(rate, decay)
    optimizer.iterations.assign(1)
    assert float(optimizer.learning_rate) == pytest.approx(0.8535534, abs=1e-6)
    assert float(optimizer.weight_decay) == pytest.approx(0.1464466, abs=1e-6)


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_variable_frozen_from_the_start_stays(kind):
    optimizer = kind(learning_rate=0.1, weight_decay=0.5)
    values = steps(optimizer, [[1.0, -2.0]], [0.5], [([[0.0, 0.0]], [0.0])] * 2)
    check(values, [([[1.0, -2.0]], [0.5])] * 2)


@pytest.mark.parametrize("scheduled", [False, True], ids=["numbers", "schedules"])
@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_config_round_trip(kind, scheduled):
    rate, decay = 0.2, 0.3
    if scheduled:
        rate, decay = WarmupCosine(0.2, 0.1, 9, 3), WarmupCosine(0.3, 0.6, 9)
    extra = {LARS: {"eta": 0.01, "momentum": 0.8}, SGD: {"momentum": 0.8}}
    optimizer = kind(rate, decay, **extra.get(kind, {"epsilon": 1e-6}))
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is kind
    assert keras.saving.serialize_keras_object(again) == config
    gradients = [([[0.3, -0.1]], [0.2])] * 3
    start = [[1.0, 2.0]], [0.5]
    for one, two in zip(
        steps(optimizer, *start, gradients),
        steps(again, *start, gradients),
        strict=True,
    ):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
