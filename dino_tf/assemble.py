"""From a resolved configuration to objects: the one place that unpacks it."""

import dataclasses

import keras

from dino_tf import checks, phases
from dino_tf.datasets.source import digest
from dino_tf.dino import DINO
from dino_tf.errors import UserError
from dino_tf.histograms import HistogramPrediction
from dino_tf.ibot import PatchLoss, PatchPrediction
from dino_tf.layer_rates import rate_shares
from dino_tf.loss import DINOLoss
from dino_tf.masking import PatchMasks
from dino_tf.models.backbones import create_backbone
from dino_tf.models.head import DINOHead
from dino_tf.models.keras_networks import gather_statistics, has_batch_norm
from dino_tf.models.mimetic import initialise_mimetic
from dino_tf.muon import Muon, matrix_parts
from dino_tf.optimizers import OPTIMIZERS
from dino_tf.photo_cache import DiskCache, MemoryCache
from dino_tf.pipeline import BadImages, make_dataset
from dino_tf.recipe import Network
from dino_tf.schedules import EpochLinear, WarmupCosine
from dino_tf.settings import value_of
from dino_tf.transforms.jpeg import DECODING_VERSION
from dino_tf.transforms.multicrop import MultiCrop
from dino_tf.views import views_outermost
from dino_tf.workload import (
    count_numbers,
    masked_flops,
    matmul_rate,
    muon_flops,
    seconds_per_photo,
    step_flops,
    step_share,
)

MUON_END = 1 / 200  # share of its rate that is left at the end


def build_model(config, steps):
    """`DINO` with its optimizer, compiled, for `steps` steps an epoch.

    Args:
        config: Resolved `Config`.
        steps: Steps per epoch.
    """
    total = config.run.schedule_epochs * steps
    optimizer_config, loss_config = config.optimizer, config.loss
    head, patch_head = new_heads(config)
    temperature = EpochLinear(
        loss_config.warmup_teacher_temp,
        loss_config.teacher_temp,
        loss_config.warmup_teacher_temp_epochs,
        steps,
    )
    loss = DINOLoss(
        head.out_dim,
        loss_config.student_temp,
        temperature,
        loss_config.center_momentum,
        loss_config.centering,
    )
    momentum = WarmupCosine(
        optimizer_config.teacher_momentum, optimizer_config.teacher_momentum_end, total
    )
    model = DINO(
        new_backbone(config),
        head,
        loss,
        teacher_momentum=momentum,
        clip_grad=optimizer_config.clip_grad,
        freeze_last_layer_steps=optimizer_config.freeze_last_layer_epochs * steps,
        accumulate_steps=optimizer_config.accumulate_steps,
        recompute=config.run.recompute,
        patches=new_patches(config, head.out_dim, patch_head, temperature),
        koleo_weight=loss_config.koleo_weight,
        freeze_patch_embed=optimizer_config.freeze_patch_embed,
        freeze_blocks=optimizer_config.freeze_blocks,
        freeze_backbone_steps=optimizer_config.freeze_backbone_epochs * steps,
        histograms=new_histograms(config, total),
    )
    model.compile(
        optimizer=new_optimizer(config, steps, total, model),
        jit_compile=config.run.xla,
    )
    return model


def new_heads(config):
    """`DINOHead` of the CLS features, and that of the patches, None without one."""
    options = dataclasses.asdict(config.head)
    own = {k: options.pop(f"ibot_{k}") for k in ("separate", "out_dim")}
    head = DINOHead(**options)
    if not (config.loss.ibot_weight and own["separate"]):
        return head, None
    options["out_dim"] = own["out_dim"] or head.out_dim
    return head, DINOHead(**options, name="ibot_head")


def new_patches(config, out_dim, head, temperature):
    """`PatchPrediction` of a configuration, None where it asks for none.

    Args:
        config: Resolved `Config`.
        out_dim: Prototypes K of the CLS features.
        head: That of the patches, None for a shared one.
        temperature: Teacher temperature, a number or a schedule.
    """
    options = config.loss
    if not options.ibot_weight:
        return None
    loss = PatchLoss(
        head.out_dim if head else out_dim,
        options.student_temp,
        temperature,
        options.center_momentum,
        options.centering,
        name="ibot_loss",
    )
    ratio, probability = options.ibot_mask_ratio, options.ibot_mask_probability
    return PatchPrediction(
        loss, head, options.ibot_weight, ratio, probability, name="ibot"
    )


def new_histograms(config, total):
    """`HistogramPrediction` of a configuration, None where it asks for none.

    In `total` steps its weight falls to nothing, as the teacher gets to know more.
    """
    weight, std = config.loss.histogram_weight, config.views.std
    if not weight:
        return None
    weight = WarmupCosine(weight, 0.0, total)
    return HistogramPrediction(weight, sum(std) / len(std), name="histograms")


def new_backbone(config):
    """Untrained student backbone of a configuration."""
    settings = dataclasses.asdict(config.model)
    arch, init = settings.pop("arch"), settings.pop("init")
    if not checks.is_vit(config):
        own = checks.settings_of(arch)
        settings = {k: v for k, v in settings.items() if k in own}
        settings["image_size"] = config.views.global_size
    backbone = create_backbone(arch, **settings)
    if init == "mimetic":
        initialise_mimetic(backbone, config.run.seed)
    return backbone


def untrained_backbone(config, source):
    """`new_backbone` to compare with; its batch norms have seen one batch."""
    backbone = new_backbone(config)
    if has_batch_norm(backbone):
        batch = next(iter(new_dataset(config, source, BadImages())))
        gather_statistics(backbone, views_outermost(batch["global"]))
    return backbone


def inspect_network(config):
    """`recipe.Network` of a configuration, None for a Vision Transformer of ours.

    Raises:
        UserError: When the network is unknown or does not take the size of a view.
    """
    if checks.is_vit(config):
        return None
    views, backbone, numbers = config.views, new_backbone(config), 0
    counts = {"views.global_size": 2, "views.local_size": views.num_local}
    counts["run.eval_size"] = 0 if config.run.eval_size is None else 1
    for key, count in counts.items():
        if not count:
            continue
        size = (value_of(config, key),) * 2
        try:
            backbone.grid_of(size)
        except ValueError as error:
            raise UserError(f"{key}: {error}") from error
        if key.startswith("views."):
            numbers += count * count_numbers(backbone, size)
    return Network(numbers, has_batch_norm(backbone))


def new_optimizer(config, steps, total, model):
    """Optimizer with its schedules; its rate is scaled to the batch.

    Args:
        config: Resolved `Config`.
        steps: Steps per epoch.
        total: Steps of the schedules.
        model: The `DINO` that it is for.
    """
    settings = config.optimizer
    warm_up = round(settings.warmup_epochs * steps)
    rate = WarmupCosine(checks.peak_rate(config), settings.min_lr, total, warm_up)
    decay = WarmupCosine(settings.weight_decay, settings.weight_decay_end, total)
    shares = None
    if settings.layer_decay != 1 or settings.patch_embed_lr != 1:
        factors = settings.layer_decay, settings.patch_embed_lr
        tokens = [model.patches.mask_token] if model.patches else ()
        shares = rate_shares(model, model.student_backbone, *factors, tokens)
    if settings.name == "muon":
        parts = matrix_parts(model, model.student_backbone)
        peak = settings.muon_lr
        length = WarmupCosine(peak, peak * MUON_END, total, warm_up)
        optimizer = Muon(
            rate,
            decay,
            parts,
            length,
            query_key=settings.muon_query_key,
            shares=shares,
        )
    else:
        optimizer = OPTIMIZERS[settings.name](rate, decay, shares=shares)
    if config.run.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def new_dataset(
    config, source, bad_images, start_position=0, part=(0, 1), epochs=0, replicas=1
):
    """Endless batches of views, from the `start_position`-th photo of the run.

    Args:
        config: Resolved `Config`.
        source: `Source`.
        bad_images: `BadImages` that collects unreadable photos.
        start_position: Photos of the run that are passed over.
        part: As for `make_dataset`.
        epochs: Whole epochs done before, which the size of the crops depends on.
        replicas: Devices that share a batch, of all workers.
    """
    views = phases.views_after(config, epochs)
    return make_dataset(
        source,
        MultiCrop(**phases.crop_options(views)),
        config.pipeline.batch_size,
        seed=config.run.seed,
        workers=config.pipeline.workers,
        bad_images=bad_images,
        start_position=start_position,
        part=part,
        decode_margin=config.pipeline.decode_margin,
        cache=new_cache(config, source, views),
        processes=config.pipeline.processes,
        masks=new_masks(config, replicas),
    )


def new_masks(config, replicas=1):
    """`PatchMasks` of a configuration for batches shared by devices, or None."""
    options = config.loss
    if not options.ibot_weight:
        return None
    return PatchMasks(
        config.model.patch_size,
        options.ibot_mask_ratio,
        options.ibot_mask_probability,
        replicas * config.optimizer.accumulate_steps,
    )


def photo_reduction(config):
    """Function (height, width) -> 1, 2, 4 or 8, by which JPEG photos become smaller."""
    views = MultiCrop(**phases.crop_options(phases.largest_views(config)))
    return views.reduction_with(config.pipeline.decode_margin)


def new_cache(config, source, views):
    """Where decoded photos of a source are kept for such `views`, or None."""
    options = config.pipeline
    if options.cache == "none":
        return None
    if options.cache == "memory":
        return MemoryCache(options.cache_gb)
    # The views say to what size photos are decoded.
    views = phases.crop_options(views)
    key = digest([DECODING_VERSION, source.stamp(), options.decode_margin, views])
    return DiskCache(options.cache_dir, key[:24], options.cache_gb)


def estimate_seconds(config, steps, backbone, devices=1, large_steps=0):
    """Seconds that training steps take here, and how that is known.

    Args:
        config: Resolved `Config`.
        steps: Training steps.
        backbone: A backbone of the configuration.
        devices: Devices such as this one that share each batch.
        large_steps: So many of the steps have the crops of the last epochs.

    Returns:
        Tuple (seconds, words): for a Vision Transformer by arithmetic alone, for
        other networks by timing `backbone`, which is one of the configuration.
    """
    if not checks.is_vit(config):
        sides = _sides(config.views)
        seconds = (
            steps * config.pipeline.batch_size * seconds_per_photo(backbone, sides)
        )
        return seconds / devices, "timed passes of the network"
    flops = (steps - large_steps) * _photo_flops(config, config.views)
    flops += large_steps * _photo_flops(config, phases.large_views(config))
    width, dtype = checks.network(config)[0], config.run.precision
    dtype = dtype.removeprefix("mixed_")
    rate = matmul_rate(dtype) * step_share(width, dtype) * devices
    words = "the arithmetic of the network and a test of this machine"
    return flops * config.pipeline.batch_size / rate, words


def _sides(views):
    """Crops of a section `views`, as `workload.step_flops` takes them."""
    return [(2, views.global_size, True), (views.num_local, views.local_size, False)]


def _photo_flops(config, views):
    """Operations of a step for one photo of a Vision Transformer."""
    head, loss = config.head, config.loss
    width, depth, _ = checks.network(config)
    sizes = [width] + [head.hidden_dim] * (head.num_layers - 1)
    sizes += [head.bottleneck_dim, head.out_dim]
    patch_size, sides = config.model.patch_size, _sides(views)
    flops = step_flops(sides, patch_size, width, depth, sizes)
    if config.optimizer.name == "muon":
        flops += muon_flops(width, depth) / config.pipeline.batch_size
    if loss.ibot_weight:
        sizes[-1] = head.ibot_out_dim or head.out_dim
        share = loss.ibot_mask_probability * sum(loss.ibot_mask_ratio) / 2
        flops += masked_flops(sides, patch_size, width, sizes, share)
    return flops
