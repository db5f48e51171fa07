"""How far long work has come: one line of a terminal that is kept up to date."""

import sys
import time

EVERY = 0.2  # seconds between two updates; more could not be read


def keras_verbosity():
    """`verbose` of Keras: a line kept up to date, or in files one for each epoch.

    A notebook's output is no terminal, but keeps lines up to date.
    """
    return "auto" if sys.stdout.isatty() or "ipykernel" in sys.modules else 2


class ProgressLine:
    """A line on a terminal; silent elsewhere.

    Args:
        label: What is done.
        stream: Where the line goes; None is the error stream.
    """

    def __init__(self, label, stream=None):
        self.label, self.stream = label, stream or sys.stderr
        self.began = self._shown = time.monotonic()

    def show(self, text, last):
        """Shows the label and a text, where the last update is not too young.

        Args:
            text: What follows the label.
            last: Whether this is the end, which is shown always and ends the line.
        """
        now = time.monotonic()
        if (last or now - self._shown >= EVERY) and self.stream.isatty():
            end = "\n" if last else ""
            self._shown = now
            self.stream.write(f"\r{self.label}{text}{end}")
            self.stream.flush()


class ByteLine(ProgressLine):
    """A line that tells how much of a file is here: a `download.Progress`."""

    def __call__(self, done, total):
        """Shows `done` bytes, of `total` where that is known, and their speed."""
        share = f"{done / total:4.0%} of {total / 1e6:.0f} MB" if total else ""
        speed = done / 1e6 / max(time.monotonic() - self.began, 1e-3)
        text = f" {done / 1e6:.0f} MB {share} {speed:.1f} MB/s   "
        self.show(text, done == total)


class PhotoLine(ProgressLine):
    """A line that tells how many photos are done.

    Args:
        label: What is done with them.
        count: All photos, for `add`.
        stream: As for `ProgressLine`.
    """

    def __init__(self, label, count=None, stream=None):
        super().__init__(label, stream)
        self.count, self.done = count, 0

    def __call__(self, done, total):
        """Shows `done` of `total` photos."""
        self.show(f": {done:,} of {total:,} photos ", done >= total)

    def add(self, count):
        """`count` more photos are done."""
        self.done += count
        self(self.done, self.count)


class FrameLine(ProgressLine):
    """A line that tells how far a film is, how fast, and how long it will take.

    Args:
        label: Name of the film.
        count: About how many frames it has; None where nobody knows.
        stream: As for `ProgressLine`.

    Attributes:
        done: Frames so far.
    """

    def __init__(self, label, count=None, stream=None):
        super().__init__(label, stream)
        self.count, self.done = count, 0

    def add(self, count):
        """`count` more frames are done."""
        self.done += count
        self._tell(last=False)

    def end(self):
        """All frames are done, however many they were thought to be."""
        self.count = self.done
        self._tell(last=True)

    @property
    def rate(self):
        """Frames a second so far."""
        return self.done / max(time.monotonic() - self.began, 1e-3)

    def _tell(self, last):
        of, left = "", ""
        if self.count is not None:
            of = f" of {self.count:,}"
            minutes, seconds = divmod(round((self.count - self.done) / self.rate), 60)
            left = f", {minutes}:{seconds:02d} left" if minutes >= 0 else ""
        text = f": {self.done:,}{of} frames, {self.rate:.1f} a second{left}   "
        self.show(text, last)
