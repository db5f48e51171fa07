"""The program that ends a worker which cannot end itself."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dino_tf import guard

PROGRAM = Path(guard.__file__)


@pytest.fixture
def watched():
    """A process that only waits, its guard for some seconds, and the other worker."""
    here, there = socket.socketpair()
    victim = subprocess.Popen([sys.executable, "-Ic", "input()"], stdin=subprocess.PIPE)

    def watch(seconds):
        pair = [str(here.fileno()), "worker 1 (b:1)"]
        return subprocess.Popen(
            [sys.executable, "-I", PROGRAM, str(victim.pid), str(seconds), *pair],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[here.fileno()],
        )

    yield victim, watch, there
    victim.kill()
    victim.communicate()
    here.close()
    there.close()


def test_a_worker_that_ends_takes_the_waiting_one_along(watched):
    victim, watch, there = watched
    watching = watch(60)
    # What a worker says is left to its reader.
    there.sendall(b"x")
    there.shutdown(socket.SHUT_RDWR)
    assert victim.wait(20) == -9
    told = watching.communicate()[1]
    assert told == "error: worker 1 (b:1) is gone; start all workers again\n"


def test_a_worker_that_can_end_itself_is_left_to_it(watched):
    victim, watch, there = watched
    watching = watch(60)
    there.close()
    # As its own end would do.
    watching.stdin.close()
    assert watching.wait(20) == 0
    assert watching.stderr.read() == "" and victim.poll() is None


def test_the_time_is_limited(watched):
    victim, watch, _ = watched
    watching = watch(0.2)
    assert victim.wait(20) == -9
    told = "error: TensorFlow found no way to all of worker 1 (b:1) within 0 s; "
    assert watching.communicate()[1].startswith(told)


def test_the_guard_leaves_when_told(watched):
    victim, watch, there = watched
    watching = watch(60)
    watching.stdin.close()
    assert watching.wait(20) == 0
    there.close()
    assert victim.poll() is None
