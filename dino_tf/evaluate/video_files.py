"""Propagated masks as files: palette PNGs, sheets, films, a table of all frames."""

import csv
import shutil
from fractions import Fraction

import numpy as np
from PIL import Image

from dino_tf.errors import UserError
from dino_tf.evaluate.label_propagation import resize_nearest
from dino_tf.evaluate.masked import read_photo
from dino_tf.evaluate.splits import spread
from dino_tf.spreadsheets import harmless
from dino_tf.visualize import draw
from dino_tf.visualize.ffmpeg import ffmpeg_program
from dino_tf.visualize.film_pictures import film_shape
from dino_tf.visualize.film_writer import FilmWriter
from dino_tf.visualize.masks import outline, tile_shape

SHEETS, ROWS, COLUMNS = 2, 5, 5
# Frames a second at which DAVIS was taken.
RATE = Fraction(24)
OPACITY = 0.5


def write_files(folder, source, judged, masks):
    """Writes sheets, films, masks and a table of what was found.

    Args:
        folder: New folder.
        source: `FilmSource`.
        judged: See `dino_tf.evaluate.video_tracks.FilmTracks.judged`.
        masks: Function of a `Film` that returns the folder of its masks.

    Returns:
        List of paths: sheets, the table, films (none without ffmpeg), and the folder
        of all masks.
    """
    films = list(judged)
    shown = [films[i] for i in spread(len(films), SHEETS * ROWS)]
    paths = []
    for start in range(0, len(shown), ROWS):
        rows = [
            _row(source, film, judged[film], masks(film))
            for film in shown[start : start + ROWS]
        ]
        title = f"{source.name}: masks from the first frame, true outlines in white"
        path = folder / f"masks-{1 + start // ROWS}.png"
        paths.append(draw.save_png(draw.compose(rows, title), path))
    paths.append(write_table(folder / "frames.csv", source, judged))
    for film in films:
        if missing_ffmpeg() is None:
            path = folder / "films" / f"{film.name}.mp4"
            paths.append(write_film(path, source, film, masks(film)))
        shutil.copytree(masks(film), folder / "masks" / film.name)
    return [*paths, folder / "masks"] if films else paths


def missing_ffmpeg():
    """What is needed to write films, in words; None where nothing is missing."""
    try:
        ffmpeg_program()
    except UserError as error:
        return str(error)
    return None


def save_mask(path, objects, palette):
    """Writes a mask in the form of the benchmark: numbers, with a palette.

    Args:
        path: Of the new PNG file.
        objects: uint8 (H, W).
        palette: `dino_tf.datasets.film.Palette`.

    Raises:
        UserError: It cannot be written, as on a full disk.
    """
    image = Image.fromarray(np.ascontiguousarray(palette.numbers(objects)))
    image.putpalette(palette.colours.tobytes())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path} cannot be written: {reason}") from error


def write_film(path, source, film, masks):
    """Writes a film with its masks as an MP4 file.

    Args:
        path: Of the new file.
        source: `FilmSource`.
        film: One of its films.
        masks: Folder of its masks. A frame that cannot be read is black below them.

    Returns:
        `path`.
    """
    with Image.open(masks / f"{film.stems[0]}.png") as first:
        shape = film_shape(first.size[::-1])
    with FilmWriter(path, shape, RATE) as writer:
        for place in range(film.start, film.stop):
            picture = overlaid(source, film, place, masks)
            if picture.shape[:2] != shape:
                picture = draw.resize(picture, shape, "bicubic")
            writer.add(picture)
        writer.close()
    return path


def overlaid(source, film, place, masks):
    """A frame with its masks, uint8 (H, W, 3), in the size of the masks.

    Args:
        source: `FilmSource`.
        film: One of its films.
        place: Of the frame in the source.
        masks: Folder of the film's masks.
    """
    with Image.open(masks / f"{film.stems[place - film.start]}.png") as image:
        numbers = np.array(image)
    picture = read_photo(source, place)
    if picture is None:
        picture = np.zeros((*numbers.shape, 3), np.uint8)
    if picture.shape[:2] != numbers.shape:
        picture = draw.resize(picture, numbers.shape, "bicubic")
    for number in np.unique(numbers):
        if number:
            colour = draw.COLOURS[(int(number) - 1) % len(draw.COLOURS)]
            mask = numbers == number
            picture = draw.overlay(picture, colour, OPACITY * mask)
            picture = outline(picture, mask[None], [colour])
    return picture


def write_table(path, source, judged):
    """Writes J and F of every object in every judged frame, for spreadsheets.

    Args:
        path: Of the new .csv file.
        source: `FilmSource`.
        judged: As for `write_files`.

    Returns:
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["frame", "object", "j", "f"])
        for found in judged.values():
            for row, number in enumerate(found["numbers"].tolist()):
                columns = (found["places"].tolist(), found["j"][row], found["f"][row])
                for place, j, f in zip(*columns, strict=True):
                    name = harmless(source.id(place))
                    table.writerow([name, number, f"{j:.4f}", f"{f:.4f}"])
    return path


def _row(source, film, found, masks):
    """Tiles of a few frames of a film, from the first to the last one judged."""
    last = int(found["places"][-1]) if len(found["places"]) else film.stop - 1
    places = np.unique(np.linspace(film.start, last, COLUMNS).astype(int))
    tiles = []
    for place in places.tolist():
        picture, truth = overlaid(source, film, place, masks), source.objects(place)
        shape = tile_shape(picture.shape[:2])
        picture = draw.resize(picture, shape)
        if truth is not None:
            small = resize_nearest(truth, shape)
            true = [small == number for number in found["numbers"]]
            picture = outline(picture, np.reshape(true, (-1, *shape)).astype(bool))
        tiles.append(draw.Tile(picture, _caption(source, film, place, found)))
    return tiles


def _caption(source, film, place, found):
    """Name of the frame and the mean J of its objects."""
    if place == film.start:
        return f"{source.id(place)}: given"
    columns = np.flatnonzero(found["places"] == place)
    if not (len(columns) and len(found["numbers"])):
        return source.id(place)
    return f"{source.id(place)}: J {100 * found['j'][:, columns[0]].mean():.1f}"
