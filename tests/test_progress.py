"""Lines that tell how far work has come, by a clock that stands still between calls."""

import io
import sys
from types import SimpleNamespace

import pytest

from dino_tf import progress
from dino_tf.progress import ByteLine, FrameLine, PhotoLine, keras_verbosity


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock whose time is in `now`."""
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_files_get_a_line_for_each_epoch_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert keras_verbosity() == "auto"
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert keras_verbosity() == 2
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    assert keras_verbosity() == "auto"


def test_bytes_with_their_share_and_speed(clock):
    terminal = Terminal()
    line = ByteLine("voc", terminal)
    clock.now += 2
    line(3_000_000, 12_000_000)
    line(12_000_000, 12_000_000)
    assert terminal.getvalue() == (
        "\rvoc 3 MB  25% of 12 MB 1.5 MB/s   \rvoc 12 MB 100% of 12 MB 6.0 MB/s   \n"
    )


def test_bytes_of_a_file_of_unknown_length(clock):
    terminal = Terminal()
    line = ByteLine("voc", terminal)
    clock.now += 1
    line(3_000_000, None)
    assert terminal.getvalue() == "\rvoc 3 MB  3.0 MB/s   "


def test_photos(clock):
    terminal = Terminal()
    line = PhotoLine("train of x", stream=terminal)
    clock.now += 1
    line(999, 1000)
    line(1000, 1000)
    assert terminal.getvalue() == (
        "\rtrain of x: 999 of 1,000 photos \rtrain of x: 1,000 of 1,000 photos \n"
    )


def test_photos_that_are_counted(clock):
    terminal = Terminal()
    line = PhotoLine("features", 5, terminal)
    clock.now += 1
    line.add(2)
    # A last batch may be counted whole.
    line.add(4)
    assert terminal.getvalue() == (
        "\rfeatures: 2 of 5 photos \rfeatures: 6 of 5 photos \n"
    )


def test_at_most_five_updates_a_second_and_always_the_last(clock):
    terminal = Terminal()
    line = PhotoLine("x", 1000, terminal)
    for _ in range(1000):
        clock.now += 1 / 512
        line.add(1)
    text = terminal.getvalue()
    # Of 1.95 seconds, after 103 photos each, and the end.
    assert text.count("\r") == 9 + 1
    assert text.startswith("\rx: 103 of 1,000 photos \rx: 206 of")
    assert text.endswith("\rx: 1,000 of 1,000 photos \n")


def test_silent_where_there_is_no_terminal(capsys):
    file = io.StringIO()
    ByteLine("voc", file)(2, 2)
    PhotoLine("x", 2, file).add(2)
    PhotoLine("x")(2, 2)
    assert file.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_frames_with_speed_and_time_left(clock):
    terminal = Terminal()
    line = FrameLine("a.mp4", 1500, terminal)
    clock.now += 10
    line.add(250)
    clock.now += 10
    line.add(1240)
    line.end()
    assert terminal.getvalue() == (
        "\ra.mp4: 250 of 1,500 frames, 25.0 a second, 0:50 left   "
        "\ra.mp4: 1,490 of 1,500 frames, 74.5 a second, 0:00 left   "
        "\ra.mp4: 1,490 of 1,490 frames, 74.5 a second, 0:00 left   \n"
    )


def test_frames_of_a_film_of_unknown_length(clock):
    terminal = Terminal()
    line = FrameLine("a.mp4", stream=terminal)
    clock.now += 10
    line.add(20)
    assert terminal.getvalue() == "\ra.mp4: 20 frames, 2.0 a second   "
