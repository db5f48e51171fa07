"""Frames into an MP4 file, with the sound of another film."""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from dino_tf.errors import UserError
from dino_tf.visualize.ffmpeg import calling, input_of, reason_of

# Nearly as good as the original to the eye; slower presets save space, not looks.
VIDEO = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p")
COLOURS = "scale=out_color_matrix=bt709:out_range=tv"
COLOUR_TAGS = (
    *("-colorspace", "bt709", "-color_primaries", "bt709"),
    *("-color_trc", "bt709", "-color_range", "tv"),
)


class FilmWriter:
    """Writes an MP4 file that browsers and phones play: H.264, yuv420p, BT.709.

    As a context manager it puts the file in its place at the end, and removes what
    there is of it after an error.

    Args:
        path: The new `.mp4` file.
        shape: (height, width) of the frames, even numbers.
        rate: `Fraction`, frames a second.

    Raises:
        UserError: The file is there already, or cannot be written.
    """

    def __init__(self, path, shape, rate):
        self.path, self.shape = Path(path), tuple(shape)
        if self.path.exists():
            raise UserError(f"{self.path} is there already; allowed: a new name")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{self.path} cannot be written: {reason}") from error
        self.part = self.path.with_name(self.path.name + ".part")
        self._said = tempfile.TemporaryFile()
        size = ("-s", f"{shape[1]}x{shape[0]}", "-framerate", str(rate))
        raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", *size, "-i", "pipe:0")
        coded = ("-vf", COLOURS, *VIDEO, *COLOUR_TAGS)
        self._program = subprocess.Popen(
            [*calling("error"), "-y", *raw, *coded, *_into(self.part)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,
        )

    def add(self, frame):
        """Appends a frame, uint8 (height, width, 3), RGB.

        Raises:
            UserError: It cannot be written, as on a full disk.
        """
        try:
            self._program.stdin.write(np.ascontiguousarray(frame).data)
        except OSError as error:
            self._program.wait()
            raise self._failed() from error

    def close(self, film=None):
        """Puts the film in its place, with the sound of another one.

        Args:
            film: `Film` whose first sound track is taken; None takes none.

        Returns:
            A line on what became of the sound; None where there is nothing to say.

        Raises:
            UserError: The film cannot be written.
        """
        try:
            self._program.stdin.close()
        except OSError as error:
            raise self._failed() from error
        if self._program.wait():
            raise self._failed()
        lost = None
        if film is not None and film.sound:
            lost = self._add_sound(film)
        if self.path.exists():
            raise UserError(f"{self.path} came to be meanwhile; allowed: a new name")
        os.replace(self.part, self.path)
        return lost

    def _add_sound(self, film):
        """Joins pictures and sound; a sound that cannot be read costs no film."""
        both = self.part.with_name(self.path.name + ".sound.part")
        # Others than AAC are not played everywhere where they are in an MP4 file.
        codec = "copy" if film.sound == "aac" else "aac"
        tracks = ("-map", "0:v:0", "-map", "1:a:0", "-c:v", "copy", "-c:a", codec)
        inputs = ("-y", "-i", f"file:{self.part}", *input_of(film.path))
        done = subprocess.run(
            [*calling("error"), *inputs, *tracks, *_into(both)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode == 0:
            os.replace(both, self.part)
            return None
        both.unlink(missing_ok=True)
        return f"without sound: {reason_of(done.stderr.decode(errors='replace'))}"

    def _failed(self):
        self._said.seek(0)
        told = self._said.read().decode(errors="replace")
        return UserError(f"{self.path} cannot be written: {reason_of(told)}")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._program.kill()
        self._program.wait()
        self._said.close()
        for end in (".part", ".sound.part"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)


def _into(file):
    # The index in front, so that a browser can begin before it has the whole file.
    return ("-movflags", "+faststart", "-f", "mp4", f"file:{file.absolute()}")
