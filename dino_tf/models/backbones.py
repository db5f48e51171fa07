"""The backbone contract, and the networks that keep it, by name.

A backbone is a Keras model with
    backbone(images)                     (B, H, W, 3) normalised float -> (B, D)
    backbone.extract(images, names)      dictionary of results of the last block
    backbone.intermediate_tokens(images, n)
    backbone.attention_by_block(images)      of every block in turn; ViTs alone
    backbone.grid_of((H, W))                 (h, w) of the patches
    backbone.patch_size, .num_prefix_tokens, .embed_dim, .result_names
"""

import difflib

from dino_tf.errors import UserError
from dino_tf.models.keras_networks import PREFIXES, KerasBackbone
from dino_tf.models.resnet import RESNETS, create_resnet
from dino_tf.models.vit import VisionTransformer
from dino_tf.models.xcit import XCITS, create_xcit

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
    "layer_scale": None,
    "seed": None,
}


def create_backbone(arch, patch_size=None, image_size=224, **kwargs):
    """A new backbone with random weights.

    Args:
        arch: "vit_tiny", "vit_small", "vit_base", "vit_large", "xcit_small_12",
            "xcit_medium_24" or "resnet50"; "keras:NAME" for a network of
            `keras.applications`, "keras_hub:PRESET" for one of keras-hub.
        patch_size: Side of a patch in pixels; None means 16. Only ViTs and XCiTs take
            one.
        image_size: Side, or (H, W), of the images that the position table is made
            for; every other size that the patch divides works too. Of the other
            networks, only those made for one image size ask for it.
        **kwargs: Other arguments of `VisionTransformer`, see also `create_xcit` and
            `create_resnet`; `embed_dim`, `depth` and `num_heads` replace those of
            `arch`, None leaves them. For networks of Keras `weights` and
            `batch_norm_momentum` of `KerasBackbone`, and whatever the network itself
            takes, such as `alpha` of keras:MobileNetV3Small.

    Returns:
        A built backbone.

    Raises:
        UserError: For an unknown name, sizes that do not divide one another, or an
            argument that the network has not.
    """
    if arch.startswith(PREFIXES):
        return _keras_backbone(arch, image_size, {"patch_size": patch_size, **kwargs})
    if arch in RESNETS:
        return create_resnet(arch, image_size, patch_size=patch_size, **kwargs)
    patch_size = 16 if patch_size is None else patch_size
    if arch in XCITS:
        return create_xcit(arch, patch_size, image_size, **kwargs)
    if arch not in VITS:
        known = (*VITS, *XCITS, *RESNETS)
        near = difflib.get_close_matches(arch, known, 1, 0.0)[0]
        raise UserError(
            f"unknown architecture {arch!r}; nearest is {near!r}, "
            f"known are {', '.join(known)}, keras:NAME and keras_hub:PRESET"
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


def like(backbone, **changes):
    """A built backbone of the same form with weights of its own.

    Args:
        backbone: Any backbone.
        **changes: Of its configuration; those that it does not have are passed over.
    """
    config = backbone.get_config()
    config.update({k: v for k, v in changes.items() if k in config})
    fresh = type(backbone).from_config(config)
    if not fresh.built:
        fresh.build((None, *getattr(backbone, "image_size", (224, 224)), 3))
    return fresh


def _keras_backbone(arch, image_size, kwargs):
    for name, value in kwargs.items():
        if name in VIT_ONLY and value not in (None, VIT_ONLY[name]):
            raise UserError(f"{name}: got {value}, allowed: with vit_* only")
    own = {k: v for k, v in kwargs.items() if k not in VIT_ONLY}
    ours = ("weights", "batch_norm_momentum", "name", "dtype")
    ours = {name: own.pop(name) for name in ours if name in own}
    return KerasBackbone(arch, image_size=image_size, options=own, **ours)
