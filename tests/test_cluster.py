"""The workers that the environment names."""

import json

import pytest

from dino_tf.cluster import Cluster, find_cluster
from dino_tf.errors import UserError

TWO = {"worker": ["10.0.0.1:2222", "10.0.0.2:2223"]}


@pytest.fixture(autouse=True)
def no_workers(monkeypatch):
    """An environment without workers, wherever the tests run."""
    for name in ("TF_CONFIG", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


def tf_config(monkeypatch, cluster, kind="worker", index=0):
    value = {"cluster": cluster, "task": {"type": kind, "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(value))


def test_alone_where_nothing_is_named(monkeypatch):
    assert find_cluster() is None
    monkeypatch.setenv("TF_CONFIG", "")
    assert find_cluster() is None


def test_workers_of_tf_config(monkeypatch):
    tf_config(monkeypatch, TWO, index=1)
    found = find_cluster()
    assert len(found) == 2 and found.index == 1
    assert found.task == ("worker", 1)
    assert found.name(1) == "worker 1 (10.0.0.2:2223)"
    assert found.address(1) == ("10.0.0.2", 2223)
    assert found.jobs() == TWO
    assert found.reason == "TF_CONFIG names 2 workers"
    assert find_cluster("multi_worker") == found


def test_the_chief_of_tf_config_comes_first(monkeypatch):
    jobs = {"worker": ["b:1"], "chief": ["a:1"]}
    tf_config(monkeypatch, jobs, "worker", 0)
    found = find_cluster()
    assert found.index == 1 and found.name(0) == "chief 0 (a:1)"


def test_address_of_the_sixth_version():
    found = Cluster((("worker", 0, "[::1]:80"),), 0, "a test")
    assert found.address(0) == ("::1", 80)


def test_a_single_worker_is_alone(monkeypatch):
    tf_config(monkeypatch, {"worker": ["10.0.0.1:2222"]})
    assert find_cluster() is None


@pytest.mark.parametrize("strategy", ["none", "mirrored", "tpu"])
def test_another_strategy_takes_no_notice(monkeypatch, strategy):
    monkeypatch.setenv("TF_CONFIG", "{")
    assert find_cluster(strategy) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "TF_CONFIG: got {; allowed: such as"),
        ("[]", r"TF_CONFIG: got \[\]"),
        ('{"cluster": {"worker": 3}}', "TF_CONFIG: got"),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}}',
            "cluster: got the jobs worker, ps; allowed",
        ),
        ('{"cluster": {"worker": ["a:1", "b"]}}', "got the address b; allowed"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}}', "got an address twice"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', r"task: got \{\}; allowed"),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": '
            '{"type": "worker", "index": 2}}',
            "task: got .*'index': 2",
        ),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": '
            '{"type": "worker", "index": "0"}}',
            "task: got .*'index': '0'",
        ),
    ],
)
def test_tf_config_that_makes_no_sense(monkeypatch, text, words):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=words) as raised:
        find_cluster()
    assert "\n" not in str(raised.value)


def test_workers_asked_for_and_none_named():
    with pytest.raises(UserError, match="got multi_worker, but neither TF_CONFIG nor"):
        find_cluster("multi_worker")


def slurm(monkeypatch, nodes, tasks, index, here, total):
    """What srun sets; on a machine without Slurm and without GPUs."""
    for name, value in {
        "SLURM_NTASKS": total,
        "SLURM_JOB_ID": 77,
        "SLURM_PROCID": index,
        "SLURMD_NODENAME": here,
        "SLURM_STEP_NUM_TASKS": total,
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks,
    }.items():
        monkeypatch.setenv(name, str(value))


def test_tasks_of_slurm_in_its_own_order(monkeypatch):
    slurm(monkeypatch, "n[9-10],m1", "1(x2),2", 2, "n9", 4)
    found = find_cluster()
    # 10,000 and 16 for each number of a job.
    addresses = ["m1:11232", "m1:11233", "n9:11232", "n10:11232"]
    assert [address for *_, address in found.tasks] == addresses
    assert found.index == 2 and found.reason == "a Slurm step of 4 tasks"


def test_slurm_tasks_that_are_not_in_blocks(monkeypatch):
    slurm(monkeypatch, "n[1-2]", "2(x2)", 1, "n2", 4)
    with pytest.raises(UserError, match="task 1 runs on n2, .* n1; allowed: srun"):
        find_cluster()


def test_slurm_without_srun(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with pytest.raises(UserError, match="SLURM_NTASKS is 4, .* srun before the"):
        find_cluster()


def test_slurm_variables_that_do_not_fit(monkeypatch):
    slurm(monkeypatch, "n[1-2]", "1(x2)", 0, "n1", 4)
    with pytest.raises(UserError, match="do not describe a step"):
        find_cluster()
    monkeypatch.delenv("SLURM_STEP_NODELIST")
    with pytest.raises(UserError, match="do not describe a step .*NODELIST"):
        find_cluster()


def test_a_step_of_one_task_is_alone(monkeypatch):
    slurm(monkeypatch, "n1", "1", 0, "n1", 1)
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert find_cluster() is None
