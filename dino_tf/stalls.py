"""Photos that take for ever: a network share that no longer answers, told in a line."""

import contextlib
import os
import sys
import threading
import time

from dino_tf.datasets.source import Source

LOOKS = 20  # in the time that a photo may take


class TimedSource(Source):
    """Another source, of which it is known what is being read, and since when.

    Args:
        source: Any `Source`.
    """

    def __init__(self, source):
        self._source = source
        self.name, self.class_names = source.name, source.class_names
        # Thread -> (name of the photo, moment); entries of one thread are its own.
        self.reading = {}

    def __getattr__(self, name):
        # What a source has beside the common surface.
        return getattr(self.__dict__["_source"], name)

    def __len__(self):
        return len(self._source)

    def id(self, index):
        return self._source.id(index)

    def image_bytes(self, index):
        thread = threading.get_ident()
        self.reading[thread] = (self._source.id(index), time.monotonic())
        try:
            return self._source.image_bytes(index)
        finally:
            del self.reading[thread]

    def labels(self, index):
        return self._source.labels(index)

    def boxes(self, index):
        return self._source.boxes(index)

    def mask(self, index):
        return self._source.mask(index)

    def objects(self, index):
        return self._source.objects(index)

    def stamp(self):
        return self._source.stamp()

    def damage(self):
        return self._source.damage()

    def longest(self):
        """(name, seconds) of the photo that has been read for longest, or None."""
        since = list(self.reading.values())
        if not since:
            return None
        name, moment = min(since, key=lambda entry: entry[1])
        return name, time.monotonic() - moment


@contextlib.contextmanager
def stalls_end(source, seconds, tell):
    """Ends the process when one photo is being read for too long.

    A read that the system does not come back from can be neither interrupted nor
    waited for; what was saved before is whole. Time in which the process itself was
    stopped (Ctrl-Z, a laptop that sleeps) does not count.

    Args:
        source: `TimedSource`.
        seconds: The longest that a photo may take; 0 or less: for ever.
        tell: Function that is given the line of why, for a log.
    """
    if seconds <= 0:
        yield
        return
    done = threading.Event()

    def watch():
        awake = before = time.monotonic()
        while not done.wait(seconds / LOOKS):
            now = time.monotonic()
            # Looks come so late only where this thread stood still as well.
            awake, before = now if now - before > seconds / 2 else awake, now
            longest = source.longest()
            if longest and min(longest[1], now - awake) > seconds:
                _end(f"reading {longest[0]} takes longer than {seconds:g} s", tell)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _end(why, tell):
    words = f"{why}; training stopped, the last checkpoint holds"
    with contextlib.suppress(OSError):
        tell(words)
    print(f"error: {words}", file=sys.stderr, flush=True)
    os._exit(1)
