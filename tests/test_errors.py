"""Errors of other libraries in one line of ours."""

import errno
import os

import pytest

from dino_tf.errors import first_line, naming, plain


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("wrong"), "wrong"),
        (ValueError("\n  wrong  \nand more"), "wrong"),
        (FileNotFoundError(2, "gone", "a.jpg"), "gone"),
        (OSError(110, "timed out"), "[Errno 110] timed out"),
        (TimeoutError(), "TimeoutError"),
        (OSError(" \n"), "OSError"),
    ],
)
def test_first_line(error, words):
    assert first_line(error) == words


def test_naming_gives_the_file_where_the_system_does_not():
    with pytest.raises(OSError, match="No space left on device: 'a.json'"):
        with naming("a.json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match="'b.json'"), naming("a.json"):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), "b.json")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Jürgens Föhn 写真 😀.jpg", "Jürgens Föhn 写真 😀.jpg"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\udcff\ud800", "\\udcff\\ud800"),
        (3, "3"),
    ],
)
def test_plain(text, shown):
    assert plain(text) == shown
