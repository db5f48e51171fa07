"""Signals: the first is a wish, the second ends the process, before and after: none."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dino_tf.stopping import StopRequest


def heard(stop):
    end = time.monotonic() + 60
    while stop.asked is None and time.monotonic() < end:
        time.sleep(0.01)
    return stop.asked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_wish_and_handlers_come_back(number):
    before, said = signal.getsignal(number), []
    with StopRequest().listening(said.append) as stop:
        assert stop.asked is None
        os.kill(os.getpid(), number)
        assert heard(stop) == number
    assert "stopping after this step" in said[0]
    assert signal.getsignal(number) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_other_threads_leave_signals_alone():
    before, asked = signal.getsignal(signal.SIGINT), []

    def listen():
        with StopRequest().listening(print) as stop:
            asked.append((stop.asked, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert asked == [(None, before)]


BUSY = """
import hashlib
from dino_tf.stopping import StopRequest
with StopRequest().listening(lambda line: print(line, flush=True)):
    print("ready", flush=True)
    # As a training step: one call into C, during which no handler of Python's runs.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


def test_the_second_signal_ends_a_process_that_is_busy():
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C: stopping after this step" in (
        process.stdout.readline() + process.stdout.readline()
    )
    process.send_signal(signal.SIGINT)
    assert "left at once" in process.stdout.read()
    assert process.wait(60) == 130
