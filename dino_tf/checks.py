"""What a configuration may hold: ranges of single settings, then contradictions.

Every refusal is one line: the setting, what was received, what is allowed.
"""

import math

from dino_tf import idle, settings
from dino_tf.config import FIELDS
from dino_tf.errors import UserError
from dino_tf.placement import sums_over_devices

# Width, blocks, heads of the published networks; overrides may be set one by one.
ARCHITECTURES = {
    "vit_tiny": (192, 12, 3),
    "vit_small": (384, 12, 6),
    "vit_base": (768, 12, 12),
    "vit_large": (1024, 24, 16),
}
# Words of what is allowed, the test of one number, and the settings it holds for.
RANGES = (
    (
        "1 or more",
        lambda x: x >= 1,
        "pipeline.batch_size pipeline.workers pipeline.decode_margin "
        "views.global_size views.local_size "
        "model.patch_size model.image_size model.embed_dim model.depth model.num_heads "
        "head.hidden_dim head.bottleneck_dim head.num_layers "
        "optimizer.accumulate_steps run.epochs run.schedule_epochs run.save_every "
        "run.keep_checkpoints run.attention_size run.eval_size run.health_every "
        "views.high_res_scale",
    ),
    (
        "0 or more",
        lambda x: x >= 0,
        "pipeline.processes pipeline.cache_gb "
        "views.num_local views.brightness views.contrast views.saturation "
        "model.num_registers loss.warmup_teacher_temp_epochs optimizer.min_lr "
        "optimizer.warmup_epochs optimizer.weight_decay optimizer.weight_decay_end "
        "loss.ibot_weight run.high_res_epochs "
        "optimizer.clip_grad optimizer.freeze_last_layer_epochs run.seed "
        "loss.koleo_weight loss.histogram_weight "
        "optimizer.freeze_blocks optimizer.freeze_backbone_epochs "
        "run.attention_every run.attention_photos run.knn_every run.report_every "
        "run.health_photos run.save_minutes run.keep_every pipeline.stall_seconds",
    ),
    (
        "above 0",
        lambda x: x > 0,
        "views.aspect views.blur_sigma views.std loss.student_temp "
        "loss.warmup_teacher_temp loss.teacher_temp optimizer.lr run.wait "
        "optimizer.patch_embed_lr optimizer.muon_lr optimizer.muon_query_key "
        "model.layer_scale",
    ),
    (
        "from 0 to 1",
        lambda x: 0 <= x <= 1,
        "pipeline.max_bad_share views.flip views.jitter views.grayscale "
        "views.global_blur views.local_blur views.solarize "
        "loss.center_momentum loss.ibot_mask_ratio optimizer.teacher_momentum "
        "optimizer.teacher_momentum_end",
    ),
    (
        "above 0, up to 1",
        lambda x: 0 < x <= 1,
        "views.global_scale views.local_scale optimizer.layer_decay "
        "loss.ibot_mask_probability",
    ),
    ("from 0 to below 1", lambda x: 0 <= x < 1, "model.drop_path_rate"),
    ("from 0 to 0.5", lambda x: 0 <= x <= 0.5, "views.hue"),
    ("from 0 to 256", lambda x: 0 <= x <= 256, "views.solarize_threshold"),
    ("2 or more", lambda x: x >= 2, "head.out_dim head.ibot_out_dim"),
)
# Beginnings of the names of other networks, and the settings of `model` they take.
OTHER_NETWORKS = {
    "keras:": (),
    "keras_hub:": (),
    "resnet50": (),
    "xcit_": ("patch_size", "drop_path_rate"),
}
# Settings that know the parts of a Vision Transformer.
VIT_ALONE = (
    "run.recompute run.high_res_epochs loss.ibot_weight loss.histogram_weight "
    "optimizer.layer_decay optimizer.patch_embed_lr optimizer.freeze_patch_embed "
    "optimizer.freeze_blocks"
).split()
LOW_HIGH = (
    "views.global_scale",
    "views.local_scale",
    "views.aspect",
    "views.blur_sigma",
    "loss.ibot_mask_ratio",
)


def is_vit(config):
    """Whether a configuration asks for a Vision Transformer of ours."""
    return not config.model.arch.startswith(tuple(OTHER_NETWORKS))


def settings_of(arch):
    """Settings of the section `model` that a network other than a ViT takes."""
    return next(own for start, own in OTHER_NETWORKS.items() if arch.startswith(start))


def network(config):
    """Width, blocks and heads of the Vision Transformer that is asked for."""
    sizes, model = ARCHITECTURES[config.model.arch], config.model
    asked = (model.embed_dim, model.depth, model.num_heads)
    return tuple(own or size for own, size in zip(asked, sizes, strict=True))


def peak_rate(config):
    """Learning rate after the warm-up, for the batch of a configuration.

    Reference:
        Goyal et al. 2017, arXiv 1706.02677, for "linear"; facebookresearch/dinov2,
        `utils/config.py`, `apply_scaling_rules_to_cfg`, for "sqrt".
    """
    batch, optimizer = config.pipeline.batch_size, config.optimizer
    if optimizer.lr_scaling == "sqrt":
        return optimizer.lr * math.sqrt(batch / 1024)
    return optimizer.lr * batch / 256


def check_values(config):
    """Checks every setting by itself; automatic ones (None) pass.

    Args:
        config: `Config` whose values have the right types.

    Raises:
        UserError: the first value outside its range.
    """
    for key in FIELDS:
        for number in _numbers(config, key):
            if not math.isfinite(number):
                _refuse(config, key, "finite numbers")
    for words, test, keys in RANGES:
        for key in keys.split():
            if not all(map(test, _numbers(config, key))):
                _refuse(config, key, words)
    for key in LOW_HIGH:
        low, high = settings.value_of(config, key)
        if low > high:
            _refuse(config, key, "the smaller number first")
    _check_arch(config)


def _check_arch(config):
    arch = config.model.arch
    if not is_vit(config):
        if arch.endswith(":"):
            _refuse(config, "model.arch", f"{arch}NAME, as in keras:ResNet50")
        taken = ("arch", *settings_of(arch))
        for key, field in FIELDS.items():
            own = key.startswith("model.") and key.removeprefix("model.") not in taken
            if own and settings.value_of(config, key) != field.default:
                _refuse(config, key, f"only with vit_*; {arch} has its own")
    elif arch not in ARCHITECTURES:
        hint = settings.nearest(arch, ARCHITECTURES)
        others = ("xcit_small_12", "xcit_medium_24", "resnet50", "keras:NAME")
        known = ", ".join([*ARCHITECTURES, *others, "keras_hub:PRESET"])
        _refuse(config, "model.arch", f"{known}; {hint}")
    else:
        _check_heads(config)


def check_together(config, facts, replicas):
    """Checks the settings of a resolved configuration against each other.

    Args:
        config: resolved `Config`.
        facts: `recipe.Facts`.
        replicas: devices that share a batch.

    Raises:
        UserError: the first contradiction.
    """
    if is_vit(config):
        _check_sizes(config)
        _check_frozen(config)
    else:
        _check_alone(config)
    _check_masks(config, replicas)
    _check_batch(config, facts, replicas)
    _check_sums(config, facts, replicas)
    _check_lengths(config)
    _check_pairs(config)
    _check_precision(config, facts)
    _check_idle(config)


def _check_masks(config, replicas):
    """Masked patch prediction: every part of a batch needs a masked view."""
    loss, head = config.loss, config.head
    if not loss.ibot_weight:
        return
    if head.use_bn:
        _refuse(config, "head.use_bn", "false with loss.ibot_weight")
    if head.ibot_out_dim is not None and not head.ibot_separate:
        _refuse(config, "head.ibot_out_dim", "null without head.ibot_separate")
    patches = (config.views.global_size // config.model.patch_size) ** 2
    if loss.ibot_mask_ratio[1] * patches < 1:
        words = f"a larger one that is a patch of the {patches} or more"
        _refuse(config, "loss.ibot_mask_ratio", words)
    parts = replicas * config.optimizer.accumulate_steps
    views = 2 * config.pipeline.batch_size // parts
    if int(loss.ibot_mask_probability * views) < 1:
        words = f"{1 / views:g} or more, for one of {views} global crops at a time"
        _refuse(config, "loss.ibot_mask_probability", words)


def _check_sizes(config):
    patch = config.model.patch_size
    if patch % 2 and config.loss.histogram_weight:
        _refuse(config, "loss.histogram_weight", "0 for patches of an odd side")
    sizes = ["views.global_size", "run.eval_size", "model.image_size"]
    if config.views.num_local:
        sizes.insert(1, "views.local_size")
    for key in sizes:
        size = settings.value_of(config, key)
        if size % patch:
            near = sorted({max(size // patch, 1) * patch, (size // patch + 1) * patch})
            words = " or ".join(map(str, near))
            _refuse(
                config, key, f"multiples of model.patch_size {patch}, such as {words}"
            )
    if config.run.attention_size < patch:
        _refuse(config, "run.attention_size", f"model.patch_size {patch} or more")


def _check_frozen(config):
    depth, optimizer = network(config)[1], config.optimizer
    if optimizer.freeze_blocks > depth:
        words = f"up to {depth}, the blocks of the network"
        _refuse(config, "optimizer.freeze_blocks", words)
    still = optimizer.freeze_patch_embed or optimizer.freeze_blocks
    if still and optimizer.patch_embed_lr != 1:
        _refuse(config, "optimizer.patch_embed_lr", "1 for a frozen patch projection")


def _check_alone(config):
    if config.optimizer.name == "muon":
        _refuse(config, "optimizer.name", "adamw, sgd, lars, as muon is for vit_* only")
    for key in VIT_ALONE:
        default = FIELDS[key].default
        if settings.value_of(config, key) != default:
            plain = str(default).lower()
            _refuse(config, key, f"{plain}, as others are for vit_* only")


def _check_batch(config, facts, replicas):
    batch, steps = config.pipeline.batch_size, config.optimizer.accumulate_steps
    if batch > facts.num_photos:
        words = f"at most {facts.num_photos}, the number of photos"
        _refuse(config, "pipeline.batch_size", words)
    if batch % (replicas * steps):
        words = f"multiples of {replicas * steps} ({replicas} devices, {steps} parts)"
        _refuse(config, "pipeline.batch_size", words)


def _check_sums(config, facts, replicas):
    what, steps = sums_over_devices(config, facts), config.optimizer.accumulate_steps
    where = f"for {what} over {replicas} devices"
    if steps > 1 and what:
        _refuse(config, "optimizer.accumulate_steps", f"1 {where}")
    if config.run.xla and what:
        _refuse(config, "run.xla", f"false {where}")
    if config.pipeline.batch_size < 2 * replicas * steps and config.loss.koleo_weight:
        words = f"0 for one photo at a time ({replicas} devices, {steps} parts)"
        _refuse(config, "loss.koleo_weight", words)


def _check_lengths(config):
    run, total = config.run, config.run.schedule_epochs
    if total < run.epochs:
        _refuse(config, "run.schedule_epochs", f"run.epochs {run.epochs} or more")
    if run.high_res_epochs >= run.epochs:
        words = f"fewer than run.epochs {run.epochs}"
        _refuse(config, "run.high_res_epochs", words)
    for key in (
        "optimizer.warmup_epochs",
        "optimizer.freeze_last_layer_epochs",
        "optimizer.freeze_backbone_epochs",
        "loss.warmup_teacher_temp_epochs",
    ):
        if settings.value_of(config, key) > total:
            _refuse(config, key, f"at most {total}, the epochs of the schedules")


def _check_pairs(config):
    student, optimizer = config.loss.student_temp, config.optimizer
    for key in ("loss.warmup_teacher_temp", "loss.teacher_temp"):
        if settings.value_of(config, key) > student:
            words = f"up to loss.student_temp {student}: the teacher is the sharper one"
            _refuse(config, key, words)
    start, peak = optimizer.teacher_momentum, peak_rate(config)
    if optimizer.teacher_momentum_end < start:
        words = f"optimizer.teacher_momentum {start} or more"
        _refuse(config, "optimizer.teacher_momentum_end", words)
    if optimizer.min_lr > peak:
        _refuse(config, "optimizer.min_lr", f"up to the peak of the rate, {peak:g}")


def _check_heads(config):
    width, _, heads = network(config)
    if config.model.init == "mimetic":
        if config.init is not None:
            _refuse(config, "model.init", "published, as --init brings its weights")
        if width % 4 or width < 8:
            words = f"published for the width {width}, no multiple of 4 from 8 on"
            _refuse(config, "model.init", words)
    if width % heads:
        raise UserError(f"model.num_heads: got {heads}, allowed: divisors of {width}")


def _check_precision(config, facts):
    precision, capability = config.run.precision, facts.compute_capability
    if precision == "mixed_float16" and not facts.num_gpus:
        _refuse(config, "run.precision", "float32, mixed_bfloat16 without a GPU")
    if precision == "mixed_bfloat16" and facts.num_gpus and capability:
        if capability < (8, 0):
            _refuse(config, "run.precision", "float32, mixed_float16 on this GPU")


def _check_idle(config):
    if found := idle.first_idle(config):
        key, words = found
        _refuse(config, key, words)


def _numbers(config, key):
    value = settings.value_of(config, key)
    values = value if isinstance(value, tuple) else (value,)
    return [x for x in values if isinstance(x, int | float)]


def _refuse(config, key, words):
    value = settings.value_of(config, key)
    value = list(value) if isinstance(value, tuple) else value
    raise UserError(f"{key}: got {value}, allowed: {words}")
