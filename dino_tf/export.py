"""Trained weights for other programs, each export read back by one of them."""

import importlib
import pathlib
import shutil
import tempfile
import time

import numpy as np
import tensorflow as tf

from dino_tf.errors import ExportError, UserError, first_line
from dino_tf.formats import ENDINGS, FORMATS, Job, fresh_network, trained_size
from dino_tf.initial import pixel_statistics
from dino_tf.models.keras_networks import KerasBackbone
from dino_tf.models.loading import load_backbone
from dino_tf.transforms.image import center_crop, decode

# Features of a float32 network agree to about 1e-5 between programs.
TOLERANCE = 1e-3
BATCHES = (1, 2, 5)


def export(weights, format, out, size=None, num_heads=None, part=None, say=print):
    """Writes a trained backbone for another program, and reads it back.

    The features that an independent reader gets from random photos, in several batch
    sizes and at every size claimed, are compared with those of the source. Only an
    export that agrees to 1e-3 comes to `out`. Everything is in float32.

    Args:
        weights: What `load_backbone` accepts.
        format: "keras", "savedmodel", "onnx", "litert" or "safetensors". A `.keras`
            file is loaded by `keras.saving.load_model` after `from
            dino_tf import load_backbone`, the others without dino_tf.
        out: Path of a new file or, for "savedmodel" and "safetensors", folder.
        size: Side, or (height, width), of the images in pixels; None takes the size
            that the position table was trained for. "keras" and "safetensors" serve
            every size; this one is tried too.
        num_heads: Attention heads; see `load_backbone`.
        part: "student" or "teacher"; see `load_backbone`.
        say: Function that shows a line to the person.

    Returns:
        `out` as a path.

    Raises:
        UserError: For wrong arguments or a missing package; nothing is written.
        ExportError: When the export differs from its source; nothing is left.
    """
    began = time.perf_counter()
    kind, out = _choose(format, out)
    backbone = load_backbone(weights, num_heads, part)
    if format == "safetensors" and isinstance(backbone, KerasBackbone):
        words = "has no published names, allowed for it: the other formats"
        raise UserError(f"--format: {backbone.arch} {words}")
    job = Job(
        _in_float32(backbone, say),
        _checked_size(size, backbone),
        *pixel_statistics(weights),
        str(weights),
    )
    say(f"{format}: {_claim(job, kind)}")
    beside = _folder_beside(out)
    try:
        kind.write(job, beside / out.name)
        say(_compare(job, kind, beside / out.name))
        _refuse_existing(out)
        (beside / out.name).rename(out)
    finally:
        shutil.rmtree(beside)
    size_of = [p.stat().st_size for p in (out, *out.rglob("*")) if p.is_file()]
    seconds = time.perf_counter() - began
    say(f"{out}: {sum(size_of) / 1e6:.1f} MB in {seconds:.1f} s")
    return out


def _choose(format, out):
    """The `Format` and the path, when nothing speaks against them."""
    if format not in FORMATS:
        raise UserError(f"--format: got {format!r}, allowed: {', '.join(FORMATS)}")
    kind, out = FORMATS[format], pathlib.Path(out)
    _refuse_existing(out)
    wrong_ending = out.suffix != kind.ending if kind.ending else out.suffix in ENDINGS
    if wrong_ending or not out.name:
        wanted = f"a new {kind.ending} file" if kind.ending else "a new folder"
        raise UserError(f"--out: got {str(out)!r}, allowed for {format}: {wanted}")
    for module, package in kind.packages.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UserError(
                f"--format {format} needs the package {package}, which is missing; "
                f"install it: pip install {' '.join(kind.packages.values())}"
            ) from error
    return kind, out


def _refuse_existing(out):
    if out.exists() or out.is_symlink():
        raise UserError(f"--out: {out} exists already, allowed: a new path")


def _folder_beside(out):
    """New folder in that of `out`: moving is one step only in one file system."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return pathlib.Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        words = f"--out: got {str(out)!r}, allowed: a path in a folder of yours"
        raise UserError(f"{words} ({first_line(error)})") from error


def _checked_size(size, backbone):
    """(H, W) that is exported; the trained one for None."""
    if size is None:
        return trained_size(backbone)
    sides = np.atleast_1d(size).tolist()
    patch = backbone.patch_size
    if len(sides) not in (1, 2) or any(
        not isinstance(side, int) or side < 1 or side % patch for side in sides
    ):
        raise UserError(
            f"--size: got {' x '.join(map(str, sides))}, allowed: one side or height "
            f"and width, multiples of the patch ({patch} pixels)"
        )
    return (sides[0], sides[-1])


def _in_float32(backbone, say):
    policy = backbone.dtype_policy.name
    if policy == "float32":
        return backbone
    say(f"the weights are of a {policy} network; exported and compared in float32")
    return fresh_network(backbone, backbone.get_config(), backbone.get_weights())


def _claim(job, kind):
    height, width = job.size
    patch, dim = job.backbone.patch_size, job.backbone.embed_dim
    shape = f"(B, {height}, {width}, 3)"
    if kind.any_size:
        shape = f"(B, H, W, 3) with H and W any multiples of {patch}"
    mean, std = list(job.mean), list(job.std)
    return (
        f"images {shape}, any B, normalised by mean {mean} and deviation {std}, to "
        f"features (B, {dim})"
    )


def _compare(job, kind, path):
    """The line that tells how far the export is from its source."""
    sizes = [job.size]
    if kind.any_size:
        (height, width), patch = trained_size(job.backbone), job.backbone.patch_size
        others = [(height, width), (height + 2 * patch, width), (2 * patch, 3 * patch)]
        sizes = list(dict.fromkeys([*sizes, *others]))
    # On a GPU the source itself would round to TensorFloat-32.
    with tf.device("CPU:0"):
        forwards = kind.read(job, path)
        largest = _largest_difference(job, forwards, sizes)
    tried = ", ".join(f"{height} x {width}" for height, width in sizes)
    told = (
        f"{' and '.join(forwards)} read back by {kind.reader} at {tried}, batches of "
        f"{', '.join(map(str, BATCHES))}: largest difference {largest:.1e}"
    )
    if not largest <= TOLERANCE:
        raise ExportError(f"{told}, allowed: up to {TOLERANCE:g}; nothing was written")
    return told


def _largest_difference(job, forwards, sizes):
    """Largest difference of any feature, inf where shapes differ.

    It is absolute, or a share of the largest feature where that is below 1.
    """
    found = []
    for size in sizes:
        photos = _random_photos(size)
        crops = [center_crop(decode(p), size, job.mean, job.std) for p in photos]
        given = {"images": np.stack(crops), "photos": np.array(photos, object)}
        expected = np.asarray(job.backbone(given["images"], training=False))
        for name, forward in forwards.items():
            for count in BATCHES:
                features = np.asarray(forward(given[name][:count]))
                same = features.shape == expected[:count].shape
                apart = np.abs(features - expected[:count]).max() if same else np.inf
                # Small features must agree as well as large ones.
                found.append(apart / min(np.abs(expected).max() or 1.0, 1.0))
    # Python's own max passes over what is not a number.
    return float(np.max(found))


def _random_photos(size):
    """Files of coloured squares, JPEG and PNG by turns, upright and wide."""
    draw, files = np.random.default_rng(0), []
    for number in range(max(BATCHES)):
        shape = [round(side * draw.uniform(0.5, 2.0)) + 1 for side in size]
        squares = draw.integers(0, 256, (*(side // 8 + 1 for side in shape), 3))
        pixels = squares.repeat(8, 0).repeat(8, 1)[: shape[0], : shape[1]]
        encode = tf.io.encode_png if number % 2 else tf.io.encode_jpeg
        files.append(encode(pixels.astype("uint8")).numpy())
    return files
