"""JSON files that anybody may have written: whole ones, and long arrays row by row."""

import json
import re
import stat
from collections import Counter
from pathlib import Path, PurePosixPath

from dino_tf.errors import UserError, first_line, plain
from dino_tf.photo_files import read_photo_file

CHUNK = 2**20  # characters read at a time
MOST_ROW = 2**26  # characters of one row of an array
FAR = 1e9  # pixels; no photo is as large
_BLANKS = " \t\r\n"


class LeftOut:
    """What a reader did not take, counted by reason, with the first of each."""

    def __init__(self):
        self._counts, self._first = Counter(), {}

    def add(self, reason, name):
        """One more, called `name`, for a reason such as "of no size"."""
        self._counts[reason] += 1
        self._first.setdefault(reason, plain(name))

    def lines(self, what):
        """A line for each reason, such as `3 boxes left out, of no size: first 17`."""
        return [
            f"{count:,} {what} left out, {reason}: first {self._first[reason]}"
            for reason, count in self._counts.items()
        ]


def load_json(file, without=()):
    """Content of a JSON file.

    Args:
        file: Path; of at most `dino_tf.photo_files.MOST_BYTES`.
        without: Keys whose values are let go while the file is read, in all objects.

    Raises:
        UserError: The file cannot be read, is no UTF-8 text or no JSON.
    """

    def kept(pairs):
        return {key: value for key, value in pairs if key not in without}

    try:
        text = read_photo_file(file).decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=kept if without else None)
    # A ValueError is no JSON or no UTF-8, or a number of thousands of digits.
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is no JSON file: {first_line(error)}") from error


def array_rows(file):
    """The objects of a JSON array, one after the other, in little memory.

    Args:
        file: Path of a file of any length.

    Yields:
        Dictionaries.

    Raises:
        UserError: The file cannot be read, is no UTF-8 text, no JSON array or no array
            of objects, or one of them has more than `MOST_ROW` characters.
    """
    try:
        _require_file(Path(file))
        with open(file, encoding="utf-8-sig") as stream:
            yield from _rows(stream)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file} is no JSON array: {first_line(error)}") from error


def starts_array(file):
    """Whether the first character of a file that is no blank is `[`."""
    try:
        _require_file(Path(file))
        with open(file, encoding="utf-8-sig") as stream:
            return stream.read(CHUNK).lstrip(_BLANKS).startswith("[")
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is no JSON file: {first_line(error)}") from error


def is_number(value):
    """Whether a value of JSON is a number that a coordinate may be."""
    # Neither NaN nor a number of thousands of digits passes.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -FAR < value < FAR


def stays_within(name):
    """Whether a file name leads to a file below the folder it is looked for in."""
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        return False
    path = PurePosixPath(name.replace("\\", "/"))
    drive = re.match(r"[A-Za-z]:", name)
    return not (path.is_absolute() or drive or ".." in path.parts or not path.parts)


def _rows(stream):
    """`array_rows` of a text stream; a ValueError says what is wrong."""
    window = _Window(stream)
    if window.next() != "[":
        raise ValueError("it does not begin with [")
    window.skip()
    separator, first = window.next(), True
    while separator != "]":
        if not first:
            if separator != ",":
                raise ValueError(f"{separator!r} between two objects")
            window.skip()
        if window.next() != "{":
            raise ValueError(f"{window.next()!r} where an object begins")
        yield window.object()
        separator, first = window.next(), False
    window.skip()
    if window.next():
        raise ValueError("more behind the array")


class _Window:
    """The part of a stream that is in memory, and the place in it."""

    def __init__(self, stream):
        self._stream, self._text, self._at = stream, "", 0
        self._decoder = json.JSONDecoder()

    def next(self):
        """The next character that is no blank; empty at the end."""
        while True:
            while self._text[self._at : self._at + 1] in tuple(_BLANKS):
                self._at += 1
            if self._at < len(self._text) or not self._more(CHUNK):
                return self._text[self._at : self._at + 1]

    def skip(self):
        """Goes on by one character."""
        self._at += 1

    def object(self):
        """The object that begins here."""
        size = CHUNK
        while True:
            try:
                value, self._at = self._decoder.raw_decode(self._text, self._at)
                return value
            except json.JSONDecodeError:
                if len(self._text) - self._at > MOST_ROW:
                    raise ValueError(f"an object above {MOST_ROW:,} letters") from None
                # Twice as much each time, so that long objects cost no square.
                if not self._more(size):
                    raise
                size *= 2

    def _more(self, size):
        """Whether there was anything left to read."""
        read = self._stream.read(size)
        self._text, self._at = self._text[self._at :] + read, 0
        return bool(read)


def _require_file(file):
    # A FIFO would block when it is opened.
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError("no file on a disk")
