"""Watches over a worker while TensorFlow starts; run as a program of its own.

TensorFlow waits for the other workers without letting Python's threads run, and the
first worker waits forever. `guard.py PID SECONDS FD NAME FD NAME ...` ends process PID
with one line when the connection FD to a worker breaks, or time is up; it leaves when
its standard input closes.
"""

import os
import select
import signal
import sys
import time

LOST = "{} is gone"
GRACE = 2.5  # seconds
LATE = "TensorFlow found no way to all of {} within {:.0f} s"


def main(pid, seconds, *pairs):
    """Waits for the end of standard input, of a connection, or of the time."""
    names = dict(zip(map(int, pairs[::2]), pairs[1::2], strict=True))
    end, poll = time.monotonic() + float(seconds), select.poll()
    poll.register(0, select.POLLHUP)
    for descriptor in names:
        # Where there is no such sign, the time alone counts.
        poll.register(descriptor, getattr(select, "POLLRDHUP", 0))
    while (left := end - time.monotonic()) > 0:
        ended = {descriptor for descriptor, _ in poll.poll(1000 * left)}
        if 0 in ended:
            return
        if ended:
            return leave_time(int(pid), LOST.format(names[ended.pop()]))
    finish(int(pid), LATE.format(", ".join(names.values()), float(seconds)))


def leave_time(pid, words):
    """Ends the process unless it can do so itself, with more to say."""
    own_end = select.poll()
    own_end.register(0, select.POLLHUP)
    if not own_end.poll(1000 * GRACE):
        finish(pid, words)


def finish(pid, words):
    """Prints the line and ends the process, which cannot end itself."""
    print(f"error: {words}; start all workers again", file=sys.stderr, flush=True)
    os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
