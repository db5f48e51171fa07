"""What a picture is asked of: a network, photos, and a folder to write into."""

import dataclasses
import functools
import pathlib

import keras
import numpy as np

from dino_tf.datasets import open_source
from dino_tf.datasets.folder import FileSource, find_images
from dino_tf.datasets.source import Source
from dino_tf.errors import UserError
from dino_tf.evaluate.splits import spread
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, try_decode

LISTED = 5  # names of bad photos in a line


@dataclasses.dataclass
class Request:
    """What every kind of picture is given.

    Args:
        backbone: Any backbone; see `dino_tf.models.backbones`.
        out: Folder of the pictures; files there are replaced.
        mean: Of red, green, blue in 0 to 1, as in training.
        std: Of red, green, blue in 0 to 1, as in training.
        side: Side in pixels of the squares that the network is evaluated on.
        say: Function that shows a line to the person.
        network: What the weights are called.
    """

    backbone: keras.Model
    out: pathlib.Path
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    side: int = 224
    say: object = print
    network: str = "network"

    def needs(self, there, what, instead):
        """Says in one line what the network has not, where `there` is false.

        Raises:
            UserError: `there` is false.
        """
        if not there:
            raise UserError(
                f"{self.network} ({_kind_of(self.backbone)}) has no {what}; allowed "
                f"for it: {instead}"
            )

    def square(self, size):
        """Side in pixels of a square for the network; None is the usual one.

        Raises:
            UserError: The network takes no such square.
        """
        size = self.side if size is None else size
        try:
            if size < 1:
                raise ValueError("allowed: 1 or more")
            self.backbone.grid_of((size, size))
        except ValueError as error:
            raise UserError(f"--size: got {size}; {error}") from error
        return size


def _kind_of(backbone):
    return getattr(backbone, "arch", type(backbone).__name__)


def find_photos(paths, data=None, split="train", count=None):
    """Photos as a `Source`.

    Args:
        paths: Photos or folders of photos; all of them are taken.
        data: SPEC in place of `paths`.
        split: Of `data`.
        count: Photos taken of `data`, evenly spread; None takes all.

    Raises:
        UserError: For neither or both of paths and data, and what is missing.
    """
    if bool(paths) == bool(data):
        got = "both" if data else "neither"
        raise UserError(f"photos: got {got} PATH and --data, allowed: one of the two")
    if data is None:
        files = list_photos(paths)
        names = [path.name for path in files]
        return FileSource("photos", files, names, [None] * len(files))
    if count is not None and count < 1:
        raise UserError(f"--count: got {count}, allowed: 1 or more")
    source = open_source(data, split)
    if source is None:
        raise UserError(f"{data}: got split {split!r}, allowed: train")
    return source.subset(spread(len(source), count))


def list_photos(paths):
    """Files of photos: each of `paths` that is one, and all in those that are folders.

    Raises:
        UserError: A path does not exist, or a folder holds no photo.
    """
    files = []
    for path in map(pathlib.Path, paths):
        inside = (
            [path] if path.is_file() else find_images(path) if path.is_dir() else []
        )
        if not inside:
            words = (
                f"no photos in the folder {path}"
                if path.is_dir()
                else (f"no such photo or folder: {path}")
            )
            raise UserError(words)
        files += map(pathlib.Path, inside)
    return files


class Photos:
    """The readable photos of a source, decoded anew each time that one is asked for.

    Args:
        source: `Source`.
        say: Function that is told which photos are passed over.

    Attributes:
        stems: Names of the photos that can be file names; none is given twice.
        places: int64 (N,), where in the source each photo is.

    Raises:
        UserError: No photo can be read.
    """

    def __init__(self, source: Source, say=print):
        self.source = source
        names = [source.id(i) for i in range(len(source))]
        stems = _stems(names)
        bad, good = [], []
        for i, name in enumerate(names):
            _, reason = self._read(i)
            good += [] if reason else [i]
            bad += [f"{name} ({reason})"] if reason else []
        if bad and good:
            say(f"{len(bad)} unreadable, passed over: {', '.join(bad[:LISTED])}")
        if not good:
            raise UserError(f"none of {len(names)} photos can be read: {bad[0]}")
        self.places, self.stems = np.array(good), [stems[i] for i in good]

    def _read(self, place):
        return try_decode(functools.partial(self.source.image_bytes, place))

    def __len__(self):
        return len(self.places)

    def __getitem__(self, number):
        """uint8 (H, W, 3)."""
        return read_photo(self.source, self.places[number])

    def __iter__(self):
        return (self[number] for number in range(len(self)))


def read_photo(source, place):
    """uint8 (H, W, 3) of a photo that could be read before.

    Raises:
        UserError: It cannot be read any more.
    """
    image, reason = try_decode(functools.partial(source.image_bytes, int(place)))
    if image is None:
        name = source.id(int(place))
        raise UserError(f"photo {name!r} cannot be read any more: {reason}")
    return image


def _stems(names):
    """File names without extension of unique relative names; none is given twice."""
    taken, stems = set(), []
    for name in names:
        folder, slash, last = name.rpartition("/")
        last = last.rpartition(".")[0] or last
        first = stem = f"{folder}{slash}{last}".replace("/", "-")
        number = 1
        # Some file systems ignore case.
        while stem.casefold() in taken:
            number += 1
            stem = f"{first}~{number}"
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def spare_originals(paths, pictures):
    """Refuses pictures that would take the place of photos.

    Raises:
        UserError: One of `pictures` lies where one of the photos `paths` does.
    """
    originals = {path.resolve() for path in list_photos(paths)}
    for picture in pictures:
        if picture.resolve() in originals:
            raise UserError(
                f"--out: {picture} is a photo that a picture would overwrite; allowed: "
                "another folder"
            )
