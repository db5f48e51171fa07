"""Components of patch features in colours that mean the same in every photo."""

from pathlib import Path

import numpy as np

from dino_tf.analysis.components import Components
from dino_tf.errors import UserError, plain
from dino_tf.visualize import draw

BACKGROUND = draw.INK
ABOUT = "components"
HEIGHT, MOST_WIDTH = 300, 420
PAIRS = (2, 40)  # photos in a row of the sheet, and on all of it
FIELDS = ("mean", "directions", "low", "high")
MOST_BYTES = 2**26  # of an array: 1,000 directions of 8,192 numbers
OBJECT_FIELDS = ("object_mean", "object_direction")


def paint_components(components, features, shape):
    """A photo's first three components as red, green and blue.

    Args:
        components: `dino_tf.analysis.components.Components` of three directions.
        features: (h, w, D), from `feature_map`.
        shape: (height, width) of the picture.

    Returns:
        uint8 (height, width, 3). Where the components are those of the foreground
        everything else is nearly black.

    Raises:
        UserError: the features are of another width, or there are no three directions.
    """
    colours = components.colours(features)
    if colours.shape[2] != 3:
        raise UserError(f"{colours.shape[2]} components; allowed: 3, one for a colour")
    channels = [draw.resize(c, shape, "bicubic") for c in np.moveaxis(colours, 2, 0)]
    picture = np.round(255 * np.clip(np.stack(channels, 2), 0, 1)).astype(np.uint8)
    of_object = components.foreground(features)
    if of_object is None:
        return picture
    outside = 1 - draw.soften(draw.resize(of_object, shape, "bicubic") > 0)
    return draw.overlay(picture, BACKGROUND, outside)


def component_sheet(photos, painted, captions, title, about=ABOUT):
    """Photos beside their components, two photos in a row.

    Args:
        photos: uint8 (H, W, 3) each.
        painted: function from a photo's number and a shape to its picture, such as
            `paint_components` with everything else given.
        captions: of the photos.
        title: one line above.
        about: caption of each picture of components.

    Returns:
        Pillow image, RGB; of the first 40 photos where there are more.
    """
    tiles = []
    for i, photo in enumerate(photos[: PAIRS[1]]):
        height, width = photo.shape[:2]
        scale = min(HEIGHT / height, MOST_WIDTH / width)
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        tiles.append(draw.Tile(draw.resize(photo, shape), captions[i]))
        tiles.append(draw.Tile(painted(i, shape), about))
    step = 2 * PAIRS[0]
    rows = [tiles[i : i + step] for i in range(0, len(tiles), step)]
    return draw.compose(rows, title)


def save_components(components, path):
    """Writes components into an `.npz` file, for photos to come.

    Raises:
        UserError: the file cannot be written.
    """
    path = Path(path)
    names = FIELDS if components.object_direction is None else FIELDS + OBJECT_FIELDS
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, **{name: getattr(components, name) for name in names})
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error
    return path


def load_components(path):
    """`Components` that `save_components` wrote.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            _check_members(path, arrays)
            found = dict(arrays)
    except UserError:
        raise
    # NumPy's and zip's errors have no ancestor but this.
    except Exception as error:
        raise UserError(f"{path} is no .npz file of components") from error
    _check_fields(path, found)
    return Components(**found)


def _check_members(path, arrays):
    """Refuses other arrays, and larger ones, before they are inflated."""
    names = set(arrays.files)
    if names not in (set(FIELDS), {*FIELDS, *OBJECT_FIELDS}):
        allowed, odd = ", ".join(FIELDS + OBJECT_FIELDS), ", ".join(sorted(names))
        raise UserError(f"{path} holds {plain(odd[:200])}; allowed: {allowed}")
    largest = max(member.file_size for member in arrays.zip.infolist())
    if len(names) != len(arrays.zip.infolist()) or largest > MOST_BYTES:
        raise UserError(f"{path} is too large for components: {largest} bytes")


def _check_fields(path, found):
    """Refuses shapes that do not belong together, and what is no number."""
    for name, array in found.items():
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UserError(f"{path}: {name} holds other than finite numbers")
    wide, count = found["mean"].shape, found["low"].shape
    expected = dict.fromkeys(found, wide) | {"low": count, "high": count}
    expected["directions"] = (*count, *wide)
    for name, shape in expected.items():
        if len(wide) != 1 or len(count) != 1 or found[name].shape != shape:
            raise UserError(f"{path}: {name} has the shape {found[name].shape}")
