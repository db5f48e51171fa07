"""Which strategy a training runs under."""

import pytest

from dino_tf.config import Config
from dino_tf.placement import accelerators, choose_strategy, num_replicas
from dino_tf.recipe import Facts, resolve

TWO_WORKERS = {"num_workers": 2, "workers_reason": "TF_CONFIG names 2 workers"}


@pytest.mark.parametrize(
    ("facts", "strategy", "reason", "replicas"),
    [
        ({}, "none", "one device: CPU", 1),
        ({"num_gpus": 1}, "none", "one device: a GPU", 1),
        ({"num_gpus": 1, "gpu_name": "H"}, "none", "one device: H", 1),
        ({"num_gpus": 4}, "mirrored", "4 GPUs share every batch", 4),
        ({"num_tpu_cores": 8}, "tpu", "a TPU of 8 cores is found", 8),
        (TWO_WORKERS, "multi_worker", "TF_CONFIG names 2 workers", 2),
        (TWO_WORKERS | {"num_gpus": 4}, "multi_worker", "TF_CONFIG names 2 workers", 8),
        # TensorFlow makes one device of a worker's CPU.
        ({**TWO_WORKERS, "num_cpu_devices": 2}, "multi_worker", "TF_CONFIG names", 2),
    ],
)
def test_strategy_by_the_machine(facts, strategy, reason, replicas):
    facts = Facts(num_photos=10_000, **facts)
    name, words = choose_strategy(Config(), facts)
    assert name == strategy and words.startswith(reason)
    config = Config.from_dict({"run.strategy": name})
    assert num_replicas(config, facts) == replicas


def test_one_device_when_asked_for():
    config = Config.from_dict({"run.strategy": "none"})
    assert num_replicas(config, Facts(10, num_gpus=4)) == 1


def test_automatic_batch_grows_with_the_workers():
    batches = []
    for count in (1, 3):
        facts = Facts(10_000, num_workers=count, workers_reason="a test")
        config, _ = resolve(Config.from_dict({"data": "folder:x"}), facts)
        batches.append(config.pipeline.batch_size)
    assert batches == [32, 96]


def test_a_tpu_has_its_own_precision_and_compiler():
    facts = Facts(10_000, num_tpu_cores=8)
    config, reasons = resolve(Config.from_dict({"data": "folder:x"}), facts)
    assert (config.run.precision, config.run.xla) == ("mixed_bfloat16", False)
    assert "TPU" in reasons["run.xla"]


def test_number_and_word():
    assert accelerators(Facts(1, num_gpus=1)) == "1 GPU"
    assert accelerators(Facts(1, num_gpus=2)) == "2 GPUs"
