"""Layer-wise learning rates: the nearer to the pixels, the slower a layer learns."""

from dino_tf.errors import UserError


def has_layers(backbone):
    """Whether the layers of a backbone have known depths; see `depths`."""
    return bool(getattr(backbone, "blocks", None))


def depths(backbone):
    """Depth of each trainable variable of a backbone, and that of a layer behind it.

    Patch embedding, tokens and positions, or the stem of a ResNet, have 0; the i-th
    block from the front has i + 1 (in an XCiT the blocks of class attention follow
    the others), the bottlenecks of a ResNet that of their stage. What comes behind
    the blocks, such as the final norm, has the depth of a classifier.

    Args:
        backbone: Has `blocks`.

    Returns:
        Tuple (list of integers in the order of `backbone.trainable_variables`, depth
        of the classifier).

    Reference:
        Bao et al. 2021, arXiv 2106.08254; microsoft/unilm, beit,
        `optim_factory.py`, `get_num_layer_for_vit`.
    """
    blocks = [*backbone.blocks, *getattr(backbone, "cls_attn_blocks", ())]
    places = list(range(1, len(blocks) + 1))
    if hasattr(backbone, "stages"):
        counts = enumerate(backbone.stages, 1)
        places = [stage for stage, count in counts for _ in range(count)]
    last, known = places[-1] + 1, {}
    for block, place in zip(blocks, places, strict=True):
        known |= {id(variable): place for variable in block.trainable_variables}
    if hasattr(backbone, "norm"):
        known |= {id(variable): last for variable in backbone.norm.trainable_variables}
    return [known.get(id(v), 0) for v in backbone.trainable_variables], last


def rate_shares(model, backbone, decay, patch_embed=1.0, tokens=()):
    """Share of the learning rate that each variable of a model has.

    It is `decay ** (L - depth)`, where what is no part of the backbone, such as a
    classifier or a head, has depth L and share 1.

    Args:
        model: Layer that holds the backbone.
        backbone: The backbone in it.
        decay: In (0, 1]; 1 gives all layers the same rate.
        patch_embed: Further factor of the patch embedding of a Vision Transformer.
        tokens: Variables beside the backbone that have depth 0, such as a mask token.

    Returns:
        List of floats in the order of `model.trainable_variables`.

    Raises:
        UserError: A decay below 1 for a network whose layers have no known depths.

    Reference:
        Clark et al. 2020, arXiv 2003.10555; facebookresearch/mae, `util/lr_decay.py`;
        facebookresearch/dinov2, `utils/param_groups.py`.
    """
    variables = model.trainable_variables
    if decay == 1.0:
        shares = [1.0] * len(variables)
    else:
        shares = _shares_by_depth(variables, backbone, decay, tokens)
    if patch_embed != 1.0:
        patches = {id(v) for v in backbone.patch_embed.trainable_variables}
        factors = [patch_embed if id(v) in patches else 1.0 for v in variables]
        shares = [a * b for a, b in zip(shares, factors, strict=True)]
    return shares


def _shares_by_depth(variables, backbone, decay, tokens):
    if not has_layers(backbone):
        name = getattr(backbone, "arch", type(backbone).__name__)
        raise UserError(
            f"--layer-decay: got {decay}, allowed for {name}: 1, since the depths of "
            "its layers are not known"
        )
    found, last = depths(backbone)
    pairs = zip(backbone.trainable_variables, found, strict=True)
    depth_of = {id(variable): depth for variable, depth in pairs}
    depth_of |= {id(variable): 0 for variable in tokens}
    return [decay ** (last - depth_of.get(id(v), last)) for v in variables]
