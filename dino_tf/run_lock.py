"""One writer for a run folder: a lock that ends with its process."""

import contextlib
import json
import os
import pathlib
import socket
import time

from filelock import FileLock, Timeout

from dino_tf.errors import UserError, plain

LOCK, HOLDER = ".lock", ".holder.json"


@contextlib.contextmanager
def only_writer(folder, say=print):
    """Holds the lock of a run folder; the system frees it whatever the process' end.

    Args:
        folder: An existing folder.
        say: Function that is told when the last holder ended without freeing it.

    Raises:
        UserError: Another process holds it; it is named.
    """
    folder = pathlib.Path(folder)
    holder, lock = folder / HOLDER, FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{folder} is being written by {_told(holder)}; allowed: waiting for its "
            "end, or another --run.name"
        ) from None
    try:
        if holder.exists():
            say(f"{_told(holder)} left {folder} without an end; its lock is taken over")
        who = {"process": os.getpid(), "host": socket.gethostname()}
        who |= {"since": time.strftime("%Y-%m-%d %H:%M:%S")}
        # A link in its place would be written through, so it is never opened.
        holder.unlink(missing_ok=True)
        with open(holder, "x", encoding="utf-8") as file:
            file.write(json.dumps(who))
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _told(holder):
    """Who holds a lock, in words."""
    try:
        who = json.loads(holder.read_text(encoding="utf-8"))
        told = f"process {who['process']} on {who['host']} (since {who['since']})"
        return plain(told[:200])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
