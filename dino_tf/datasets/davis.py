"""DAVIS 2016 and 2017: films with masks, in the layouts of their releases."""

import functools
import io
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from dino_tf.datasets.film import VOID, Film, FilmSource, Palette, voc_colours
from dino_tf.datasets.folder import EXTENSIONS, find_images
from dino_tf.datasets.source import digest_of_files
from dino_tf.errors import UserError, first_line
from dino_tf.photo_files import read_photo_file
from dino_tf.photo_headers import photo_header
from dino_tf.pillow_errors import UNREADABLE

# Folders below `JPEGImages` and `Annotations`; the first is what results are told of.
RESOLUTIONS = ("480p", "1080p", "Full-Resolution")
# Folders below `ImageSets`: of 2016 as in the release of 2017, then as in its own.
LISTS = {2016: ("2016", "480p", "1080p", ""), 2017: ("2017", "")}
SPLITS = {"train": "train", "test": "val"}
# More cannot be told apart from a picture that is no mask.
MOST_OBJECTS = 64


class Davis(FilmSource):
    """Films of one list, as frames and masks in folders of their names.

    Args:
        year: 2017 tells several objects of a film apart, 2016 takes all for one.
        frames: Folder with a folder of frames for each film.
        masks: Folder with a folder of PNG files for each film, which are named as the
            frames are. Frames may lack one.
        names: Films in order; those without frames are `absent`.

    Raises:
        UserError: None of the films has frames.
    """

    def __init__(self, year, frames, masks, names):
        self.name, self.year = f"davis{year}", year
        self._palettes = {}
        self._files, self._masks, films, absent = [], [], [], []
        for name in names:
            files = frames_of(Path(frames) / name)
            if not files:
                absent.append(name)
                continue
            start, stems = len(self._files), tuple(file.stem for file in files)
            films.append(Film(name, start, start + len(files), stems))
            self._files += files
            self._masks += [Path(masks) / name / f"{stem}.png" for stem in stems]
        if not films:
            raise UserError(
                f"none of {len(absent)} films has frames in {frames}; allowed: folders "
                f"of frames, such as {absent[0] if absent else 'bear'}/00000.jpg"
            )
        self.films, self.absent = tuple(films), tuple(absent)

    def image_bytes(self, index):
        return read_photo_file(self._files[index])

    def stamp(self):
        names = [self.id(index) for index in range(len(self))]
        return digest_of_files([*self._files, *self._masks], 2 * names)

    def objects(self, index):
        """Masks of the objects, or None where the frame has none.

        Raises:
            UserError: The file is no whole PNG file of so few numbers.
        """
        file = self._masks[index]
        if not file.is_file():
            return None
        numbers = read_numbers(file)[0]
        if self.palette(self.film_of(index)).object_number:
            return (numbers > VOID // 2).astype(np.uint8)
        count = len(np.unique(numbers))
        if count > MOST_OBJECTS:
            raise UserError(
                f"mask {file} has {count} numbers; allowed: {MOST_OBJECTS}, one for "
                "each object, or black and white for one"
            )
        if self.year == 2016:
            return np.where(numbers == VOID, VOID, numbers > 0).astype(np.uint8)
        return numbers

    def palette(self, film):
        """Colours of the first mask that shows anything; greys stay greys."""
        if film.name not in self._palettes:
            self._palettes[film.name] = self._palette(film)
        return self._palettes[film.name]

    def _palette(self, film):
        for file in self._masks[film.start : film.stop]:
            if not file.is_file():
                continue
            numbers, colours = read_numbers(file)
            if not numbers.any():
                continue
            if colours is not None:
                return Palette(colours)
            if not ((numbers > 0) & (numbers <= VOID // 2)).any():
                greys = np.arange(256, dtype=np.uint8)[:, None]
                return Palette(greys.repeat(3, axis=1), 255)
            break
        return Palette(voc_colours())


def open_davis(year: int, root: str | Path, split: str = "train") -> Davis | None:
    """Opens a list of films of DAVIS.

    Args:
        year: 2016 or 2017.
        root: The folder of `JPEGImages` and `Annotations`, or one that holds it as
            `DAVIS`.
        split: "train", "test" (the list `val`), or the name of a list in `ImageSets`.
            Without lists, or where none of the films of `train` is there, all films
            are the split "train".

    Returns:
        The source, or None when `split` is "test" and there is no such list.

    Raises:
        UserError: The data set, the list or all its frames are missing.
    """
    folder, resolution = find_davis(root)
    frames, masks = (folder / k / resolution for k in ("JPEGImages", "Annotations"))
    lists = _lists(folder, year)
    everything = sorted(p.name for p in frames.iterdir() if p.name[0] != ".")
    everything = [name for name in everything if frames_of(frames / name)]
    name = SPLITS.get(split, split)
    if name in lists:
        names = read_list(lists[name])
        if split != "train" or set(names) & set(everything):
            return Davis(year, frames, masks, names)
    elif split == "test":
        return None
    elif split != "train":
        allowed = ", ".join(["train", *lists])
        raise UserError(f"{folder} has no list {split!r} of {year}; allowed: {allowed}")
    return Davis(year, frames, masks, everything)


def find_davis(root):
    """(folder of `JPEGImages`, resolution) in a folder, or in `DAVIS` below it.

    Raises:
        UserError: There is none.
    """
    root = Path(root).expanduser()
    for folder in (root, root / "DAVIS"):
        for resolution in RESOLUTIONS:
            if (folder / "JPEGImages" / resolution).is_dir():
                return folder, resolution
    raise UserError(
        f"no DAVIS in {root}; allowed: a folder with JPEGImages/480p/FILM/00000.jpg "
        "and Annotations/480p/FILM/00000.png"
    )


def frames_of(folder):
    """Photos that lie directly in a folder, by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    return [file for file in find_images(folder, EXTENSIONS) if file.parent == folder]


def read_list(file):
    """Names of films, each once: a name a line, or the paths of a frame and its mask.

    Raises:
        UserError: The file is no text, or a line is no such thing.
    """
    try:
        lines = read_photo_file(file).decode("utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{file} is no UTF-8 text: {first_line(error)}") from error
    names = {}
    for line in filter(None, map(str.strip, lines)):
        path = PurePosixPath(line.split()[0].replace("\\", "/"))
        name = path.parent.name if len(path.parts) > 1 else path.name
        if name in ("", "..") or not name.isprintable():
            raise UserError(f"{file} has the line {line!r}; allowed: names of films")
        names[name] = None
    if not names:
        raise UserError(f"{file} lists no film")
    return list(names)


def read_numbers(file):
    """The numbers in a mask file, and its palette.

    Args:
        file: PNG with a palette, or of greys.

    Returns:
        numbers: uint8 (H, W).
        colours: uint8 (256, 3); None where the numbers are greys.

    Raises:
        UserError: The file is damaged, or has colours without a palette.
    """
    try:
        data = read_photo_file(file)
        photo_header(data)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            numbers, colours = _numbers(image)
    except UNREADABLE as error:
        reason = first_line(error)
        raise UserError(f"mask {file} is no whole PNG file ({reason})") from error
    if numbers is None:
        raise UserError(f"mask {file} has colours; allowed: a palette, or greys")
    return numbers, colours


def _numbers(image):
    if image.mode == "P":
        colours = np.zeros((256, 3), np.uint8)
        own = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        colours[: len(own)] = own
        # Greys that were saved with a palette are no numbers of objects.
        is_grey = len(own) > 2 and (own == np.arange(len(own))[:, None]).all()
        return np.array(image), None if is_grey else colours
    if image.mode in ("1", "L", "LA"):
        return np.array(image.convert("L")), None
    pixels = np.array(image.convert("RGB"))
    grey = (pixels == pixels[..., :1]).all()
    return (pixels[..., 0] if grey else None), None


def _lists(folder, year):
    """{name: file} of the lists of a year.

    Raises:
        UserError: There are lists, and none of that year.
    """
    sets = folder / "ImageSets"
    for name in LISTS[year]:
        files = sorted((sets / name).glob("*.txt"))
        if files:
            return {file.stem: file for file in files}
    there = (
        sorted(p.name for p in sets.iterdir() if p.is_dir()) if sets.is_dir() else ()
    )
    if there:
        raise UserError(
            f"{sets} has lists in {', '.join(there)}, none of {year}; allowed: "
            + " or ".join(filter(None, LISTS[year]))
        )
    return {}


open_davis2016 = functools.partial(open_davis, 2016)
open_davis2017 = functools.partial(open_davis, 2017)
