"""A photo that never comes ends the process with one line."""

import subprocess
import sys
import threading
import time

import pytest

from dino_tf.datasets.arrays import ArraySource
from dino_tf.stalls import TimedSource, stalls_end

STALLED = """
import sys, threading
from dino_tf.stalls import TimedSource, stalls_end

class Share:
    name, class_names = "share", ()
    def id(self, index):
        return f"photo{index}"
    def image_bytes(self, index):
        threading.Event().wait()

source = TimedSource(Share())
with stalls_end(source, 0.2, lambda words: print("log:", words, flush=True)):
    source.image_bytes(7)
"""


def test_the_photo_is_named():
    done = subprocess.run(
        [sys.executable, "-c", STALLED], capture_output=True, text=True, timeout=300
    )
    words = "reading photo7 takes longer than 0.2 s; training stopped"
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {words}") and done.stderr.count("\n") == 1
    assert done.stdout.startswith(f"log: {words}")


@pytest.fixture
def source(rng_photos):
    return TimedSource(ArraySource(rng_photos, [0, 1, 0]))


@pytest.fixture
def rng_photos():
    import numpy as np

    return np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), dtype=np.uint8)


def test_nothing_else_changes(source, rng_photos):
    plain = ArraySource(rng_photos, [0, 1, 0])
    assert len(source) == 3 and source.class_names == plain.class_names
    for i in range(3):
        assert source.id(i) == plain.id(i)
        assert source.image_bytes(i) == plain.image_bytes(i)
        assert source.labels(i) == plain.labels(i)
        assert source.boxes(i) is None and source.mask(i) is None
    assert source.stamp() == plain.stamp()
    assert source.subset([2, 0]).id(0) == plain.id(2)
    assert source.longest() is None
    with pytest.raises(AttributeError, match="nothing"):
        source.nothing  # noqa: B018


def test_what_fails_is_no_longer_being_read(source):
    with pytest.raises(IndexError):
        source.image_bytes(10)
    assert source.longest() is None


def test_the_longest_of_several(source, monkeypatch):
    monkeypatch.setattr("dino_tf.stalls.time.monotonic", lambda: 15.0)
    source.reading[1] = ("first", 10.0)
    source.reading[2] = ("second", 12.0)
    assert source.longest() == ("first", 5.0)


def test_a_process_that_was_stopped_gets_the_whole_time_again(source, monkeypatch):
    later, told, ended = [0.0], [], threading.Event()
    clock = time.monotonic

    def end(why, tell):
        told.append((clock() - stopped, why))
        ended.set()

    monkeypatch.setattr("dino_tf.stalls.time.monotonic", lambda: clock() + later[0])
    monkeypatch.setattr("dino_tf.stalls._end", end)
    source.reading[1] = ("photo", clock())
    with stalls_end(source, 1.0, print):
        stopped = clock()
        later[0] = 1000.0
        assert ended.wait(60)
    after, why = told[0]
    assert after > 1.0 and "photo takes longer than 1 s" in why


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_watching_ends_with_the_training(source, seconds):
    before = threading.active_count()
    with stalls_end(source, seconds, print):
        assert threading.active_count() == before + (seconds > 0)
    assert threading.active_count() == before
