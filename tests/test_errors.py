"""Errors of other libraries in one line of ours."""

import pytest

from dino_tf.errors import first_line


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
