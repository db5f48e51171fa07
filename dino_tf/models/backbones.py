"""The backbone contract, and the networks that keep it, by name.

A backbone is a Keras model with
    backbone(images)                     (B, H, W, 3) normalised float -> (B, D)
    backbone.extract(images, names)      dictionary of results of the last block
    backbone.intermediate_tokens(images, n)
    backbone.grid_of((H, W))                 (h, w) of the patches
    backbone.patch_size, .num_prefix_tokens, .embed_dim, .result_names
"""

import difflib
import pathlib

import keras

from dino_tf.errors import UserError, first_line
from dino_tf.models.keras_networks import PREFIXES, KerasBackbone
from dino_tf.models.vit import VisionTransformer

# Width, depth, heads (Touvron et al. 2021, arXiv 2012.12877, table 1; large from
# Dosovitskiy et al. 2021, arXiv 2010.11929, table 1).
VITS = {
    "vit_tiny": (192, 12, 3),
    "vit_small": (384, 12, 6),
    "vit_base": (768, 12, 12),
    "vit_large": (1024, 24, 16),
}
# Arguments that only those have, at the values that change nothing.
VIT_ONLY = {
    "patch_size": 16,
    "embed_dim": None,
    "depth": None,
    "num_heads": None,
    "mlp_ratio": 4.0,
    "drop_path_rate": 0.0,
    "num_registers": 0,
    "seed": None,
}


def create_backbone(arch, patch_size=16, image_size=224, **kwargs):
    """A new backbone with random weights.

    Args:
        arch: "vit_tiny", "vit_small", "vit_base" or "vit_large"; "keras:NAME" for a
            network of `keras.applications`, "keras_hub:PRESET" for one of keras-hub.
        patch_size: Side of a patch in pixels.
        image_size: Side, or (H, W), of the images that the position table is made
            for; every other size that the patch divides works too. Of the other
            networks, only those made for one image size ask for it.
        **kwargs: Other arguments of `VisionTransformer`; `embed_dim`, `depth` and
            `num_heads` replace those of `arch`, None leaves them. For other networks
            `weights` and `batch_norm_momentum` of `KerasBackbone`, and whatever the
            network itself takes, such as `alpha` of keras:MobileNetV3Small.

    Returns:
        A built backbone.

    Raises:
        UserError: For an unknown name, sizes that do not divide one another, or an
            argument that the network has not.
    """
    if arch.startswith(PREFIXES):
        return _keras_backbone(arch, image_size, {"patch_size": patch_size, **kwargs})
    if arch not in VITS:
        near = difflib.get_close_matches(arch, VITS, 1, 0.0)[0]
        raise UserError(
            f"unknown architecture {arch!r}; nearest is {near!r}, "
            f"known are {', '.join(VITS)}, keras:NAME and keras_hub:PRESET"
        )
    sizes = dict(zip(("embed_dim", "depth", "num_heads"), VITS[arch], strict=True))
    sizes |= {k: v for k, v in kwargs.items() if v is not None}
    try:
        backbone = VisionTransformer(
            patch_size=patch_size, image_size=image_size, **sizes
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    backbone.build()
    return backbone


def _keras_backbone(arch, image_size, kwargs):
    for name, value in kwargs.items():
        if name in VIT_ONLY and value not in (None, VIT_ONLY[name]):
            raise UserError(f"{name}: got {value}, allowed: with vit_* only")
    own = {k: v for k, v in kwargs.items() if k not in VIT_ONLY}
    ours = ("weights", "batch_norm_momentum", "name", "dtype")
    ours = {name: own.pop(name) for name in ours if name in own}
    return KerasBackbone(arch, image_size=image_size, options=own, **ours)


def load_backbone(source, num_heads=None):
    """A backbone with the weights of `source`.

    Args:
        source: A run folder (its `backbone.keras`), a `.keras` file, or
            "random:ARCH/PATCH" for an untrained network ("random:keras:NAME" and
            "random:keras_hub:PRESET" without a patch size).
        num_heads: Attention heads, for "random:" only; None follows the name.

    Returns:
        A built backbone: the teacher of a trained run.

    Raises:
        UserError: When there is no such source or it holds no backbone.
    """
    source = str(source)
    if source.startswith("random:"):
        return _random_backbone(source, num_heads)
    path = pathlib.Path(source)
    if path.is_dir():
        path = path / "backbone.keras"
    if path.suffix != ".keras" or not path.is_file():
        raise UserError(
            f"no weights at {source!r}: expected a run folder with backbone.keras, a "
            ".keras file or random:ARCH/PATCH"
        )
    return _read_keras(path)


def _random_backbone(source, num_heads):
    arch = source.removeprefix("random:")
    if arch.startswith(PREFIXES):
        return create_backbone(arch, num_heads=num_heads)
    arch, _, patch = arch.partition("/")
    if patch and not patch.isdigit():
        raise UserError(f"{source!r}: expected random:ARCH/PATCH with a whole number")
    return create_backbone(arch, patch_size=int(patch or 16), num_heads=num_heads)


def _read_keras(path):
    try:
        model = keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError) as error:
        words = f"{path} cannot be read as a Keras model: {first_line(error)}"
        raise UserError(words) from error
    model = getattr(model, "teacher_backbone", model)
    if not hasattr(model, "extract"):
        raise UserError(f"{path} holds a {type(model).__name__}, not a backbone")
    # A teacher is saved as it is trained, that is, not by gradients.
    model.trainable = True
    return model
