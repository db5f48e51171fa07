"""Frames out of films, and out of folders of pictures, one after the other."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from dino_tf.datasets.folder import find_images
from dino_tf.photo_files import read_photo_file
from dino_tf.transforms.image import try_decode
from dino_tf.visualize import draw
from dino_tf.visualize.ffmpeg import calling, input_of, reason_of

FILM_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
# Of the published `video_generation.py`, for frames that lie in a folder.
FOLDER_RATE = Fraction(30)
# Rates guessed from time stamps may be far above the frames that there are.
GUESS_OFF = 1.1
PROBE_SECONDS = 120


class Unreadable(ValueError):
    """A film or photo that cannot be read; says why in one line."""


@dataclass(frozen=True)
class Film:
    """A film file.

    Attributes:
        path: The file.
        shape: (height, width) in pixels as it is to be seen: turned upright, with
            square pixels.
        rate: Frames a second.
        seconds: How long it is; None where the file does not tell.
        sound: Name of the codec of its first sound track; None without one.
    """

    path: Path
    shape: tuple[int, int]
    rate: Fraction
    seconds: float | None
    sound: str | None

    @classmethod
    def open(cls, path):
        """The film at `path`, whose first frame is decoded.

        Raises:
            Unreadable: It holds no moving pictures that can be decoded.
            UserError: ffmpeg is missing.
        """
        # The header of this format tells size and rate behind all turning.
        look = ("-map", "0:V:0", "-frames:v", "1", "-pix_fmt", "yuv420p")
        command = [*calling("info"), *input_of(path), *look, "-f", "yuv4mpegpipe", "-"]
        try:
            done = subprocess.run(
                command, capture_output=True, timeout=PROBE_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Unreadable(f"no frame within {PROBE_SECONDS} seconds") from error
        told = done.stderr.decode(errors="replace")
        header = done.stdout[:200].partition(b"\n")[0].decode(errors="replace")
        facts = dict((word[0], word[1:]) for word in header.split()[1:])
        if not header.startswith("YUV4MPEG2") or not {"W", "H", "F"} <= set(facts):
            raise Unreadable(reason_of(told, path))
        width, height = int(facts["W"]), int(facts["H"])
        width = max(1, round(width * _ratio(facts.get("A", "1:1"))))
        about = told.partition("Output #0")[0]
        rate = _rate(_ratio(facts["F"]), about)
        sound = re.search(r"Stream #0:.*Audio: (\w+)", about)
        return cls(
            Path(path),
            (height, width),
            rate,
            _seconds(about),
            sound.group(1) if sound else None,
        )

    def count(self, rate):
        """About how many frames there are at a rate; None where nobody knows."""
        return None if self.seconds is None else max(1, round(self.seconds * rate))

    def frames(self, shape, rate, damage):
        """Frames at a constant rate, from the film's beginning on.

        Frames are repeated or left out where the film's own come slower or faster.

        Args:
            shape: (height, width) of the frames.
            rate: `Fraction`, frames a second.
            damage: List that gets a line where the film could not be read in whole.

        Yields:
            uint8 (height, width, 3), RGB.
        """
        height, width = shape
        filters = f"fps={rate}:start_time=0,scale={width}:{height}:flags=bicubic"
        raw = ("-map", "0:V:0", "-vf", filters, "-pix_fmt", "rgb24", "-f", "rawvideo")
        with tempfile.TemporaryFile() as said:
            program = subprocess.Popen(
                [*calling("error"), *input_of(self.path), *raw, "-"],
                stdout=subprocess.PIPE,
                stderr=said,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                size = height * width * 3
                while len(data := program.stdout.read(size)) == size:
                    yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
                program.wait()
                damage += _complaints(said, program.returncode, self.path)
            finally:
                program.kill()
                program.stdout.close()
                program.wait()


@dataclass(frozen=True)
class FrameFolder:
    """Pictures in a folder as the frames of a film, in the order of their numbers.

    Attributes:
        path: The folder.
        files: The pictures.
        shape: (height, width) of the first one; the others are made equal to it.
        rate: Frames a second.
        sound: None.
    """

    path: Path
    files: tuple[Path, ...]
    shape: tuple[int, int]
    rate: Fraction = FOLDER_RATE
    sound: None = None

    @classmethod
    def open(cls, path):
        """The pictures directly in the folder `path`.

        Raises:
            Unreadable: None of them can be read.
        """
        path = Path(path)
        files = [Path(f) for f in find_images(path) if Path(f).parent == path]
        files.sort(key=_natural)
        first = next((i for i in map(_picture, files) if i is not None), None)
        if first is None:
            raise Unreadable(f"none of {len(files)} pictures in it can be read")
        return cls(path, tuple(files), first.shape[:2])

    def count(self, rate):
        """Number of the files."""
        return len(self.files)

    def frames(self, shape, rate, damage):
        """The pictures in the shape asked for, see `Film.frames`; none is repeated."""
        for file in self.files:
            picture = _picture(file)
            if picture is None:
                damage.append(f"{file.name} cannot be read")
            elif picture.shape[:2] == tuple(shape):
                yield picture
            else:
                yield draw.resize(picture, shape, "bicubic")


def _ratio(text):
    """`Fraction` of `25:1`; 1 of `0:0`, which means unknown."""
    above, _, below = text.partition(":")
    return Fraction(int(above), int(below)) if int(above) and int(below) else 1


def _rate(guess, about):
    """Frames a second: the exact guess where the mean agrees, else the mean."""
    found = re.search(r"Stream #0:.*Video:.*?([\d.]+) fps", about)
    mean = Fraction(found.group(1)) if found else Fraction(0)
    if mean and not 1 / GUESS_OFF < guess / mean < GUESS_OFF:
        return mean
    return Fraction(guess)


def _seconds(about):
    found = re.search(r"Duration: (\d+):(\d+):(\d+(?:\.\d+)?)", about)
    if not found:
        return None
    hours, minutes, seconds = map(float, found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _complaints(said, code, path):
    said.seek(0)
    told = said.read(10_000).decode(errors="replace")
    return [reason_of(told, path)] if code or told.strip() else []


def _picture(file):
    return try_decode(partial(read_photo_file, file))[0]


def _natural(file):
    """`frame-2` before `frame-10`."""
    parts = re.split(r"(\d+)", file.name)
    return [(int(p), "") if p.isdigit() else (-1, p) for p in parts]
