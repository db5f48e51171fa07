"""JSON of a run folder that anybody may have written: plain values or nothing.

Nothing here raises: what is no number, no text or too long is left out.
"""

import json
import math

from dino_tf.errors import plain

# Bytes of a file, lines of a log, entries of a list, letters of a text.
MOST_BYTES, MOST_RECORDS, MOST_ENTRIES, MOST_LETTERS = 2**26, 200_000, 500, 2000


def read_text(path):
    """Text of a file, its first `MOST_BYTES` bytes; "" where it cannot be read."""
    try:
        # Pipes and devices have no end.
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def read_object(path):
    """Dictionary of a JSON file; None where it is none."""
    return _parsed(read_text(path))


def read_records(path):
    """Dictionaries of a file with one in each line, up to the first that is none.

    Each has a finite "epoch".
    """
    records = []
    for line in read_text(path).splitlines()[:MOST_RECORDS]:
        record = _parsed(line)
        if record is None:
            break
        if number(record.get("epoch")) is not None:
            records.append(record)
    return records


def number(value):
    """A finite number as it is; None for everything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if abs(value) < 1e300 and math.isfinite(value) else None


def text(value):
    """Anything as one line that is not too long."""
    return plain(_words(value)[:MOST_LETTERS])


def texts(values):
    """The entries of a list as lines; a text is one."""
    if isinstance(values, str):
        values = [values]
    return [text(value) for value in entries(values)]


def entries(values):
    """The first entries of a list; none of anything else."""
    return values[:MOST_ENTRIES] if isinstance(values, list) else []


def members(values):
    """The first entries of a dictionary; none of anything else."""
    if not isinstance(values, dict):
        return {}
    return dict(list(values.items())[:MOST_ENTRIES])


def _parsed(line):
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _words(value):
    try:
        return str(value)
    except (ValueError, RecursionError):  # numbers and lists without an end
        return "..."
