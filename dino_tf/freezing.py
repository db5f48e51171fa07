"""What of a student stays as it is: for good, or for its first steps.

What is frozen for good is not trainable: it has no gradient and no place in the
optimizer. What is frozen for some steps gets gradients of zeros there, and neither
decay nor averaging moves it.
"""

import keras


def freeze_for_good(backbone, patch_embed=False, blocks=0):
    """Makes the front of a Vision Transformer untrainable.

    Args:
        backbone: `VisionTransformer`, built; any other where nothing is asked for.
        patch_embed: Whether its patch projection is frozen.
        blocks: Number of blocks, from the front, that are frozen together with patch
            projection, position table, CLS token and registers.

    Raises:
        ValueError: For a network without blocks, or more of them than it has.

    Reference:
        Chen et al. 2021, arXiv 2104.02057, for the patch projection (MoCo v3).
    """
    if not patch_embed and not blocks:
        return
    known = len(getattr(backbone, "blocks", ()))
    if not hasattr(backbone, "patch_embed") or not 0 <= blocks <= known:
        raise ValueError(
            f"freeze_patch_embed={patch_embed}, freeze_blocks={blocks}: expected a "
            f"Vision Transformer and up to its {known} blocks"
        )
    frozen = list(backbone.patch_embed.weights)
    if blocks:
        names = ("cls_token", "pos_embed", "register_tokens")
        tokens = [getattr(backbone, name, None) for name in names]
        frozen += [token for token in tokens if token is not None]
        frozen += [v for block in backbone.blocks[:blocks] for v in block.weights]
    for variable in frozen:
        variable.trainable = False


def frozen_until(model):
    """{id of a student's variable: first step in which it moves}; others always do.

    Args:
        model: `DINO`.
    """
    heads = [head.last_layer.trainable_variables for head in model.student_heads]
    last = [v for variables in heads for v in variables]
    parts = (
        (model.freeze_backbone_steps, model.student_backbone.trainable_variables),
        (model.freeze_last_layer_steps, last),
    )
    return {id(v): steps for steps, variables in parts if steps for v in variables}


def share_frozen(model):
    """Gives the student the teacher's values of what is frozen.

    Both have the same there from the start on, and so they keep it.

    Args:
        model: `DINO` whose weights were loaded.
    """
    student, teacher = model.student_backbone, model.teacher_backbone
    for_good = model.freeze_patch_embed or model.freeze_blocks
    for own, other in zip(student.weights, teacher.weights, strict=True):
        if model.freeze_backbone_steps or (for_good and not own.trainable):
            own.assign(keras.ops.convert_to_tensor(other))
