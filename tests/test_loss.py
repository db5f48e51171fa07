"""The loss by numbers computed by hand, and by a loop over pairs of views."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.loss import DINOLoss
from dino_tf.schedules import EpochLinear

LN3 = math.log(3.0)


def by_pairs(student, teacher, center, student_temp, teacher_temp):
    """The published double loop over views, in float64."""

    def log_softmax(x):
        x = x - x.max(axis=-1, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))

    student, teacher = student.astype("float64"), teacher.astype("float64")
    losses = []
    for t, target in enumerate(np.exp(log_softmax((teacher - center) / teacher_temp))):
        for s, logits in enumerate(student):
            if s != t:
                pair = -(target * log_softmax(logits / student_temp)).sum(axis=-1)
                losses.append(pair.mean())
    return np.mean(losses)


@pytest.mark.parametrize("out_dim", [2, 16, 4096])
def test_uniform_outputs_give_ln_k(out_dim):
    loss = DINOLoss(out_dim)
    value = loss(np.zeros((5, 3, out_dim)), np.zeros((2, 3, out_dim)))
    assert float(value) == pytest.approx(math.log(out_dim), rel=1e-6)


def test_two_views_by_hand():
    loss = DINOLoss(2, student_temp=1.0, teacher_temp=1.0)
    # Teacher: (3/4, 1/4) and (1/2, 1/2). Student: (1/2, 1/2) and (4/5, 1/5).
    teacher = np.array([[[LN3, 0.0]], [[0.0, 0.0]]], "float32")
    student = np.array([[[0.0, 0.0]], [[math.log(4.0), 0.0]]], "float32")
    # First teacher with second student: -(3/4 ln 4/5 + 1/4 ln 1/5) = 0.56971714.
    # Second teacher with first student: ln 2 = 0.69314718.
    assert float(loss(student, teacher)) == pytest.approx(0.63143216, abs=1e-6)


def test_temperatures_sharpen():
    loss = DINOLoss(2, student_temp=0.5, teacher_temp=0.25)
    probabilities = loss.teacher_probabilities(np.array([[LN3 / 4, 0.0]], "float32"))
    np.testing.assert_allclose(probabilities, [[0.75, 0.25]], atol=1e-6)
    teacher = np.full((2, 1, 2), 0.0, "float32")
    student = np.full((2, 1, 2), 0.0, "float32")
    student[..., 0] = math.log(4.0) / 2
    # -(1/2 ln 4/5 + 1/2 ln 1/5).
    assert float(loss(student, teacher)) == pytest.approx(0.91629073, abs=1e-6)


def test_center_moves_only_in_training():
    loss = DINOLoss(2)
    student = np.zeros((3, 1, 2), "float32")
    teacher = np.array([[[4.0, -1.0]], [[2.0, 3.0]]], "float32")
    loss(student, teacher)
    np.testing.assert_array_equal(loss.center, [[0.0, 0.0]])
    loss(student, teacher, training=True)
    np.testing.assert_allclose(loss.center, [[0.3, 0.1]], atol=1e-7)
    loss(student, teacher, training=True)
    np.testing.assert_allclose(loss.center, [[0.57, 0.19]], atol=1e-7)


def test_center_is_subtracted_from_the_teacher():
    loss = DINOLoss(2, teacher_temp=0.1)
    loss.center.assign([[LN3, 0.0]])
    probabilities = loss.teacher_probabilities(np.array([[LN3, 0.0]], "float32"))
    np.testing.assert_allclose(probabilities, [[0.5, 0.5]], atol=1e-6)


@pytest.mark.parametrize(("views", "teachers"), [(2, 2), (7, 2), (3, 1), (4, 4)])
def test_equals_the_loop_over_pairs(views, teachers):
    draw = np.random.default_rng(views)
    student = draw.normal(size=(views, 5, 12)).astype("float32")
    teacher = draw.normal(size=(teachers, 5, 12)).astype("float32")
    center = 0.3 * draw.normal(size=(1, 12)).astype("float32")
    loss = DINOLoss(12, teacher_temp=0.06)
    loss.center.assign(center)
    expected = by_pairs(student, teacher, center, 0.1, 0.06)
    assert float(loss(student, teacher)) == pytest.approx(expected, rel=1e-5)


def test_teacher_temperature_follows_the_step():
    draw = np.random.default_rng(0)
    student = draw.normal(size=(3, 4, 8)).astype("float32")
    teacher = draw.normal(size=(2, 4, 8)).astype("float32")
    loss = DINOLoss(8, teacher_temp=EpochLinear(0.04, 0.07, 2, 10))
    for step, temperature in ((0, 0.04), (9, 0.04), (10, 0.07), (99, 0.07)):
        expected = by_pairs(student, teacher, 0.0, 0.1, temperature)
        got = float(loss(student, teacher, step=tf.constant(step)))
        assert got == pytest.approx(expected, rel=1e-5)


def test_gradient_reaches_the_student_alone():
    loss = DINOLoss(2, student_temp=1.0, teacher_temp=1.0)
    student, teacher = tf.zeros((2, 1, 2)), tf.constant([[[LN3, 0.0]], [[0.0, 0.0]]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((student, teacher))
        value = loss(student, teacher)
    assert tape.gradient(value, teacher) is None
    # Half (two pairs) of softmax less target, (1/2 - 3/4, 1/2 - 1/4), second view.
    expected = [[[0.0, 0.0]], [[-0.125, 0.125]]]
    np.testing.assert_allclose(tape.gradient(value, student), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_computes_in_float32_under_any_policy(dtype):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{dtype}")
    try:
        loss = DINOLoss(8)
    finally:
        keras.config.set_dtype_policy(previous)
    draw = np.random.default_rng(0)
    student = tf.cast(draw.normal(size=(3, 4, 8)), dtype)
    teacher = tf.cast(draw.normal(size=(2, 4, 8)), dtype)
    value = loss(student, teacher, training=True)
    assert value.dtype == "float32" and loss.center.dtype == "float32"
    wide = [tf.cast(x, "float32").numpy() for x in (student, teacher)]
    assert float(value) == pytest.approx(by_pairs(*wide, 0.0, 0.1, 0.04), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"student_temp": 0.0}, "student_temp=0.0"),
        ({"teacher_temp": -0.04}, "teacher_temp=-0.04"),
        ({"center_momentum": 1.1}, "center_momentum=1.1"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DINOLoss(8, **arguments)


@pytest.mark.parametrize("temperature", [0.05, EpochLinear(0.04, 0.07, 2, 10)])
def test_config_round_trip(temperature):
    loss = DINOLoss(8, 0.2, temperature, 0.8, name="loss")
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert keras.saving.serialize_keras_object(again) == config
    assert (again.out_dim, again.student_temp) == (8, 0.2)
    assert again.center_momentum == 0.8
    for step in (0, 15):
        got = again.teacher_probabilities(np.eye(8), step)
        np.testing.assert_array_equal(got, loss.teacher_probabilities(np.eye(8), step))


def test_center_is_a_weight_that_is_not_trained():
    loss = DINOLoss(8)
    assert [w.path.rpartition("/")[2] for w in loss.weights] == ["center"]
    assert not loss.trainable_weights
