"""What the CLS token of the last block looks at, as numbers and as pictures."""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from dino_tf.analysis.attention import keep_mass_mask
from dino_tf.errors import UserError
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, normalize
from dino_tf.visualize import draw

# Attention takes heads * N * N numbers: 6 heads of 4800 tokens are 0.55 GB. This is
# the grid of a 4:3 photo at 480 pixels and patch 8, the largest published picture.
MOST_TOKENS = 4800
# A longer side than this makes files that are slow to write and tell no more.
LONGEST_SIDE = 2048
DARK = 0.22
LARGE_AREA = 640 * 480
WIDE = 2.4


def attention_grid(image_hw, patch_size, size=480):
    """Patches along height and width when a photo's shorter side becomes `size`.

    Args:
        image_hw: height and width of the photo, in pixels.
        patch_size: pixels along a patch's side.
        size: pixels of the shorter side, for small photos too.

    Returns:
        (h, w), rounded down to whole patches. Where they would be more than
        `MOST_TOKENS` both sides shrink alike.

    Raises:
        UserError: `size` is smaller than a patch.
    """
    if size < patch_size:
        raise UserError(f"size is {size}; allowed: at least one patch, {patch_size}")
    height, width = image_hw
    scale = size / min(height, width) / patch_size
    scale = min(scale, math.sqrt(MOST_TOKENS / (height * width)))
    # A hair above the exact product, which floats may miss from below.
    return tuple(max(1, math.floor(side * scale + 1e-6)) for side in image_hw)


def attention_maps(backbone, image, size=480, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Attention of CLS to every patch, for each head of the last block.

    Args:
        backbone: has `extract(images, ["attention"])`, `patch_size` and
            `num_prefix_tokens`.
        image: uint8 (H, W, 3), RGB.
        size: pixels that the photo's shorter side is resized to, larger or smaller;
            see `attention_grid` for how the shape is kept.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue, as in training.

    Returns:
        float32 (heads, h, w). What a head gives to CLS and registers is missing, so
        that a map sums to at most one.

    Raises:
        UserError: the image is no RGB picture, or `size` is smaller than a patch.

    Reference:
        facebookresearch/dino, visualize_attention.py.
    """
    image = check_photo(image)
    patch = backbone.patch_size
    grid = attention_grid(image.shape[:2], patch, size)
    pixels = draw.resize(image, (grid[0] * patch, grid[1] * patch), "bicubic")
    pixels = normalize(pixels, mean, std)[None]
    attention = backbone.extract(pixels, ["attention"])["attention"]
    of_cls = attention[0, :, 0, backbone.num_prefix_tokens :]
    of_cls = keras.ops.convert_to_numpy(keras.ops.cast(of_cls, "float32"))
    return of_cls.reshape(-1, *grid)


def check_photo(image):
    """The image as an array; UserError when it is not uint8 (H, W, 3)."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
            f"image is {image.dtype} {image.shape}; allowed: uint8 (H, W, 3)"
        )
    return image


def write_attention(
    backbone,
    image,
    stem,
    out_dir,
    keep_mass=0.6,
    size=480,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
):
    """Write one sheet of all attention pictures of a photo, and each by itself.

    Args:
        backbone: see `attention_maps`.
        image: uint8 (H, W, 3), RGB.
        stem: name of the photo; the sheet is `<out_dir>/<stem>.png`.
        out_dir: folder, made where it is missing.
        keep_mass: share of the attention that the mask keeps, above 0, at most 1.
        size: pixels of the shorter side while the backbone looks at the photo.
            Smaller photos are drawn at this size, larger ones at their own.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue, as in training.

    Returns:
        List of `pathlib.Path`: the sheet first, then in `<out_dir>/<stem>/`
        `original.png`, `attention_mean.png`, `mask.png`, `masked.png` and
        `attention_head0.png`, `attention_head1.png`, ...

    Raises:
        UserError: a wrong image, `size` or `keep_mass`.
    """
    maps = attention_maps(backbone, image, size, mean, std)
    photo = draw.resize(image, drawn_shape(image.shape[:2], size))
    singles = single_pictures(photo, maps, keep_mass)
    sheet = attention_sheet(photo, maps, keep_mass, title=str(stem))
    out_dir = Path(out_dir)
    paths = [draw.save_png(sheet, out_dir / f"{stem}.png")]
    for name, picture in singles.items():
        paths.append(draw.save_png(picture, out_dir / f"{stem}" / f"{name}.png"))
    return paths


def drawn_shape(image_hw, size):
    """Shape in which a photo is drawn: its own, or larger when it is below `size`."""
    scale = max(1.0, size / min(image_hw))
    scale = min(scale, LONGEST_SIDE / max(image_hw))
    return tuple(max(1, round(side * scale)) for side in image_hw)


def single_pictures(photo, maps, keep_mass=0.6):
    """Every attention picture of a photo at the photo's shape.

    Args:
        photo: uint8 (H, W, 3).
        maps: (heads, h, w), from `attention_maps`.
        keep_mass: share of the mean attention that the mask keeps.

    Returns:
        Dictionary of file stem to picture: uint8 (H, W, 3), the mask uint8 (H, W) of
        0 and 255.
    """
    shape = photo.shape[:2]
    mean = enlarge(maps.mean(axis=0), shape)
    mask = keep_mass_mask(mean[None], keep_mass)[0]
    pictures = {
        "original": photo,
        "attention_mean": heat(mean),
        "mask": np.where(mask, np.uint8(255), np.uint8(0)),
        "masked": darken(photo, mask),
    }
    for i, attention in enumerate(maps):
        pictures[f"attention_head{i}"] = heat(enlarge(attention, shape))
    return pictures


def enlarge(attention, shape):
    """A map (h, w) as smooth float32 (H, W) that is nowhere negative."""
    return np.maximum(draw.resize(attention, shape, "bicubic"), 0)


def heat(attention):
    """Paint a map; the strongest 0.5 % share one colour, so that no spike rules it."""
    return draw.colour_map(attention, high=np.quantile(attention, 0.995))


def mask_tile(mean, shape, keep_mass):
    """The mask of the mean attention, white on black, as a tile of `shape`."""
    mask = keep_mass_mask(mean[None], keep_mass)[0]
    picture = draw.resize(np.repeat(mask[..., None], 3, axis=2) * np.uint8(255), shape)
    return draw.Tile(picture, f"Mask: {100 * keep_mass:g}% of the mean")


def head_tiles(photo, maps, keep_mass):
    """One tile with the places of all heads in colours, and a tile for each head.

    Args:
        photo: uint8 (H, W, 3), in the shape of a tile.
        maps: (heads, h, w).
        keep_mass: share of each head's attention that is coloured.

    Returns:
        List of `draw.Tile`, 1 + heads.
    """
    maps = np.stack([enlarge(attention, photo.shape[:2]) for attention in maps])
    colours = [draw.COLOURS[i % len(draw.COLOURS)] for i in range(len(maps))]
    tiles = [
        draw.Tile(heat(attention), f"Head {i}", colour)
        for i, (attention, colour) in enumerate(zip(maps, colours, strict=True))
    ]
    coloured = colour_heads(photo, maps, np.array(colours), keep_mass)
    return [draw.Tile(coloured, f"Heads: {100 * keep_mass:g}% of each"), *tiles]


def colour_heads(photo, maps, colours, keep_mass):
    """The grey photo, tinted wherever a head keeps its mass, in that head's colour.

    Where several heads do, the one that gives the place the largest share wins.
    """
    totals = maps.sum(axis=(1, 2), keepdims=True)
    shares = maps / np.maximum(totals, np.finfo(np.float32).tiny)
    kept = keep_mass_mask(maps, keep_mass)
    winner = np.argmax(np.where(kept, shares, -1), axis=0)
    grey = photo.mean(axis=2, keepdims=True)
    tint = colours[winner] * (0.4 + 0.6 * grey / 255)
    opacity = 0.85 * draw.soften(kept.any(axis=0))
    return draw.overlay(np.broadcast_to(0.35 * grey, photo.shape), tint, opacity)


def darken(photo, mask):
    """The photo with everything outside of the mask nearly black."""
    return draw.overlay(photo, (0, 0, 0), (1 - DARK) * (1 - draw.soften(mask, 1.5)))


def attention_sheet(photo, maps, keep_mass=0.6, title=""):
    """All attention pictures of a photo on one page.

    The photo, the mean attention and the photo on a darkened background come first
    and large; the mask, the places each head keeps, and each head follow.

    Args:
        photo: uint8 (H, W, 3).
        maps: (heads, h, w), from `attention_maps`.
        keep_mass: share of the attention that masks and outlines keep.
        title: name of the photo.

    Returns:
        Pillow image, RGB.
    """
    large, small = sheet_blocks(photo.shape[:2], 2 + len(maps))
    photo = draw.resize(photo, large.shape)
    mean = enlarge(maps.mean(axis=0), large.shape)
    mask = keep_mass_mask(mean[None], keep_mass)[0]
    first = [
        draw.Tile(photo, "Photo"),
        draw.Tile(heat(mean), "Mean attention"),
        draw.Tile(darken(photo, mask), "Background darkened"),
    ]
    rest = [
        mask_tile(mean, small.shape, keep_mass),
        *head_tiles(draw.resize(photo, small.shape), maps, keep_mass),
    ]
    count, rows, columns = maps.shape
    heading = f"{title}   {count} heads, {rows} x {columns} patches".lstrip()
    return draw.compose([*large.rows(first), *small.rows(rest)], heading)


@dataclass(frozen=True)
class Block:
    """Tiles of one shape in columns.

    Attributes:
        columns: tiles in a row.
        shape: (height, width) of a tile, in pixels.
    """

    columns: int
    shape: tuple[int, int]

    def rows(self, tiles):
        """Split tiles into rows; the last one may be shorter."""
        starts = range(0, len(tiles), self.columns)
        return [tiles[start : start + self.columns] for start in starts]


def sheet_blocks(photo_hw, small_tiles):
    """Blocks of three large and of `small_tiles` small tiles, equally wide.

    Large tiles have the same area whatever their shape. Those of a panorama stand
    above each other, others beside each other.
    """
    height, width = photo_hw
    aspect = width / height
    wide = aspect > WIDE
    few, some = (1, (2, 3)) if wide else (3, (4, 5, 6, 7))
    many = min(some, key=lambda columns: (-small_tiles % columns, columns))
    full = few * math.sqrt(LARGE_AREA * aspect) + (few - 1) * draw.GAP
    # Both blocks end at the same pixel: look for a width that both can divide.
    full = next(w for w in itertools.count(round(full)) if _even(w, few, many))
    return tuple(_block(full, columns, aspect) for columns in (few, many))


def _even(full, *columns):
    return all((full - (c - 1) * draw.GAP) % c == 0 for c in columns)


def _block(full, columns, aspect):
    width = (full - (columns - 1) * draw.GAP) // columns
    return Block(columns, (max(1, round(width / aspect)), width))
