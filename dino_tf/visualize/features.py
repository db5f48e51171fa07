"""What the patch features of any network tell apart in a photo, as pictures."""

from pathlib import Path

import keras
import numpy as np

from dino_tf.analysis.components import principal_components
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, normalize
from dino_tf.visualize import draw
from dino_tf.visualize.attention import (
    attention_grid,
    check_photo,
    darken,
    drawn_shape,
    sheet_blocks,
)

# Zeros that convolutions add around a photo colour the features of its border, in a
# young network more than anything in it. Mirrored patches around it keep them away.
MARGIN = 2


def feature_map(backbone, image, size=480, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    """Features of every patch of a photo.

    Args:
        backbone: has `extract(images, ["tokens"])`, `grid_of`, `patch_size` and
            `num_prefix_tokens`.
        image: uint8 (H, W, 3), RGB.
        size: pixels that the photo's shorter side is resized to; see
            `attention_grid`. A network made for one size sees the photo at that one.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue, as in training.

    Returns:
        float32 (h, w, D).

    Raises:
        UserError: the image is no RGB picture, or `size` is too small.
    """
    image, patch = check_photo(image), backbone.patch_size
    shape = getattr(backbone, "fixed_size", None)
    margin = 0 if shape or "attention" in backbone.result_names else MARGIN
    if shape is None:
        grid = attention_grid(image.shape[:2], patch, size)
        shape = (grid[0] * patch, grid[1] * patch)
    pixels = draw.resize(image, shape, "bicubic")
    pixels = np.pad(pixels, [(margin * patch,) * 2] * 2 + [(0, 0)], "symmetric")
    rows, columns = backbone.grid_of(pixels.shape[:2])
    pixels = normalize(pixels, mean, std)[None]
    tokens = backbone.extract(pixels, ["tokens"])["tokens"]
    tokens = keras.ops.convert_to_numpy(keras.ops.cast(tokens, "float32"))
    tokens = tokens[0, backbone.num_prefix_tokens :].reshape(rows, columns, -1)
    return tokens[margin : rows - margin, margin : columns - margin]


def write_features(
    backbone,
    image,
    stem,
    out_dir,
    size=480,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
):
    """Write one sheet of the principal components of a photo, and each by itself.

    Args:
        backbone: see `feature_map`.
        image: uint8 (H, W, 3), RGB.
        stem: name of the photo; the sheet is `<out_dir>/<stem>.png`.
        out_dir: folder, made where it is missing.
        size: pixels of the shorter side while the backbone looks at the photo.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue, as in training.

    Returns:
        List of `pathlib.Path`: the sheet first, then in `<out_dir>/<stem>/`
        `original.png`, `component1.png`, `component2.png`, `component3.png`,
        `components.png`, `mask.png` and `masked.png`.

    Raises:
        UserError: a wrong image or `size`.
    """
    features = feature_map(backbone, image, size, mean, std)
    maps = principal_components(features)
    photo = draw.resize(image, drawn_shape(image.shape[:2], size))
    out_dir = Path(out_dir)
    sheet = feature_sheet(photo, maps, features.shape[2], title=str(stem))
    paths = [draw.save_png(sheet, out_dir / f"{stem}.png")]
    for name, picture in single_components(photo, maps).items():
        paths.append(draw.save_png(picture, out_dir / f"{stem}" / f"{name}.png"))
    return paths


def single_components(photo, maps):
    """Every feature picture of a photo at the photo's shape.

    Args:
        photo: uint8 (H, W, 3).
        maps: (3, h, w), from `principal_components`.

    Returns:
        Dictionary of file stem to picture: uint8 (H, W, 3), the mask uint8 (H, W) of
        0 and 255.
    """
    maps = enlarge_components(maps, photo.shape[:2])
    mask = maps[0] > 0
    pictures = {f"component{i}": shade(m) for i, m in enumerate(maps, 1)}
    return {
        "original": photo,
        **pictures,
        "components": colour_components(maps),
        "mask": np.where(mask, np.uint8(255), np.uint8(0)),
        "masked": darken(photo, mask),
    }


def feature_sheet(photo, maps, width, title=""):
    """All feature pictures of a photo on one page.

    The photo, the first component and the photo on a darkened background come first
    and large; the mask (the first component above its mean), three components as
    red, green and blue, and the second and third one follow.

    Args:
        photo: uint8 (H, W, 3).
        maps: (3, h, w), from `principal_components`.
        width: width D of the features.
        title: name of the photo.

    Returns:
        Pillow image, RGB.
    """
    large, small = sheet_blocks(photo.shape[:2], 4)
    photo = draw.resize(photo, large.shape)
    wide, narrow = (enlarge_components(maps, b.shape) for b in (large, small))
    first = [
        draw.Tile(photo, "Photo"),
        draw.Tile(shade(wide[0]), "First component of the features"),
        draw.Tile(darken(photo, wide[0] > 0), "Background darkened"),
    ]
    mask = draw.resize(
        np.repeat((wide[0] > 0)[..., None], 3, 2) * np.uint8(255), small.shape
    )
    rest = [
        draw.Tile(mask, "Mask: first component above 0"),
        draw.Tile(colour_components(narrow), "Components 1 to 3 as R, G, B"),
        draw.Tile(shade(narrow[1]), "Second component"),
        draw.Tile(shade(narrow[2]), "Third component"),
    ]
    _, rows, columns = maps.shape
    heading = f"{title}   {width} features, {rows} x {columns} patches".lstrip()
    return draw.compose([*large.rows(first), *small.rows(rest)], heading)


def enlarge_components(maps, shape):
    """Maps (3, h, w) as smooth float32 (3, H, W)."""
    return np.stack([draw.resize(m, shape, "bicubic") for m in maps])


def shade(component):
    """Paint a component; the outermost 0.5 % at each end share one colour."""
    low, high = np.quantile(component, (0.005, 0.995))
    return draw.colour_map(component, low=low, high=high)


def colour_components(maps):
    """Three components (3, H, W) as red, green and blue: uint8 (H, W, 3)."""
    low, high = np.quantile(maps, (0.01, 0.99), axis=(1, 2), keepdims=True)
    share = (maps - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
    return np.round(255 * np.clip(share, 0, 1)).astype(np.uint8).transpose(1, 2, 0)
