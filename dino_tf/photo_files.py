"""Files of photos: read where that can neither block nor fill the memory."""

import os
import stat

MOST_BYTES = 2**29  # of one file

_OPEN = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_OPEN |= getattr(os, "O_NONBLOCK", 0)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_photo_file(path):
    """Content of a file; links are followed, what is no file is never opened.

    Args:
        path: Path of the file.

    Returns:
        Bytes.

    Raises:
        OSError: It is not there, may not be read, is a FIFO, a socket, a device or a
            folder, or has more than `MOST_BYTES`.
    """
    try:
        # A device may act when it is opened; the second look is at what was opened.
        _require_file(os.stat(path))
        descriptor = os.open(path, _OPEN)
    except ValueError as error:  # such as a zero byte in the name
        raise OSError(f"no name of a file ({error})") from error
    with open(descriptor, "rb", buffering=0) as file:
        _require_file(os.fstat(descriptor))
        data = file.read()
    if data is None:
        raise OSError("nothing to read; allowed: a file on a disk")
    return data


def _require_file(about):
    if not stat.S_ISREG(about.st_mode):
        kind = _KINDS.get(stat.S_IFMT(about.st_mode), "something else")
        raise OSError(f"{kind}, which is not opened; allowed: files")
    if about.st_size > MOST_BYTES:
        raise OSError(f"{about.st_size:,} bytes; allowed: {MOST_BYTES:,}")
