"""Errors of other libraries in one line of ours."""

import errno
import os

import pytest

from dino_tf.errors import first_line, naming


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("wrong"), "wrong"),
        (ValueError("\n  wrong  \nand more"), "wrong"),
        (FileNotFoundError(2, "gone", "a.jpg"), "[Errno 2] gone: 'a.jpg'"),
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
