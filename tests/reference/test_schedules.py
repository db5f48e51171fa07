"""Cosine schedules with warm-up against the published ones."""

import numpy as np
import tensorflow as tf

from dino_tf.schedules import WarmupCosine


def schedules(arrays):
    for case in sorted({k.split("/")[0] for k in arrays.files}):
        key = f"{case}/args_base_final_epochs_niter_warmup_start"
        base, final, epochs, steps, warmup, start = arrays[key]
        total = int(epochs * steps)
        schedule = WarmupCosine(base, final, total, int(warmup * steps), start)
        yield schedule, arrays[f"{case}/values"]


def test_values(reference_dir):
    for schedule, values in schedules(np.load(reference_dir / "schedules.npz")):
        got = [schedule(step) for step in range(len(values))]
        np.testing.assert_allclose(got, values, atol=1e-7)


def test_values_in_a_graph(reference_dir):
    for schedule, values in schedules(np.load(reference_dir / "schedules.npz")):
        compiled = tf.function(schedule, jit_compile=True)
        got = [compiled(tf.constant(step)).numpy() for step in range(len(values))]
        np.testing.assert_allclose(got, values, atol=1e-7, rtol=1e-6)
