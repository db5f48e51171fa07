"""ffmpeg, a program of its own: where it is, how it is called, what it says.

So it decodes and encodes beside the network, and no damaged film can end this process.
"""

import re
import shutil
from pathlib import Path

from dino_tf.errors import UserError, first_line


def ffmpeg_program():
    """Path of ffmpeg: that of the package imageio-ffmpeg, else the system's own.

    Raises:
        UserError: There is neither.
    """
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        found = shutil.which("ffmpeg")
    if found is None:
        raise UserError("films need ffmpeg: pip install imageio-ffmpeg")
    return found


def calling(level):
    """How every command begins.

    Args:
        level: What it tells on its error stream: "error", or "info" for facts, too.
    """
    return [ffmpeg_program(), "-hide_banner", "-nostdin", "-v", level]


def input_of(path):
    """Options that read a file, whatever its name begins with.

    What a list in it names is read from files alone, never from the network.
    """
    return ["-protocol_whitelist", "file", "-i", f"file:{Path(path).absolute()}"]


def reason_of(told, path=None):
    """The most telling line of what ffmpeg said.

    Args:
        told: Its error stream.
        path: The file it was about, which the line need not name.
    """
    lines = [re.sub(r"^(\[[^]]*\] )+", "", line) for line in told.splitlines()]
    lines = [line.strip() for line in lines if line.strip()]
    telling = "not found|invalid|error|no space|matches no|could not|permission|unknown"
    found = [line for line in lines if re.search(telling, line, re.IGNORECASE)]
    reason = first_line((found or lines or ["ffmpeg ended without a word"])[0])
    if "matches no streams" in reason:
        return "no moving pictures in it"
    return reason if path is None else reason.replace(f"{Path(path).absolute()}", "it")
