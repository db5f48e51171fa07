"""Films of what a network attends to, frame after frame, however long they are."""

import collections
import contextlib
import itertools
import pathlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dino_tf.errors import UserError
from dino_tf.evaluate.features import compiled
from dino_tf.progress import FrameLine
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, normalize
from dino_tf.visualize import draw
from dino_tf.visualize.attention import MOST_TOKENS, attention_grid
from dino_tf.visualize.film_files import Film, FrameFolder, Unreadable
from dino_tf.visualize.film_pictures import FramePainter, film_shape
from dino_tf.visualize.film_writer import FilmWriter

# Frames in one forward pass: as many as have about so many tokens, and at most 16.
# More would not be faster on a processor, and every frame waits in memory.
MOST_FRAMES = 16
# Batches that are read, and drawn, while the network works on another.
WAITING = 2
END = object()


@dataclass
class FilmOptions:
    """How films are drawn.

    Args:
        size: Shorter side given to the network, in pixels.
        fps: Frames a second; None takes those of the film, of a folder 30.
        drawing: "overlay", "side", "map" or "masked"; see `FramePainter`.
        keep_mass: Share of the attention that is drawn; None draws all.
        head: "mean", "all", or the number of a head.
        frames: Whether every frame is written as a PNG file, too.
        mean: Of red, green, blue in 0 to 1, as in training.
        std: Of red, green, blue in 0 to 1, as in training.

    Raises:
        UserError: A number out of range, or an unknown word.
    """

    size: int = 480
    fps: float | None = None
    drawing: str = "overlay"
    keep_mass: float | None = None
    head: str | int = "mean"
    frames: bool = False
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD

    def __post_init__(self):
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise UserError(f"fps: got {self.fps}, allowed: above 0, at most 1000")
        if self.head not in ("mean", "all"):
            try:
                self.head = int(self.head)
            except ValueError as error:
                raise UserError(
                    f"head: got {self.head!r}, allowed: mean, all, or a number from 0"
                ) from error
        self.painter((2, 2), 1)

    def painter(self, shape, rate):
        """`FramePainter` of one film."""
        return FramePainter(shape, rate, self.drawing, self.keep_mass, self.head)


def open_film(path):
    """`Film` of a file, `FrameFolder` of a folder.

    Raises:
        Unreadable: No frame of it can be read.
    """
    return (FrameFolder if pathlib.Path(path).is_dir() else Film).open(path)


def results(stem, out, options):
    """What a film of this name writes: the film, and the folder of its frames.

    Raises:
        UserError: One of them is there already.
    """
    places = [out / f"{stem}.mp4", *([out / stem] if options.frames else [])]
    for place in places:
        if place.exists():
            raise UserError(
                f"{place} is there already and is not overwritten; allowed: another "
                "--out"
            )
    return places


def write_film(backbone, film, stem, out, options):
    """Draws attention on every frame, in memory that does not grow with the film.

    Frames are read and resized in one thread, drawn and handed to the encoder in
    another one, in order, while the network works.

    Args:
        backbone: See `dino_tf.visualize.attention.attention_maps`.
        film: `Film` or `FrameFolder`.
        stem: The film becomes `<out>/<stem>.mp4`, frames `<out>/<stem>/00000001.png`.
        out: Folder; made where it is missing.
        options: `FilmOptions`.

    Returns:
        (path of the new film, its `FrameLine`, list of lines on what was lost).

    Raises:
        Unreadable: No frame can be read.
        UserError: Results are there already, a file cannot be written, or the network
            takes no such size.
    """
    path, *folder = results(stem, pathlib.Path(out), options)
    rate = _rate(film, options.fps)
    shape = film_shape(film.shape)
    network = FilmNetwork(backbone, film.shape, options)
    sink = _Sink(path, folder[0] if folder else None, options.painter(shape, rate))
    line, damage = FrameLine(path.name, film.count(rate)), []
    batches = ahead(network.batches(film.frames(shape, rate, damage)), WAITING)
    with sink, contextlib.closing(batches), ThreadPoolExecutor(1) as drawing:
        drawn = collections.deque()
        try:
            for batch in batches:
                drawn.append(drawing.submit(sink.add, batch.frames, network(batch)))
                if len(drawn) > WAITING:
                    line.add(drawn.popleft().result())
            for last in drawn:
                line.add(last.result())
        except BaseException:
            drawing.shutdown(cancel_futures=True)
            raise
        if not line.done:
            raise Unreadable("; ".join(damage[:1]) or "no frame in it")
        lost = sink.finish(film)
    line.end()
    return path, line, [*_told(damage), *([lost] if lost else [])]


def _told(damage):
    """The lines on a film's damage as one, or none."""
    if not damage:
        return []
    more = f", and {len(damage) - 1} more" if len(damage) > 1 else ""
    return [f"not all of it could be read: {damage[0]}{more}"]


@dataclass
class Batch:
    """Frames that go through the network together.

    Attributes:
        frames: List of uint8 (H, W, 3), as they are drawn on.
        pixels: uint8 (B, h, w, 3), as the network sees them; B is the same for all
            batches of a film, and the last has empty ones at its end.
    """

    frames: list
    pixels: np.ndarray


class FilmNetwork:
    """One compiled pass for all frames of a film.

    Args:
        backbone: See `attention_maps`.
        shape: (height, width) of the film in pixels.
        options: `FilmOptions`.

    Attributes:
        shape: (height, width) of what the network sees, in pixels.
        count: Frames in one pass.
    """

    def __init__(self, backbone, shape, options):
        patch = backbone.patch_size
        self.grid = attention_grid(shape, patch, options.size)
        self.shape = tuple(patch * side for side in self.grid)
        tokens = self.grid[0] * self.grid[1]
        self.count = max(1, min(MOST_FRAMES, MOST_TOKENS // tokens))

        def forward(frames):
            pixels = normalize(frames, options.mean, options.std)
            return cls_attention(backbone, pixels)

        self._forward = compiled(forward)

    def batches(self, frames):
        """`Batch` after `Batch` of an iterator of frames, which it closes."""
        try:
            while taken := list(itertools.islice(frames, self.count)):
                pixels = np.zeros((self.count, *self.shape, 3), np.uint8)
                for place, frame in zip(pixels, taken, strict=False):
                    place[:] = draw.resize(frame, self.shape, "bicubic")
                yield Batch(taken, pixels)
        finally:
            frames.close()

    def __call__(self, batch):
        """Attention of CLS, float32 (b, heads, h, w), of the b frames of a batch."""
        found = self._forward(batch.pixels).numpy()[: len(batch.frames)]
        return found.reshape(*found.shape[:2], *self.grid)


def cls_attention(backbone, pixels):
    """Attention of CLS to the patches in the last block.

    Where the network allows, that of no other token is computed.

    Args:
        backbone: See `attention_maps`.
        pixels: (B, H, W, 3), normalised.

    Returns:
        Tensor (B, heads, h * w), float32.
    """
    prefix = backbone.num_prefix_tokens
    if getattr(backbone, "rope_periods", True) is None:
        tokens = backbone.embed(pixels)
        found = backbone.extract_from(tokens, ["queries", "keys"])
        attention = backbone.blocks[-1].attn
        maps = attention.weights_of(found["queries"][:, :1], found["keys"])
    else:
        maps = backbone.extract(pixels, ["attention"])["attention"]
    return maps[:, :, 0, prefix:]


def ahead(items, most):
    """The items of a generator, made in another thread before they are asked for.

    Args:
        items: Generator; it is closed when this one is.
        most: Items that may wait.

    Yields:
        The items, in order.
    """
    with ThreadPoolExecutor(1) as pool:
        try:
            waiting = [pool.submit(next, items, END) for _ in range(most)]
            waiting = collections.deque(waiting)
            while (item := waiting.popleft().result()) is not END:
                waiting.append(pool.submit(next, items, END))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)
            items.close()


class _Sink:
    """Draws frames and writes them; the encoder starts with the first one.

    As a context manager it leaves nothing behind but what `finish` put in its place.

    Args:
        path: The new film.
        folder: New folder of the frames; None writes none.
        painter: `FramePainter`.
    """

    def __init__(self, path, folder, painter):
        self.path, self.folder, self.painter = path, folder, painter
        self._writer, self._number = None, 0
        self._part = path.with_name(path.stem + ".part")

    def add(self, frames, maps):
        """Draws and writes some frames; their number."""
        for frame, attention in zip(frames, maps, strict=True):
            picture = self.painter(frame, attention)
            if self._writer is None:
                shape = picture.shape[:2]
                self._writer = FilmWriter(self.path, shape, self.painter.rate)
            self._writer.add(picture)
            self._number += 1
            if self.folder is not None:
                self._save(picture)
        return len(frames)

    def _save(self, picture):
        try:
            draw.save_png(picture, self._part / f"{self._number:08d}.png")
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{self._part} cannot be written: {reason}") from error

    def finish(self, film):
        """Puts all in place; a line on the sound of `film` where it is lost."""
        lost = self._writer.close(film)
        if self.folder is not None:
            self._part.replace(self.folder)
        return lost

    def __enter__(self):
        if self.folder is not None:
            shutil.rmtree(self._part, ignore_errors=True)
        return self

    def __exit__(self, *error):
        if self._writer is not None:
            self._writer.__exit__(*error)
        if self.folder is not None:
            shutil.rmtree(self._part, ignore_errors=True)


def _rate(film, fps):
    """`Fraction`: what was asked for, as a film can say it, or the film's own."""
    if fps is None:
        return film.rate
    return Fraction(fps).limit_denominator(1001)
