"""Loss, its gradient and the center against the published loss."""

import numpy as np
import pytest
import tensorflow as tf

from dino_tf.loss import DINOLoss
from dino_tf.schedules import EpochLinear


@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_loss_gradient_and_center(reference_dir, mode):
    arrays = np.load(reference_dir / "loss.npz")
    temperatures = arrays["teacher_temp_schedule"]
    rising = int(np.sum(temperatures < temperatures[-1])) + 1
    schedule = EpochLinear(temperatures[0], temperatures[-1], rising, 1)
    crops, out_dim = int(arrays["ncrops"]), arrays["epoch0/student"].shape[-1]
    loss = DINOLoss(out_dim, teacher_temp=schedule)

    def step(student, teacher, epoch):
        with tf.GradientTape() as tape:
            tape.watch(student)
            views = tf.reshape(student, (crops, -1, out_dim))
            value = loss(
                views, tf.reshape(teacher, (2, -1, out_dim)), epoch, training=True
            )
        return value, tape.gradient(value, student)

    step = tf.function(step, jit_compile=True) if mode == "xla" else step
    for epoch, temperature in enumerate(temperatures):
        assert schedule(epoch) == pytest.approx(temperature, abs=1e-12)
        student = tf.constant(arrays[f"epoch{epoch}/student"])
        teacher = tf.constant(arrays[f"epoch{epoch}/teacher"])
        value, gradient = step(student, teacher, tf.constant(epoch))
        np.testing.assert_allclose(value, arrays[f"epoch{epoch}/loss"], rtol=1e-5)
        expected = arrays[f"epoch{epoch}/student_grad"]
        np.testing.assert_allclose(gradient, expected, atol=1e-5)
        center = arrays[f"epoch{epoch}/center_after"]
        np.testing.assert_allclose(loss.center.numpy(), center, atol=1e-5)
