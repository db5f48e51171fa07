"""The backbone contract, and the networks that keep it, by name.

A backbone is a Keras model with
    backbone(images)                     (B, H, W, 3) normalised float -> (B, D)
    backbone.extract(images, names)      dictionary of results of the last block
    backbone.intermediate_tokens(images, n)
    backbone.patch_size, .num_prefix_tokens, .embed_dim
"""

import difflib

from dino_tf.errors import UserError
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


def create_backbone(arch, patch_size=None, image_size=224, **kwargs):
    """A new backbone with random weights.

    Args:
        arch: "vit_tiny", "vit_small", "vit_base", "vit_large", "xcit_small_12",
            "xcit_medium_24" or "resnet50".
        patch_size: Side of a patch in pixels; None means 16. A ResNet takes none.
        image_size: Side, or (H, W), of the images that the position table is made
            for; every other size that the patch divides works too.
        **kwargs: Other arguments of `VisionTransformer`, see also `create_xcit` and
            `create_resnet`; `embed_dim`, `depth` and `num_heads` replace those of
            `arch`, None leaves them.

    Returns:
        A built backbone.

    Raises:
        UserError: For an unknown name, sizes that do not divide one another, or an
            argument that the network has not.
    """
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
            f"known are {', '.join(known)}"
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
