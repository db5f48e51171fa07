"""Facts about the machine, strategies, and values across replicas."""

import gc
import os
import subprocess
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf import distribute


def test_hardware_of_this_machine():
    found = distribute.find_hardware()
    assert found.num_cores == len(os.sched_getaffinity(0))
    assert found.num_cpu_devices == 2  # conftest splits the CPU
    assert found.memory_gb > 0.5
    assert found.num_gpus == len(tf.config.list_physical_devices("GPU"))
    assert (found.gpu_name is None) == (found.num_gpus == 0)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags : sse avx512_bf16 avx512f", True),
        ("flags : fpu amx_bf16", True),
        ("flags : fpu avx2 avx512f", False),
    ],
)
def test_bfloat16_from_the_processor_flags(tmp_path, flags, expected):
    (tmp_path / "cpuinfo").write_text(flags)
    assert distribute._cpu_has_bf16(tmp_path / "cpuinfo") is expected


def test_bfloat16_where_nothing_is_told(tmp_path):
    assert distribute._cpu_has_bf16(tmp_path / "missing") is False


def with_gpus(monkeypatch, answer):
    """Two GPUs for TensorFlow; how nvidia-smi was asked about them."""
    asked = []

    def run(command, **kwargs):
        asked.append(command)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(stdout=answer)

    config = tf.config
    gpus = {"GPU": ["first", "second"]}
    details = {"device_name": "A", "compute_capability": (8, 0)}
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: gpus[kind])
    monkeypatch.setattr(config.experimental, "get_device_details", lambda gpu: details)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(distribute.platform, "node", lambda: "here")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return asked


@pytest.mark.parametrize(
    ("answer", "memory", "names"),
    [
        ("81920, GPU-a\n40960, GPU-b\n", 40.0, "GPU-a,GPU-b"),
        ("[N/A], GPU-a\n[N/A], GPU-b\n", None, "GPU-a,GPU-b"),
        ("Failed to initialize NVML\n", None, "of unknown names"),
        (FileNotFoundError(), None, "of unknown names"),
        (subprocess.TimeoutExpired("nvidia-smi", 10), None, "of unknown names"),
        (subprocess.CalledProcessError(9, "nvidia-smi"), None, "of unknown names"),
    ],
)
def test_gpus_are_asked_about_once(monkeypatch, answer, memory, names):
    asked = with_gpus(monkeypatch, answer)
    found = distribute.find_hardware()
    assert len(asked) == 1
    # The memory of the smallest.
    assert found.gpu_memory_gb == memory
    assert found.gpus == f"here: all of {names}"
    assert (found.num_gpus, found.gpu_name) == (2, "A")
    assert found.compute_capability == (8, 0)


def test_nothing_is_asked_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(subprocess, "run", None)
    found = distribute.find_hardware()
    assert (found.num_gpus, found.gpu_memory_gb, found.gpus) == (0, None, None)


def test_the_collector_is_as_before_after_a_training():
    before = gc.get_threshold()
    with pytest.raises(KeyboardInterrupt), distribute.starting_sooner():
        assert gc.get_threshold()[0] == distribute.OBJECTS_BETWEEN_COLLECTIONS
        assert gc.get_freeze_count() > 1000
        raise KeyboardInterrupt
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_strategies_by_name():
    assert distribute.make_strategy("none") is tf.distribute.get_strategy()
    mirrored = distribute.make_strategy("mirrored")
    assert isinstance(mirrored, tf.distribute.MirroredStrategy)
    gpus = len(tf.config.list_physical_devices("GPU"))
    assert mirrored.num_replicas_in_sync == (gpus or 2)


def test_replicas_in_sync(strategy):
    assert distribute.replicas_in_sync() == 1
    with strategy.scope():
        assert distribute.replicas_in_sync() == 2


def test_mean_over_one_replica_changes_nothing():
    tensors = [tf.constant(3.0), None]
    assert distribute.mean_over_replicas(tensors) == tensors


def test_mean_over_two_replicas(strategy):
    def of_replica():
        index = tf.distribute.get_replica_context().replica_id_in_sync_group
        value = tf.cast(index, "float32")
        first, none, second = distribute.mean_over_replicas(
            [1.0 + 2.0 * value, None, [value, 10.0 * value]]
        )
        assert none is None
        return first, second

    first, second = strategy.run(tf.function(of_replica))
    for value in strategy.experimental_local_results(first):
        assert float(value) == 2.0
    for value in strategy.experimental_local_results(second):
        np.testing.assert_array_equal(value, [0.5, 5.0])


def add(variable, argument):
    variable.assign_add(2.0 * argument)


def test_update_without_a_strategy():
    variables = [keras.Variable([1.0, 2.0]), keras.Variable([5.0])]
    other = keras.Variable([3.0])
    distribute.update_each_replica(add, variables, [tf.constant([1.0, 0.0]), other])
    np.testing.assert_array_equal(variables[0].numpy(), [3.0, 2.0])
    np.testing.assert_array_equal(variables[1].numpy(), [11.0])


def test_update_reaches_every_copy(strategy):
    with strategy.scope():
        variable, other = keras.Variable([1.0]), keras.Variable([4.0])

    @tf.function
    def of_replica():
        distribute.update_each_replica(add, [variable], [other])

    strategy.run(of_replica)
    copies = strategy.experimental_local_results(variable.value)
    assert [float(copy[0]) for copy in copies] == [9.0, 9.0]


def test_update_needs_one_argument_each():
    with pytest.raises(ValueError):
        distribute.update_each_replica(add, [keras.Variable([1.0])], [])
