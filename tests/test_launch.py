"""What must come before other TensorFlow work; TPUs by stand-ins."""

import contextlib
from types import SimpleNamespace

import pytest
import tensorflow as tf

from dino_tf import distribute, launch
from dino_tf.cluster import Cluster
from dino_tf.config import Config
from dino_tf.errors import UserError
from dino_tf.launch import launched

CLUSTER = Cluster((("worker", 0, "a:1"), ("worker", 1, "b:1")), 0, "a test")


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_NTASKS", "TPU_NAME", "COLAB_TPU_ADDR"):
        monkeypatch.delenv(name, raising=False)
    distribute._tpu.cache_clear()


def of(strategy):
    return Config.from_dict({"run.strategy": strategy})


def test_one_process_starts_nothing():
    with launched(of("auto"), print) as found:
        assert found.strategy is None and found.num_tpu_cores == 0
        assert found.workers.is_chief and found.workers.cluster is None


class Workers:
    """Stands for the connections of the chief."""

    def __init__(self):
        self.calls = []

    @contextlib.contextmanager
    def guarded(self, seconds):
        yield

    def explain(self, error):
        self.calls.append(repr(error))

    def close(self):
        self.calls.append("closed")


@pytest.fixture
def workers(monkeypatch):
    found = Workers()
    monkeypatch.setattr(launch, "find_cluster", lambda name: CLUSTER)
    monkeypatch.setattr(launch, "join", lambda cluster, wait, say: found)
    monkeypatch.setattr(launch, "start", lambda cluster: "strategy")
    return found


def test_workers_part_in_the_end(workers):
    with launched(of("auto"), print) as found:
        assert (found.workers, found.strategy) == (workers, "strategy")
        assert not workers.calls
    assert workers.calls == ["closed"]


@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt])
def test_the_others_hear_why_one_ends(workers, kind):
    with pytest.raises(kind), launched(of("auto"), print):
        raise kind("why")
    assert workers.calls == [repr(kind("why"))]


def test_the_others_hear_of_a_server_that_does_not_start(workers, monkeypatch):
    def fail(cluster):
        raise UserError("no server")

    monkeypatch.setattr(launch, "start", fail)
    with pytest.raises(UserError), contextlib.ExitStack() as stack:
        stack.enter_context(launched(of("auto"), print))
    assert workers.calls == ["UserError('no server')"]


@pytest.fixture
def tpu(monkeypatch):
    """A TPU of eight cores that TensorFlow's resolver finds; the names it was given."""
    names = []
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver
    monkeypatch.setattr(resolver, "connect", lambda name: names.append(name) or name)
    stand_in = SimpleNamespace(num_replicas_in_sync=8)
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda resolver: stand_in)
    yield names
    distribute._tpu.cache_clear()


def test_a_tpu_that_is_named(tpu, monkeypatch):
    monkeypatch.setenv("TPU_NAME", "mine")
    with launched(of("auto"), print) as found:
        assert found.num_tpu_cores == found.strategy.num_replicas_in_sync == 8
    assert tpu == ["mine"]


def test_a_tpu_of_this_machine(tpu, monkeypatch):
    listed = lambda kind=None: ["TPU:0"] if kind == "TPU" else []  # noqa: E731
    monkeypatch.setattr(tf.config, "list_physical_devices", listed)
    with launched(of("auto"), print) as found:
        assert found.num_tpu_cores == 8
    assert tpu == ["local"]


@pytest.mark.parametrize("strategy", ["none", "mirrored"])
def test_a_tpu_that_is_not_wanted(tpu, monkeypatch, strategy):
    monkeypatch.setenv("TPU_NAME", "mine")
    with launched(of(strategy), print) as found:
        assert found.strategy is None
    assert not tpu


def test_a_tpu_that_is_not_there():
    with pytest.raises(UserError, match="got tpu, but none answers .*Please provide"):
        with launched(of("tpu"), print):
            pass
