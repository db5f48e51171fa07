"""Pictures of a network itself: how far it looks, its positions, its filters."""

import keras
import numpy as np

from dino_tf.analysis.attention import attention_distance
from dino_tf.analysis.positions import position_similarity
from dino_tf.pictures.request import find_photos
from dino_tf.pipeline import evaluation_dataset
from dino_tf.progress import PhotoLine
from dino_tf.visualize import draw
from dino_tf.visualize.distance import distance_plot
from dino_tf.visualize.filters import filter_sheet, principal_sheet
from dino_tf.visualize.positions import position_sheet

AT_ONCE = 1 << 26  # numbers of one block's attention, 256 MB


def distance(request, paths, data, split, count, size):
    """Writes `distance.png`: mean attention distance of each head in each block."""
    backbone = request.backbone
    request.needs(
        hasattr(backbone, "attention_by_block"),
        "attention among patches in its blocks",
        "picture components, filters, neighbours, map",
    )
    size = request.square(size)
    source = find_photos(paths, data, split, count)
    grid = backbone.grid_of((size, size))
    tokens = backbone.num_prefix_tokens + grid[0] * grid[1]
    batch = int(np.clip(AT_ONCE // (backbone.num_heads * tokens**2), 1, 16))
    pixels = {"mean": request.mean, "std": request.std}
    line, found = PhotoLine("attention distance", len(source)), []
    for photos in evaluation_dataset(source, size, batch, **pixels):
        found.append(attention_distances(backbone, photos["image"]))
        line.add(len(photos["index"]))
    found = np.concatenate(found)
    patches = np.ones((1, grid[0] * grid[1], grid[0] * grid[1]))
    (everywhere,) = attention_distance(patches, grid, backbone.patch_size)
    note = f"mean of {len(found)} photos of {size} x {size} pixels"
    note += f", patches of {backbone.patch_size}"
    title = f"Attention distance of {request.network}"
    picture = distance_plot(found.mean(axis=0), everywhere, title, note)
    return [_written(request, picture, "distance.png")]


def attention_distances(backbone, images):
    """Mean attention distance of every head of every block, photo by photo.

    Args:
        backbone: has `attention_by_block`, `grid_of` and `patch_size`.
        images: (B, H, W, 3) normalised float.

    Returns:
        float64 (B, blocks, heads), in pixels; see
        `dino_tf.analysis.attention.attention_distance`.
    """
    grid, blocks = backbone.grid_of(images.shape[1:3]), []
    for attention in backbone.attention_by_block(images):
        attention = keras.ops.convert_to_numpy(attention)
        patch = backbone.patch_size
        blocks.append([attention_distance(a, grid, patch) for a in attention])
    return np.array(blocks).transpose(1, 0, 2)


def positions(request):
    """Writes `positions.png`: cosines of the position embeddings of all patches."""
    vectors = position_vectors(request.backbone)
    request.needs(
        vectors is not None,
        "position embeddings" + _why_none(request.backbone),
        "picture filters, components, neighbours, map",
    )
    rows, columns, width = vectors.shape
    title = f"Similarity of position embeddings of {request.network}"
    picture = position_sheet(position_similarity(vectors), title)
    return [_written(request, picture, "positions.png")]


def _why_none(backbone):
    rotary = getattr(backbone, "rope_periods", None)
    return " (its positions are rotary)" if rotary else ""


def position_vectors(backbone):
    """Position embeddings float32 (h, w, D) of a backbone's patches.

    Returns:
        Those of its own table; of an XCiT, which makes them for any grid, those of
        14 x 14 patches; None where a network has none that are known.
    """
    if hasattr(backbone, "position_table") and backbone.rope_periods is None:
        table = keras.ops.convert_to_numpy(backbone.position_table(backbone.grid))
        return table[0, 1:].reshape(*backbone.grid, -1)
    if hasattr(backbone, "pos_embeder"):
        nothing = keras.ops.zeros((1, 14, 14, backbone.embed_dim))
        return keras.ops.convert_to_numpy(backbone.pos_embeder(nothing))[0]
    return None


def filters(request, count):
    """Writes `filters.png`: filters of the first layer, or what they are made of."""
    kernel = first_kernel(request.backbone)
    request.needs(
        kernel is not None,
        "first layer of filters for red, green and blue",
        "picture components, neighbours, map",
    )
    side, _, _, number = kernel.shape
    if side == getattr(request.backbone, "patch_size", None):
        title = f"Principal components of the {number} filters of {request.network}"
        picture = principal_sheet(kernel, title, count)
    else:
        title = (
            f"Filters of the first convolution of {request.network}, {side} x {side}"
        )
        picture = filter_sheet(kernel, title)
    return [_written(request, picture, "filters.png")]


def first_kernel(backbone):
    """Kernel float32 (p, p, 3, n) of the first convolution of photos; None without."""
    for layer in backbone._flatten_layers():
        kernel = getattr(layer, "kernel", None)
        shape = () if kernel is None else tuple(kernel.shape)
        if len(shape) == 4 and shape[2] == 3 and shape[3] > 3:
            return np.asarray(keras.ops.convert_to_numpy(kernel), np.float32)
    return None


def _written(request, picture, name):
    path = draw.save_png(picture, request.out / name)
    request.say(str(path))
    return path
