"""`copies`: generated photos and copies of them, as Copydays has them.

The photos are those of `scenes`; the attacks are Copydays' own: JPEG compression,
crops, and strong ones, in which several things happen to a photo at once.
"""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from dino_tf.datasets.copydays import STRONG
from dino_tf.datasets.scenes import Scenes
from dino_tf.datasets.source import Source, digest
from dino_tf.errors import UserError

COUNT = 100
SIDE = 192  # pixels; blocks of JPEG compression are as small a part as in real photos
QUALITIES = (3, 10, 30)  # of JPEG files
CROPS = (20, 50, 80)  # per cent of the surface that are cut off
# Strong copies: how often each thing happens, and how strongly at most.
MIRROR, BLUR, PAINT, INSERT = 0.3, 0.5, 0.5, 0.3
MOST_TURN, MOST_LIGHT, MOST_BLUR = 25.0, 0.5, 2.0  # degrees, share, pixels


class Copies(Source):
    """The generated data set.

    Args:
        count: number of originals; each has a copy of each attack.
        size: side of the originals in pixels.
        seed: another number gives other photos and attacks.

    Attributes:
        originals: tuple of indices.
        attacks: see `dino_tf.datasets.copydays.Copydays`.

    Raises:
        UserError: `count` or `size` is not allowed.
    """

    name = "copies"

    def __init__(self, count=COUNT, size=SIDE, seed=0):
        self._scenes = Scenes("test", count, size, seed)
        self._key = (seed, 2)
        self._folders = [STRONG, *(f"jpegqual/{q}" for q in QUALITIES)]
        self._folders += [f"crops/{share}" for share in CROPS]
        self.originals = tuple(range(count))
        self.attacks = {
            folder: tuple((row * count + i, (i,)) for i in range(count))
            for row, folder in enumerate(self._folders, 1)
        }

    def __len__(self):
        return len(self._scenes) * (1 + len(self._folders))

    def id(self, index):
        row, original = divmod(range(len(self))[index], len(self._scenes))
        folder = self._folders[row - 1] if row else "original"
        return f"{folder}/{2000 + original}{row:02d}"

    def image_bytes(self, index):
        row, original = divmod(range(len(self))[index], len(self._scenes))
        photo = Image.open(io.BytesIO(self._scenes.image_bytes(original)))
        if not row:
            return _jpeg(photo, 95)
        rng = np.random.default_rng((*self._key, row, original))
        kind, _, strength = self._folders[row - 1].partition("/")
        if kind == "jpegqual":
            return _jpeg(photo, int(strength))
        if kind == "crops":
            return _jpeg(_crop(rng, photo, int(strength)), 95)
        return _jpeg(_strong(rng, photo), 50)

    def stamp(self):
        last = [self.image_bytes(i) for i in (0, len(self) - 1)]
        return digest([self.name, self._key, len(self), *last])


def open_copies(argument: str, split: str = "train") -> Copies | None:
    """Opens the generated data set; all photos are the split "train".

    Args:
        argument: number of originals, empty for the default.
        split: "train".

    Returns:
        The source, or None when `split` is "test".

    Raises:
        UserError: `argument` is no positive number, or there is no such split.
    """
    if split not in ("train", "test"):
        raise UserError(f"copies has no split {split!r}; allowed: train")
    if argument and not (argument.isdecimal() and 1 <= int(argument) <= 7999):
        raise UserError(
            f"copies:{argument}: allowed: copies, or copies:1 to copies:7999"
        )
    return None if split == "test" else Copies(int(argument or COUNT))


def _jpeg(photo, quality):
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _crop(rng, photo, share):
    """A part of a photo that has lost a share of its surface, in per cent."""
    keep = (1 - share / 100) ** 0.5
    width, height = (max(round(keep * side), 1) for side in photo.size)
    left = int(rng.integers(photo.width - width + 1))
    top = int(rng.integers(photo.height - height + 1))
    return photo.crop((left, top, left + width, top + height))


def _strong(rng, photo):
    """Turned, in other light, cut, and perhaps mirrored, blurred, painted over."""
    if rng.random() < MIRROR:
        photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = float(rng.uniform(-MOST_TURN, MOST_TURN))
    photo = photo.rotate(angle, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255))
    photo = _crop(rng, photo, float(rng.uniform(10, 50)))
    if rng.random() < PAINT:
        _paint(rng, photo)
    if rng.random() < INSERT:
        photo = _inserted(rng, photo)
    if rng.random() < BLUR:
        photo = photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, MOST_BLUR)))
    gain = 1 + rng.uniform(-MOST_LIGHT, MOST_LIGHT, 3) * (0.4, 0.4, 0.4)
    gain = gain * (1 + rng.uniform(-MOST_LIGHT, MOST_LIGHT))
    return Image.fromarray(np.clip(np.array(photo) * gain, 0, 255).astype(np.uint8))


def _paint(rng, photo):
    """Strokes over a photo, in place."""
    draw = ImageDraw.Draw(photo)
    for _ in range(rng.integers(2, 5)):
        ends = (rng.uniform(0, 1, 4) * (*photo.size, *photo.size)).tolist()
        colour = tuple(rng.integers(0, 256, 3).tolist())
        draw.line(ends, fill=colour, width=int(rng.integers(2, 2 + photo.width // 12)))


def _inserted(rng, photo):
    """A photo within a larger sheet of one colour."""
    width, height = (round(side * rng.uniform(1.1, 1.5)) for side in photo.size)
    sheet = Image.new("RGB", (width, height), tuple(rng.integers(0, 256, 3).tolist()))
    left = int(rng.integers(width - photo.width + 1))
    sheet.paste(photo, (left, int(rng.integers(height - photo.height + 1))))
    return sheet
