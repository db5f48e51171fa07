"""Attention on the photo itself: all heads by colour, strength as heat, by block."""

import colorsys
import math

import keras
import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from dino_tf.analysis.attention import keep_mass_mask
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, normalize
from dino_tf.visualize import draw
from dino_tf.visualize.attention import attention_grid, check_photo, enlarge, heat

LARGE, SMALL = 760 * 570, 340 * 255  # pixels of a picture, whatever its shape
PANORAMA = 2.4  # photos as wide stand above each other
GREY, TINT = 0.4, 0.85
RADIUS, SIZE = 14, 18  # of a head's number, in pixels
SOME, MANY = (3, 4, 5, 6), (4, 5, 6, 7)  # columns
NOBODY = -1


def head_colours(count):
    """uint8 (count, 3): a colour for each head, those of the other pictures first.

    From the thirteenth head on colours are spread over the circle of hues; then it is
    the numbers that tell heads apart.
    """
    colours = list(draw.COLOURS[:count])
    for i in range(count - len(colours)):
        # Steps of the golden ratio come to lie far from those before.
        rgb = colorsys.hsv_to_rgb((0.04 + 0.618034 * i) % 1, 0.35 + 0.35 * (i % 2), 1)
        colours.append(tuple(round(255 * c) for c in rgb))
    return np.array(colours, np.uint8).reshape(count, 3)


def strongest_head(maps, keep_mass=0.6):
    """Which head has most to do with each place.

    Args:
        maps: (heads, h, w), not negative.
        keep_mass: share of each head's attention that it keeps, above 0, at most 1.

    Returns:
        int64 (h, w): of the heads that keep a place the one that gives it the largest
        share of its attention; -1 where none does.

    Raises:
        UserError: `keep_mass` is out of range.
    """
    maps = np.asarray(maps, np.float32)
    totals = maps.sum(axis=(1, 2), keepdims=True)
    shares = maps / np.maximum(totals, np.finfo(np.float32).tiny)
    kept = keep_mass_mask(maps, keep_mass)
    winner = np.argmax(np.where(kept, shares, -1), axis=0)
    return np.where(kept.any(axis=0), winner, NOBODY)


def paint_heads(photo, maps, keep_mass=0.6):
    """The photo in grey, each place in the colour of its strongest head.

    Args:
        photo: uint8 (H, W, 3).
        maps: (heads, h, w), from `attention_maps`.
        keep_mass: see `strongest_head`.

    Returns:
        uint8 (H, W, 3). Each head's number stands in the widest of its places, a
        little aside where it would cover another's.

    Raises:
        UserError: `keep_mass` is out of range.
    """
    maps = np.stack([enlarge(attention, photo.shape[:2]) for attention in maps])
    winner, colours = strongest_head(maps, keep_mass), head_colours(len(maps))
    picture = _tinted(photo, winner, colours)
    image, taken = Image.fromarray(picture), []
    for head in np.unique(winner[winner != NOBODY]).tolist():
        # Beyond the border there is nothing of any head.
        own = np.pad(winner == head, 1)
        depth = ndimage.distance_transform_edt(own)[1:-1, 1:-1]
        place = np.unravel_index(depth.argmax(), depth.shape)
        taken.append(_free_place(place, taken))
        _mark(image, taken[-1], str(head), colours[head])
    return np.asarray(image)


def _tinted(photo, winner, colours):
    grey = np.broadcast_to(photo.mean(axis=2, keepdims=True), photo.shape)
    tint = colours[winner] * (0.55 + 0.45 * grey / 255)
    opacity = TINT * draw.soften(winner != NOBODY)
    return draw.overlay(GREY * grey, tint, opacity)


def _free_place(place, taken):
    """(row, column) near `place` that is a number's width away from all `taken`."""
    for step in range(60):
        # A spiral, a tenth of a turn and some pixels further each time.
        angle, reach = 0.63 * step, 0.16 * RADIUS * step
        row, column = (
            place[0] + reach * math.sin(angle),
            place[1] + reach * math.cos(angle),
        )
        apart = [math.hypot(row - r, column - c) for r, c in taken]
        if min(apart, default=math.inf) >= 2 * RADIUS + 3:
            break
    return row, column


def _mark(image, place, text, colour):
    """Writes a number on a disc of its colour, wholly inside of the picture."""
    limits = (image.height, image.width)
    row, column = (
        min(max(p, RADIUS + 2), side - RADIUS - 3)
        for p, side in zip(place, limits, strict=True)
    )
    canvas = ImageDraw.Draw(image)
    box = [column - RADIUS, row - RADIUS, column + RADIUS, row + RADIUS]
    canvas.ellipse(box, fill=tuple(colour.tolist()), outline=draw.INK, width=2)
    face = draw.fitting_font(text, 2 * RADIUS - 6, SIZE)
    canvas.text((column, row), text, fill=draw.INK, font=face, anchor="mm")


def heads_sheet(photo, maps, keep_mass=0.6, title=""):
    """The photo, all heads in one picture by colour, and what the colours mean.

    Args:
        photo: uint8 (H, W, 3).
        maps: (heads, h, w), from `attention_maps`.
        keep_mass: see `strongest_head`.
        title: name of the photo.

    Returns:
        Pillow image, RGB.

    Raises:
        UserError: `keep_mass` is out of range.
    """
    photo = draw.resize(photo, shape_of_area(photo.shape[:2], LARGE))
    winner = strongest_head(
        np.stack([enlarge(m, photo.shape[:2]) for m in maps]), keep_mass
    )
    tiles = [
        draw.Tile(photo, "Photo"),
        draw.Tile(
            paint_heads(photo, maps, keep_mass),
            f"Where each head puts {100 * keep_mass:g} % of its attention",
        ),
    ]
    pictures = draw.compose(beside(tiles), heading(title, maps))
    entries = [
        (colour, f"head {i}: {_percent(winner == i)} of the photo")
        for i, colour in enumerate(head_colours(len(maps)).tolist())
    ]
    return draw.with_legend(pictures, entries)


def _percent(mask):
    share = 100 * mask.mean()
    return f"{share:.0f} %" if share >= 1 or not share else "below 1 %"


def overlay_attention(photo, attention, strength=0.85):
    """Attention as heat on the photo, which stays to be seen where there is little.

    Args:
        photo: uint8 (H, W, 3).
        attention: (h, w), not negative: one head, or the mean of all.
        strength: opacity of the strongest place, in [0, 1].

    Returns:
        uint8 (H, W, 3). The weakest place shows the photo, a little darker and paler;
        the strongest 0.5 % of the places share one colour.
    """
    attention = enlarge(attention, photo.shape[:2])
    low, high = attention.min(), np.quantile(attention, 0.995)
    high = high if high > low else attention.max()
    share = np.clip((attention - low) / ((high - low) or 1.0), 0, 1)
    # Without the black that inferno begins with.
    painted = draw.colour_map(0.3 + 0.7 * share, low=0.0, high=1.0)
    pale = 0.5 * photo + 0.3 * photo.mean(axis=2, keepdims=True)
    return draw.overlay(pale, painted, strength * share)


def overlay_sheet(photo, maps, title=""):
    """The photo beside itself under the mean attention, and each head in small.

    Args:
        photo: uint8 (H, W, 3).
        maps: (heads, h, w), from `attention_maps`.
        title: name of the photo.

    Returns:
        Pillow image, RGB.
    """
    photo = draw.resize(photo, shape_of_area(photo.shape[:2], LARGE))
    mean = overlay_attention(photo, maps.mean(axis=0))
    tiles = [draw.Tile(photo, "Photo"), draw.Tile(mean, "Mean attention of all heads")]
    width = sum(t.picture.shape[1] + draw.GAP for t in beside(tiles)[0])
    columns = even_columns(len(maps), SOME)
    small = _shape_in_row(photo.shape[:2], width, columns)
    photo = draw.resize(photo, small)
    heads = [
        draw.Tile(overlay_attention(photo, attention), f"Head {i}")
        for i, attention in enumerate(maps)
    ]
    return draw.compose(
        [*beside(tiles), *in_rows(heads, columns)], heading(title, maps)
    )


def block_maps(backbone, image, size=480, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Attention of CLS to every patch in every block, mean of the heads.

    Args:
        backbone: has `attention_by_block`, `patch_size` and `num_prefix_tokens`.
        image: uint8 (H, W, 3), RGB.
        size: pixels of the shorter side; see `attention_grid`.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue, as in training.

    Returns:
        float32 (blocks, h, w), first block to last.

    Raises:
        UserError: the image is no RGB picture, or `size` is smaller than a patch.
    """
    image, patch = check_photo(image), backbone.patch_size
    grid = attention_grid(image.shape[:2], patch, size)
    pixels = draw.resize(image, (grid[0] * patch, grid[1] * patch), "bicubic")
    found = []
    for attention in backbone.attention_by_block(normalize(pixels, mean, std)[None]):
        of_cls = attention[0, :, 0, backbone.num_prefix_tokens :]
        of_cls = keras.ops.convert_to_numpy(keras.ops.mean(of_cls, axis=0))
        found.append(of_cls.reshape(grid))
    return np.stack(found)


def layers_sheet(photo, maps, title=""):
    """What CLS attends to in every block, from the first to the last.

    Args:
        photo: uint8 (H, W, 3).
        maps: (blocks, h, w), attention of CLS to the patches, mean of the heads.
        title: name of the photo.

    Returns:
        Pillow image, RGB.
    """
    photo = draw.resize(photo, shape_of_area(photo.shape[:2], SMALL))
    tiles = [draw.Tile(photo, "Photo")]
    for i, attention in enumerate(maps, 1):
        picture = heat(enlarge(attention, photo.shape[:2]))
        tiles.append(draw.Tile(picture, f"Block {i} of {len(maps)}"))
    _, rows, columns = maps.shape
    text = f"{title}   attention of CLS, mean of the heads, {rows} x {columns} patches"
    rows = in_rows(tiles, even_columns(len(tiles), MANY))
    return draw.compose(rows, text.lstrip())


def heading(title, maps):
    """One line above a sheet of the attention (heads, h, w) of one photo."""
    count, rows, columns = maps.shape
    return f"{title}   {count} heads, {rows} x {columns} patches".lstrip()


def shape_of_area(image_hw, area):
    """(height, width) of about `area` pixels in the proportions of a photo."""
    scale = math.sqrt(area / (image_hw[0] * image_hw[1]))
    return tuple(max(1, round(side * scale)) for side in image_hw)


def beside(tiles):
    """Rows of `tiles`: side by side, or above each other where they are very wide."""
    height, width = tiles[0].picture.shape[:2]
    return [[tile] for tile in tiles] if width > PANORAMA * height else [tiles]


def even_columns(count, some):
    """Of `some` numbers of columns the one that leaves the last row most full."""
    return min(some, key=lambda columns: (-count % columns, columns))


def in_rows(tiles, columns):
    """Rows of so many tiles; the last one may be shorter."""
    return [tiles[i : i + columns] for i in range(0, len(tiles), columns)]


def _shape_in_row(image_hw, width, columns):
    """Shape of a photo of which `columns` are together `width` pixels wide."""
    side = max(1, width // columns - draw.GAP)
    return max(1, round(side * image_hw[0] / image_hw[1])), side
