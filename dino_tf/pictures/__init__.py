"""One command for one kind of picture of a network, its photos or its data."""

import pathlib

import keras

from dino_tf.errors import UserError
from dino_tf.evaluation import in_float32
from dino_tf.initial import evaluation_size, pixel_statistics
from dino_tf.kinds import find_kind
from dino_tf.models.loading import load_backbone
from dino_tf.pictures.request import Request


def make_pictures(
    kind, weights, out=None, options=None, num_heads=None, part=None, say=print
):
    """Draws pictures of one kind and writes them.

    Args:
        kind: Name in `dino_tf.kinds.KINDS`.
        weights: What `load_backbone` accepts.
        out: Folder; None makes `pictures/` in a run folder given as `weights`, else
            `result/pictures`. Older pictures of the same names are replaced.
        options: {name: value} of the kind; what is missing has its default.
        num_heads, part: See `load_backbone`.
        say: Function that shows a line to the person.

    Returns:
        List of `pathlib.Path` of the pictures.

    Raises:
        UserError: For wrong names, options, weights or photos, and for a network that
            has not what the picture shows.
    """
    chosen = find_kind(kind)
    settings = chosen.defaults()
    unknown = sorted(set(options or {}) - set(settings))
    if unknown:
        allowed = ", ".join(settings) or "none"
        raise UserError(f"picture {kind}: got {unknown[0]}, allowed: {allowed}")
    out = pathlib.Path(out) if out else _default_out(weights)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out: {out} is a file, allowed: a folder")
    if str(weights).startswith("random:"):
        keras.utils.set_random_seed(0)  # the same one each time
    backbone = in_float32(load_backbone(weights, num_heads, part))
    mean, std = pixel_statistics(weights)
    side = evaluation_size(weights, backbone)
    request = Request(backbone, out, mean, std, side, say, _name_of(weights))
    return chosen.load()(request, **settings | (options or {}))


def _name_of(weights):
    """Last part of a path, or the name that a source has."""
    path = pathlib.Path(str(weights))
    if path.name == "backbone.keras":
        path = path.parent
    return path.name if path.exists() else str(weights)


def _default_out(weights):
    path = pathlib.Path(str(weights))
    return path / "pictures" if path.is_dir() else pathlib.Path("result/pictures")
