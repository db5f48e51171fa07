"""Schedules by hand-computed values, as numbers and as tensors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.schedules import EpochLinear, WarmupCosine, value_at

# Half cosines at 36, 72, 108 and 144 degrees.
COSINE = [1.0, 0.9045085, 0.6545085, 0.3454915, 0.0954915, 0.0]
CASES = [
    (WarmupCosine(1.0, 0.0, 5), COSINE),
    (WarmupCosine(1.0, 0.0, 10, 5), [0, 0.25, 0.5, 0.75, 1.0, *COSINE]),
    (WarmupCosine(2.0, 1.0, 4), [2.0, 1.8535534, 1.5, 1.1464466, 1.0]),
    (WarmupCosine(0.4, 0.4, 3), [0.4, 0.4, 0.4]),
    (WarmupCosine(1.0, 0.0, 4, 2, start=0.5), [0.5, 1.0, 1.0, 0.5, 0.0]),
    (WarmupCosine(1.0, 0.0, 3, 1), [0.0, 1.0, 0.5, 0.0]),
    (WarmupCosine(1.0, 0.0, 3, 3), [0.0, 0.5, 1.0, 1.0, 0.0]),
    (EpochLinear(0.04, 0.07, 4, 1), [0.04, 0.05, 0.06, 0.07, 0.07]),
    (EpochLinear(0.04, 0.07, 2, 3), [0.04] * 3 + [0.07] * 4),
    (EpochLinear(0.04, 0.07, 0, 3), [0.07, 0.07]),
    (EpochLinear(0.04, 0.07, 1, 2), [0.04, 0.04, 0.07]),
]
IDS = [f"{type(s).__name__}-{i}" for i, (s, _) in enumerate(CASES)]


@pytest.mark.parametrize(("schedule", "values"), CASES, ids=IDS)
def test_values(schedule, values):
    got = [schedule(step) for step in range(len(values))]
    assert all(isinstance(value, float) for value in got)
    np.testing.assert_allclose(got, values, atol=1e-7)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
@pytest.mark.parametrize(("schedule", "values"), CASES, ids=IDS)
def test_values_of_tensors(schedule, values, dtype):
    got = [schedule(tf.constant(step, dtype)).numpy() for step in range(len(values))]
    assert {value.dtype for value in got} == {np.dtype("float32")}
    np.testing.assert_allclose(got, values, atol=1e-6)


def test_values_in_a_graph():
    schedule = tf.function(WarmupCosine(1.0, 0.0, 10, 5))
    got = [schedule(tf.constant(step)).numpy() for step in (2, 6, 99)]
    np.testing.assert_allclose(got, [0.5, 0.9045085, 0.0], atol=1e-6)


def test_beyond_the_end_the_final_value_stays():
    assert WarmupCosine(1.0, 0.25, 10)(1000) == pytest.approx(0.25)
    assert EpochLinear(0.04, 0.07, 3, 10)(1000) == 0.07


def test_a_number_is_its_own_schedule():
    assert value_at(0.3, 7) == 0.3
    assert value_at(WarmupCosine(1.0, 0.0, 2), 1) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WarmupCosine(1, 0, 0), "total_steps=0"),
        (lambda: WarmupCosine(1, 0, 5, 6), "warmup_steps=6"),
        (lambda: WarmupCosine(1, 0, 5, -1), "warmup_steps=-1"),
        (lambda: EpochLinear(0, 1, -1, 5), "warmup_epochs=-1"),
        (lambda: EpochLinear(0, 1, 3, 0), "steps_per_epoch=0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "schedule",
    [WarmupCosine(0.5, 0.1, 20, 4, start=0.2), EpochLinear(0.04, 0.07, 3, 10)],
    ids=["cosine", "linear"],
)
def test_config_round_trip(schedule):
    config = keras.saving.serialize_keras_object(schedule)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(schedule)
    assert again.get_config() == schedule.get_config()
    assert [again(s) for s in range(25)] == [schedule(s) for s in range(25)]
