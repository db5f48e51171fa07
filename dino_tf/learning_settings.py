"""The sections `loss` and `optimizer` of a configuration; see `dino_tf.config`."""

from dataclasses import dataclass
from typing import Literal

from dino_tf.settings import setting

Pair = tuple[float, float]


@dataclass
class Loss:
    """Temperatures and center."""

    student_temp: float = setting(0.1, "student temperature")
    warmup_teacher_temp: float = setting(
        0.04, "teacher temperature at the start; try less if the loss does not fall"
    )
    teacher_temp: float | None = setting(
        None,
        "teacher temperature after the warm-up; raise it from 0.04 in small steps, "
        "as runs above 0.07 tend to be unstable",
    )
    warmup_teacher_temp_epochs: int | None = setting(
        None, "epochs of linear growth of the teacher temperature"
    )
    center_momentum: float = setting(0.9, "share of the old center that is kept")
    ibot_weight: float = setting(
        0.0,
        "vit_*: weight of masked patch prediction beside the loss of the CLS token "
        "(iBOT, DINOv2: 1.0); better patch features, slower steps; 0: none",
    )
    ibot_mask_ratio: Pair = setting(
        (0.1, 0.5), "share of the patches that are hidden in a masked global crop"
    )
    ibot_mask_probability: float = setting(0.5, "share of global crops with masks")
    centering: Literal["center", "sinkhorn"] = setting(
        "center",
        "what keeps the teacher from giving one answer to all photos: a moving mean "
        "that is subtracted (center), or sinkhorn: the answers of each batch are "
        "spread evenly over the prototypes (DINOv2); for runs that fall into a few of "
        "them",
    )
    koleo_weight: float = setting(
        0.0,
        "weight of the KoLeo term, which pushes the student's features of the photos "
        "of a batch apart (DINOv2: 0.1); for features that crowd together; 0: none",
    )
    histogram_weight: float = setting(
        0.0,
        "weight of the guess at the gradients in a crop, as histograms of their "
        "directions (MaskFeat's target), that the student allows after three quarters "
        "of its blocks; for few photos; falls to 0 by a cosine; 0: none",
    )


@dataclass
class Optimizer:
    """How weights are updated."""

    name: Literal["adamw", "muon", "sgd", "lars"] = setting(
        "adamw",
        "adamw suits ViTs, and muon those with few updates to learn in; sgd and lars "
        "are for convolutional networks",
    )
    lr: float = setting(
        5e-4,
        "learning rate for 256 photos per update: the peak after the warm-up is "
        "lr * pipeline.batch_size / 256, or by optimizer.lr_scaling; with muon of all "
        "but the matrices of the blocks",
    )
    lr_scaling: Literal["linear", "sqrt"] = setting(
        "linear",
        "how the peak follows the batch: linear, or sqrt: lr * "
        "sqrt(pipeline.batch_size / 1024), where lr is for 1024 photos (DINOv2, with "
        "lr 0.004); for comparing batches of very different sizes",
    )
    muon_lr: float = setting(
        0.03,
        "muon: length in every direction of a step of the matrices of the blocks, "
        "while all else goes by adamw with optimizer.lr: the peak after the warm-up, "
        "for every batch; at the end a 200th of it is left",
    )
    muon_query_key: float = setting(
        1.0,
        "muon: factor of the steps of queries and keys; less than 1 keeps the heads "
        "from looking at single patches",
    )
    layer_decay: float = setting(
        1.0,
        "vit_*: the rate of a block is that of the one behind it times this, down to "
        "the patches, and the head has all of it (DINOv2: 0.9); less than 1 suits deep "
        "networks and going on from weights",
    )
    patch_embed_lr: float = setting(
        1.0,
        "vit_*: further factor of the rate of the patch projection (DINOv2: 0.2), for "
        "runs that become unstable",
    )
    min_lr: float = setting(1e-6, "learning rate at the end of the cosine (not scaled)")
    warmup_epochs: float | None = setting(
        None, "epochs of linear growth of the learning rate"
    )
    weight_decay: float = setting(
        0.04, "weight decay at the start; ViTs like a small one there"
    )
    weight_decay_end: float = setting(
        0.4, "weight decay at the end of its cosine; a larger one helps ViTs there"
    )
    clip_grad: float = setting(
        3.0,
        "largest gradient norm of each variable, 0: no clipping; larger ViTs can "
        "profit from 0.3 to 1.0",
    )
    freeze_last_layer_epochs: int = setting(
        1, "epochs in which the prototypes stay fixed; try more if the loss is stuck"
    )
    freeze_patch_embed: bool = setting(
        False,
        "vit_*: the patch projection stays at its random start, or at that of --init "
        "(MoCo v3); for runs whose gradient jumps there",
    )
    freeze_blocks: int = setting(
        0,
        "vit_*: so many blocks from the front stay as they are, with patch projection, "
        "positions and tokens; for going on from weights (--init) on few photos",
    )
    freeze_backbone_epochs: int = setting(
        0,
        "epochs in which the head alone learns; for going on from weights (--init) "
        "with a fresh head",
    )
    teacher_momentum: float | None = setting(
        None,
        "share of the old teacher kept at each update, at the start; small batches "
        "want more (0.996 for 1024 photos, 0.9995 for 256, in long runs)",
    )
    teacher_momentum_end: float = setting(1.0, "the same at the end of its cosine")
    accumulate_steps: int | None = setting(
        None,
        "parts in which a batch is computed, for one that does not fit in memory; "
        "pipeline.batch_size is the sum of all parts",
    )
