"""Errors that end the program with a code of their own, told in one line."""

import contextlib


class UserError(ValueError):
    """A mistake in arguments or data, told in one line; the program exits with 2.

    The message says what was received and what is allowed.
    """


class ExportError(RuntimeError):
    """An export that does not give what its source gives; the program exits with 1."""


class Diverged(RuntimeError):
    """The loss is no longer a finite number; the program exits with 3."""


class Interrupted(RuntimeError):
    """Training stopped because a signal asked for it, and is saved.

    Args:
        words: What was saved.
        number: Number of the signal; the program exits with 128 and it.
    """

    def __init__(self, words, number):
        super().__init__(words)
        self.number = number


class WorkerLost(RuntimeError):
    """Another worker of the training is gone; the program exits with 1."""


def plain(text):
    r"""A text with everything escaped that is no letter of one line: `\n`, `\udcff`.

    Names of files may hold any bytes but a slash and a zero: what moves a terminal's
    cursor or renames its window, and what is no UTF-8, in Python's text lone
    surrogates, which no terminal takes.

    Args:
        text: Text, or a path.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


@contextlib.contextmanager
def naming(path):
    """Gives the `OSError` of what is done with an open file the file's name."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


def first_line(error):
    """First line of another library's error, for a message of our own.

    The system's words alone where a file is refused: the message names it. The name
    of the error's type where it has no text.
    """
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return error.strerror
    return str(error).strip().partition("\n")[0].rstrip() or type(error).__name__
