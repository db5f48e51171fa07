"""Ctrl-C and SIGTERM: the training step is finished and saved; the second leaves."""

import contextlib
import os
import signal
import socket
import sys
import threading

STOPPING = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


class StopRequest:
    """Whether a person, or the system, wants the training to stop.

    Attributes:
        asked: Number of the first signal that came, None before.
    """

    def __init__(self):
        self.asked = None

    @contextlib.contextmanager
    def listening(self, say):
        """Takes Ctrl-C and SIGTERM as wishes to stop after the running step.

        A second one ends the process at once. Works in the main thread only; elsewhere
        signals go where they always do.

        Args:
            say: Function that shows a line to the person.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        # Python's own handlers wait for the end of a step; these bytes do not.
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        before = {number: signal.signal(number, _nothing) for number in STOPPING}
        old = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        ear = threading.Thread(target=self._listen, args=(reader, say), daemon=True)
        ear.start()
        try:
            yield self
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            writer.close()
            ear.join()
            reader.close()

    def _listen(self, reader, say):
        while heard := reader.recv(1):
            number = heard[0]
            if number not in STOPPING:
                continue
            if self.asked is not None:
                say("left at once; the last checkpoint holds")
                sys.stdout.flush()
                os._exit(128 + number)
            self.asked = number
            say(
                f"\n{STOPPING[number]}: stopping after this step, then saving (once "
                "more: at once)"
            )


def _nothing(number, frame):
    """Takes the place of handlers that would end the process in the middle."""
