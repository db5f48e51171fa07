"""Weights from anywhere into the network that they belong to."""

import pathlib
import warnings
import zipfile

import keras
import numpy as np

from dino_tf.errors import UserError, first_line
from dino_tf.models import published, recognise
from dino_tf.models.backbones import create_backbone
from dino_tf.models.classifier import Classifier
from dino_tf.models.head import DINOHead
from dino_tf.models.keras_files import check_keras_file
from dino_tf.models.keras_networks import PREFIXES
from dino_tf.models.resnet import ResNet
from dino_tf.models.vit import VisionTransformer
from dino_tf.models.weight_files import check_part, read_weights
from dino_tf.models.weights import assign_published
from dino_tf.models.xcit import XCiT

# What a folder may hold: a run, an export, a copy of a repository.
FILES = ("backbone.keras", "model.safetensors", "pytorch_model.bin")
EXPECTED = (
    "expected a run folder, a .keras, .pth or .safetensors file, hf://OWNER/NAME, "
    "random:ARCH/PATCH, or a published name such as dino_vits16"
)
# What tells a network by the names of its weights, its arguments, and its class.
NETWORKS = (
    (recognise.is_vit, recognise.vit_arguments, VisionTransformer),
    (recognise.is_xcit, recognise.xcit_arguments, XCiT),
    (recognise.is_resnet, recognise.resnet_arguments, ResNet),
)


def load_backbone(source, num_heads=None, part=None, strict=True):
    """A backbone with the weights of `source`.

    Args:
        source: A run folder (its `backbone.keras`), a `.keras` file; a PyTorch file
            (state dict or training checkpoint) or `.safetensors`, under the names of
            the published programs, timm or transformers; a published name (see
            `published.PATHS`), "hf://OWNER/NAME", or "random:ARCH/PATCH" for an
            untrained network. Architecture, patch size and position table are read
            off the file, be it a ViT, an XCiT or a ResNet. DINOv3's rotary positions
            have the published coordinates and, where the file has none, periods.
        num_heads: Attention heads of a ViT, which few such files tell; None follows
            the published rule of 64 channels a head.
        part: "student" or "teacher" of a training checkpoint; None takes the teacher.
        strict: Whether anything but a full match of the backbone's weights is an
            error; else what does not fit keeps its random values, and a warning
            names it.

    Returns:
        A built backbone.

    Raises:
        UserError: When there is no such source or it holds no such backbone.
    """
    source = str(source)
    check_part(part)
    if source.startswith("random:"):
        _refuse_part(source, part)
        return _random_backbone(source, num_heads)
    path = find_file(source)
    if path.suffix == ".keras":
        _refuse_part(source, part)
        return _read_keras(path, num_heads)
    backbone, match = backbone_of(read_weights(path, part), num_heads, strict)
    if not match.complete:
        warnings.warn(f"{path}: {match}", stacklevel=2)
    return backbone


def find_file(source):
    """File that `source` means, downloaded where it is a name.

    Raises:
        UserError: When there is no such file, name or network.
    """
    if source in published.PATHS:
        return published.fetch_published(source)
    if source.startswith(published.HUB):
        return published.fetch_from_hub(source)
    path = pathlib.Path(source)
    if path.is_dir() and source:
        if (path / "config.yaml").is_file() and not (path / FILES[0]).is_file():
            raise UserError(f"the run {source} has not come to its end: no {FILES[0]}")
        there = [path / name for name in FILES if (path / name).is_file()]
        path = there[0] if there else path
    if not path.is_file():
        near = published.nearest(source)
        hint = f"; did you mean {near}?" if near else ""
        raise UserError(f"no weights at {source!r}: {EXPECTED}{hint}")
    return path


def backbone_of(weights, num_heads=None, strict=True):
    """Backbone that a `WeightFile` belongs to, with its weights.

    Returns:
        Tuple (backbone, `Match`).

    Raises:
        UserError: When the weights are those of no network that is known, or do not
            fit it.
    """
    try:
        arrays = recognise.published_names(weights.backbone)
    except UserError as error:
        raise UserError(f"{weights.path}: {error}") from error
    found = [network for network in NETWORKS if network[0](arrays)]
    if not found:
        some = ", ".join(sorted(arrays)[:3])
        raise UserError(
            f"{weights.path} holds the weights of no network that is known here: "
            f"{some}, ..."
        )
    _, arguments_of, network = found[0]
    num_heads = weights.num_heads if num_heads is None else num_heads
    try:
        backbone = network(**arguments_of(arrays, num_heads))
    except ValueError as error:
        raise UserError(f"{weights.path}: {error}") from error
    backbone.build()
    try:
        return backbone, assign_published(backbone, arrays, strict)
    except UserError as error:
        raise UserError(f"{weights.path}: {error}") from error


def head_of(weights):
    """`DINOHead` that a `WeightFile` holds, with its weights; None without one.

    Raises:
        UserError: When the weights do not fit a head.
    """
    if not weights.head:
        return None
    try:
        head = DINOHead(**recognise.head_arguments(weights.head))
        head.build((None, recognise.head_input(weights.head)))
        assign_published(head, weights.head)
    except (UserError, ValueError) as error:
        raise UserError(f"{weights.path}, head: {error}") from error
    return head


def _refuse_part(source, part):
    if part is not None:
        raise UserError(
            f"{source} holds one network; asked for was the {part}, which only a "
            "training checkpoint of PyTorch has"
        )


def _random_backbone(source, num_heads):
    arch = source.removeprefix("random:")
    if arch.startswith(PREFIXES):
        return create_backbone(arch, num_heads=num_heads)
    arch, _, patch = arch.partition("/")
    if patch and not patch.isdigit():
        raise UserError(f"{source!r}: expected random:ARCH/PATCH with a whole number")
    size = int(patch) if patch else None
    return create_backbone(arch, patch_size=size, num_heads=num_heads)


def _read_keras(path, num_heads):
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} cannot be read as a Keras model: it is no archive")
    check_keras_file(path)
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises many unrelated types
        # It wraps the errors of our own, such as a missing keras-hub.
        if isinstance(error.__context__, UserError):
            raise error.__context__ from error
        words = f"{path} cannot be read as a Keras model: {first_line(error)}"
        raise UserError(words) from error
    model = getattr(model, "teacher_backbone", model)
    model = model.backbone if isinstance(model, Classifier) else model
    if not hasattr(model, "extract"):
        raise UserError(f"{path} holds a {type(model).__name__}, not a backbone")
    heads = getattr(model, "num_heads", None)
    if num_heads not in (None, heads):
        raise UserError(f"{path} has {heads} heads; asked for were {num_heads}")
    if not all(np.isfinite(weight.numpy()).all() for weight in model.weights):
        raise UserError(f"{path} holds weights that are not finite numbers")
    # A teacher is saved as it is trained, that is, not by gradients.
    model.trainable = True
    return model
