"""Worker processes on loopback: equal to one process, lost, started again."""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from dino_tf import multi_worker
from dino_tf.cluster import Cluster
from dino_tf.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "tests" / "programs"
CONFIG = {
    "data": "scenes:40",
    "preset": "quickstart",
    "pipeline": {"batch_size": 8, "workers": 1},
    "views": {"global_size": 32, "local_size": 16, "num_local": 2},
    "model": {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3},
    "head": {"out_dim": 32, "hidden_dim": 32, "bottleneck_dim": 16, "use_bn": True},
    # KoLeo looks for neighbours, and histograms for differences, among the photos of
    # one replica.
    "loss": {"koleo_weight": 0.0, "histogram_weight": 0.0},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "run": {
        "epochs": 2,
        "precision": "float32",
        "attention_photos": 1,
        "attention_size": 32,
        "attention_every": 0,
        "eval_size": 32,
        "tensorboard": False,
        "wait": 60.0,
    },
}
CONFIG["model"]["drop_path_rate"] = 0.0
# The same training, without what the chief alone looks at beside it.
UNWATCHED = {"attention_photos": 0, "health_photos": 0, "report_every": 0}
LIGHT = CONFIG | {"run": CONFIG["run"] | UNWATCHED}


def free_ports(count):
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


class Processes:
    """Workers of one cluster, each with a folder and an environment of its own."""

    def __init__(self, folder, count):
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self.folders = [folder / f"worker{i}" for i in range(count)]
        self.running = []

    def start(self, index, program, *arguments, **environ):
        """Starts one worker; its folder is where it works."""
        folder = self.folders[index]
        folder.mkdir(parents=True, exist_ok=True)
        cluster = {"worker": self.addresses}
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": cluster, "task": task})
        path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / program), *map(str, arguments)],
            cwd=folder,
            env=os.environ | {"TF_CONFIG": config, "PYTHONPATH": path} | environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def kill(self):
        """Ends what still runs; TensorFlow makes other signals ineffective."""
        for process in self.running:
            process.kill()
            process.wait()


@pytest.fixture
def processes(tmp_path):
    started = []

    def make(count, folder=tmp_path):
        started.append(Processes(folder, count))
        return started[-1]

    yield make
    for each in started:
        each.kill()


def lines_of(process, timeout=300):
    """(exit code, last lines of a process but for TensorFlow's notes of its start)."""
    _, errors = process.communicate(timeout=timeout)
    kept = [line for line in errors.splitlines() if line.startswith("error")]
    if process.returncode not in (0, 1, 2):
        kept += errors.splitlines()[-20:]
    return process.returncode, kept if kept or not process.returncode else errors


def train_both(group, config, *more):
    """Starts `train` on two workers; each is to write its weights where it works."""
    return [
        group.start(i, "train_worker.py", config, "weights.npz", *more)
        for i in range(len(group.addresses))
    ]


def written(folder):
    """{name: array} that a worker wrote."""
    with np.load(folder / "weights.npz") as arrays:
        return dict(arrays)


def losses(folder):
    (file,) = folder.rglob("metrics.jsonl")
    records = map(json.loads, file.read_text().splitlines())
    return [(record["epoch"], record["loss"]) for record in records]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    return file


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    file = tmp_path_factory.mktemp("light") / "config.yaml"
    file.write_text(yaml.safe_dump(LIGHT))
    return file


def run_here(folder, program, *arguments):
    """Runs a worker's program in this process, where no cluster is named."""
    spec = importlib.util.spec_from_file_location(program, PROGRAMS / f"{program}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    keras.utils.clear_session()  # names of layers are numbered anew
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        module.main(*map(str, arguments))


@pytest.fixture(scope="module")
def one_process(tmp_path_factory, light):
    """Folder of the training by one process."""
    folder = tmp_path_factory.mktemp("one")
    run_here(folder, "train_worker", light, "weights.npz")
    return folder


def check_same(folder, other, tolerance):
    one, two = written(folder), written(other)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=tolerance, err_msg=name)


@pytest.mark.slow
def test_two_workers_equal_one_process(processes, config, one_process):
    group = processes(2)
    ended = [lines_of(process) for process in train_both(group, config)]
    assert ended == [(0, []), (0, [])]
    chief, other = group.folders
    check_same(chief, other, 0)
    check_same(chief, one_process, 1e-4)
    for pair in zip(losses(chief), losses(one_process), strict=True):
        assert pair[0] == pytest.approx(pair[1], abs=1e-4)
    # One writer: the other worker has only what the program itself has written.
    assert [p.name for p in other.iterdir()] == ["weights.npz"]
    (run,) = (chief / "result").iterdir()
    assert {"summary.json", "backbone.keras"} <= {p.name for p in run.iterdir()}


@pytest.mark.slow
def test_killed_worker_is_named_and_a_restart_goes_on(processes, light, one_process):
    group = processes(2)
    workers = train_both(group, light, "fall")
    until(lambda: (group.folders[0] / "saved").exists(), workers)
    # Long enough for the other one to wait in a sum over both.
    time.sleep(1.0)
    began = time.monotonic()
    workers[0].send_signal(signal.SIGTERM)
    code, lines = lines_of(workers[1])
    assert time.monotonic() - began < 60
    assert code == 1 and len(lines) == 1
    name = f"worker 0 ({group.addresses[0]})"
    assert lines[0].startswith(f"error: {name} is gone; training stopped")
    assert workers[0].wait(60) < 0
    ended = [lines_of(process) for process in train_both(group, light)]
    assert ended == [(0, []), (0, [])]
    chief, other = group.folders
    assert len(list((chief / "result").iterdir())) == 1
    assert [epoch for epoch, _ in losses(chief)] == [1, 2]
    check_same(chief, other, 0)
    check_same(chief, one_process, 1e-4)


def until(ready, workers, seconds=300):
    """Waits for something that running workers are to bring about."""
    end = time.monotonic() + seconds
    while not ready():
        assert all(worker.poll() is None for worker in workers)
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_other_settings_and_data_are_told_on_all_workers(processes, tmp_path):
    group = processes(2)
    files = []
    for index, changes in enumerate(({}, {"data": "scenes:48"})):
        files.append(tmp_path / f"config{index}.yaml")
        files[-1].write_text(yaml.safe_dump(CONFIG | changes))
    workers = [
        group.start(i, "train_worker.py", file, "weights.npz")
        for i, file in enumerate(files)
    ]
    told = (
        f"error: worker 1 ({group.addresses[1]}) has data scenes:48, not scenes:40. "
        "Allowed: the same command, data and versions on every worker"
    )
    assert [lines_of(worker) for worker in workers] == [(1, [told])] * 2
    assert not list(tmp_path.rglob("result"))


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """Facts and arrays of `fit` by one process, then by each of two workers."""
    folder, facts, arrays = tmp_path_factory.mktemp("fits"), [], []
    outs = ("weights.npz", "facts.json")
    run_here(folder / "one", "fit_worker", *outs)
    group = Processes(folder, 2)
    try:
        workers = [group.start(i, "fit_worker.py", *outs) for i in range(2)]
        assert [lines_of(w)[0] for w in workers] == [0, 0]
    finally:
        group.kill()
    for place in (folder / "one", *group.folders):
        facts.append(json.loads((place / "facts.json").read_text()))
        arrays.append(written(place))
    return facts, arrays


@pytest.mark.slow
def test_fit_of_two_workers_equals_one_process(fits):
    facts, (one, *workers) = fits
    for worker in workers:
        for name, value in one.items():
            np.testing.assert_allclose(worker[name], value, atol=1e-4, err_msg=name)
            np.testing.assert_array_equal(worker[name], workers[0][name])
    for found in facts[1:]:
        for kind in ("whole", "shared"):
            (fit, evaluated), (fit_1, evaluated_1) = found[kind], facts[0][kind]
            assert fit == pytest.approx(fit_1, abs=1e-4)
            assert evaluated == pytest.approx(evaluated_1, abs=1e-4)


@pytest.mark.slow
def test_copies_of_the_chiefs_values(fits):
    _, (_, chief, *others) = fits
    copied = [name for name in chief if name.startswith("copied:")]
    assert copied
    for other in others:
        for name in copied:
            np.testing.assert_array_equal(other[name], chief[name])
            # The chief had multiplied its own by one.
            whole = chief[name.replace("copied:", "whole:")]
            np.testing.assert_array_equal(chief[name], whole)


@pytest.mark.slow
def test_keras_still_needs_the_remedy(fits):
    """Where this fails, `multi_worker.FitOnWorkers` can lose what is no longer needed.

    Keras 3.15: averaging a batch fails outside of a function, and once that is left
    out, a scalar has no axis 0.
    """
    facts, _ = fits
    for found in facts[1:]:
        symbolic_build, scalar_logs = found["plain"]
        assert "(PerReplica:" in symbolic_build
        assert "Invalid reduction dimension 0" in scalar_logs


def test_start_after_other_work_is_refused():
    # The session's TensorFlow has begun by the fixture of the two devices at latest.
    import tensorflow as tf

    tf.constant(1.0) + 1.0
    tasks = tuple(("worker", i, f"127.0.0.1:{p}") for i, p in enumerate(free_ports(2)))
    with pytest.raises(UserError, match="at the start of a fresh process"):
        multi_worker.start(Cluster(tasks, 0, "a test"))
