"""The automatic recipe: what is left open is chosen from the data and the machine.

Pure: `resolve` knows only its arguments, and gives a reason for every choice.
"""

import copy
import math
import textwrap
from dataclasses import dataclass

import yaml

from dino_tf import (
    checks,
    phases,
    recipe_learning,
    recipe_reading,
    recipe_watching,
    settings,
)
from dino_tf.config import FIELDS, Config
from dino_tf.placement import (
    accelerators,
    choose_strategy,
    num_replicas,
    sums_over_devices,
)
from dino_tf.recipe_learning import LARGE_DATA
from dino_tf.recipe_memory import parts_of, photos_that_fit

SMALL_CROP = 128  # pixels a side


@dataclass(frozen=True)
class Network:
    """What is known of a network that is no Vision Transformer of ours.

    Args:
        numbers: numbers that all its layers give for the views of one photo.
        batch_norm: it has batch norm.
    """

    numbers: float
    batch_norm: bool


@dataclass(frozen=True)
class Facts:
    """What is known of data and machine before training.

    Args:
        num_photos: photos to train on, at least 1.
        num_gpus: GPUs that TensorFlow sees.
        gpu_name: name of the first of them, or None.
        compute_capability: CUDA's (major, minor) of the weakest of them, or None.
        gpu_memory_gb: memory of the smallest of them in GB, None where unknown.
        num_cores: CPU cores that this process may use.
        cpu_has_bf16: the CPU multiplies bfloat16 matrices (AMX or AVX-512 BF16).
        memory_gb: main memory that this process may use, None where unknown.
        num_cpu_devices: logical CPU devices of TensorFlow, more than 1 in tests.
        num_workers: processes that train together; the other facts hold for each.
        workers_reason: where they are named, as `cluster.Cluster.reason`.
        num_tpu_cores: cores of a TPU, 0 without one.
        photo_mb: mean size of a decoded photo in MB, None where unknown, or where
            `recipe_reading.needs_photo_mb` says that no rule asks.
        network: `Network`, None for a Vision Transformer of ours.
        init_recipe: recipe of the run whose weights are gone on from, None where they
            are from no run.
    """

    num_photos: int
    num_gpus: int = 0
    gpu_name: str | None = None
    compute_capability: tuple[int, int] | None = None
    gpu_memory_gb: float | None = None
    num_cores: int = 1
    cpu_has_bf16: bool = False
    memory_gb: float | None = None
    num_cpu_devices: int = 1
    num_workers: int = 1
    workers_reason: str | None = None
    num_tpu_cores: int = 0
    photo_mb: float | None = None
    network: Network | None = None
    init_recipe: str | None = None


def choose_preset(facts, data):
    """Preset for a machine and a data SPEC (not `auto`), and the reason.

    Returns:
        Tuple (name in `presets.PRESETS`, one sentence).
    """
    if data.partition(":")[0] == "scenes":
        return "quickstart", "the built-in scenes are made for it"
    if not facts.num_gpus:
        return "voc2007_cpu", "no GPU is seen, so small crops and a small network"
    if facts.num_photos >= LARGE_DATA:
        return (
            "imagenet_vanilla",
            f"{accelerators(facts)} and {facts.num_photos:,} photos",
        )
    return "voc2007", f"{accelerators(facts)}, so the published crops and ViT-S"


def resolve(config, facts):
    """Fills in everything automatic and refuses what contradicts itself.

    Args:
        config: `Config`, its preset already applied (`presets.apply_preset`).
        facts: `Facts`.

    Returns:
        Tuple (new `Config`, reasons): `reasons` maps the dotted key of every value
        chosen here to one sentence.

    Raises:
        UserError: one line about the first value that is not allowed.
    """
    resolved = copy.deepcopy(config)
    for key, value in settings.check(Config, config.flatten()).items():
        settings.assign(resolved, key, value)
    checks.check_values(resolved)
    reasons = _fill_in(FIRST_RULES, resolved, facts)
    reasons |= recipe_learning.apply_before_batch(resolved)
    reasons |= _fill_in(BATCH_RULES, resolved, facts)
    reasons |= recipe_learning.apply_by_batch(resolved, facts)
    reasons |= _fill_in(RULES, resolved, facts)
    if not checks.is_vit(resolved):
        taken = [
            f"model.{k}" for k in ("arch", *checks.settings_of(resolved.model.arch))
        ]
        others = [k for k in FIELDS if k.startswith("model.") and k not in taken]
        reasons |= dict.fromkeys(others, "of vit_* only")
    checks.check_together(resolved, facts, num_replicas(resolved, facts))
    return resolved, reasons


def _fill_in(rules, config, facts):
    """Chooses what is open, in the order of `rules`; {key: sentence}."""
    reasons = {}
    for key, rule in rules.items():
        if settings.value_of(config, key) in (None, "auto"):
            value, reasons[key] = rule(config, facts)
            settings.assign(config, key, value)
    return reasons


def describe(config, reasons):
    """Table of all settings in 80 columns, with the reasons of automatic ones."""
    lines, open_section = [], ""
    for key, value in config.flatten().items():
        section, _, name = key.rpartition(".")
        if section != open_section:
            lines.append(section)
            open_section = section
        text = _yaml(value) + (f" - {reasons[key]}" if key in reasons else "")
        start = f"{'  ' if section else ''}{name}"
        lines += textwrap.wrap(
            text,
            80,
            initial_indent=f"{start:<29}",
            subsequent_indent=" " * 31,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def to_yaml(config, reasons):
    """A configuration as YAML, each reason as a comment above its value.

    `Config.from_yaml` reads it back.

    Args:
        config: `Config`.
        reasons: dotted keys and sentences, as from `resolve`.
    """
    lines, open_section = [], ""
    for key, value in config.flatten().items():
        section, _, name = key.rpartition(".")
        if section != open_section:
            lines.append(f"{section}:")
            open_section = section
        indent = "  " if section else ""
        if key in reasons:
            lines.append(f"{indent}# {reasons[key]}")
        lines.append(f"{indent}{name}: {_yaml(value)}")
    return "\n".join(lines) + "\n"


def _yaml(value):
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("...\n").strip()


def _precision(config, facts):
    if config.run.strategy == "tpu":
        return "mixed_bfloat16", "TPUs multiply bfloat16"
    if not facts.num_gpus:
        if facts.cpu_has_bf16:
            return "mixed_bfloat16", "this CPU multiplies bfloat16 matrices itself"
        return "float32", "this CPU is no faster in half precision"
    if facts.compute_capability is None:
        return "float32", "the compute capability of the GPU is unknown"
    name = "compute capability {}.{}".format(*facts.compute_capability)
    if facts.compute_capability >= (8, 0):
        return "mixed_bfloat16", f"{name} has fast bfloat16"
    if facts.compute_capability >= (7, 0) and config.model.patch_size >= 16:
        return "mixed_float16", f"{name} has fast float16, but no bfloat16"
    return "float32", f"{name} with patches of {config.model.patch_size} pixels"


def _xla(config, facts):
    if config.run.strategy == "tpu":
        return False, "TPUStrategy compiles the whole step itself"
    if what := sums_over_devices(config, facts):
        return False, f"{what} takes sums over several devices"
    if facts.num_gpus:
        return True, "fused kernels are worth the compile time on a GPU"
    return False, "on a CPU it gains little, and the first step would wait for it"


def _batch_size(config, facts):
    replicas = num_replicas(config, facts)
    unit = replicas * (config.optimizer.accumulate_steps or 1)
    usual, limit = 32, "usual on a CPU"
    if facts.num_gpus:
        usual, limit = 64, "usual on a GPU"
    elif config.views.global_size <= SMALL_CROP:
        usual, limit = 64, "usual for small crops"
    if config.run.recipe == "few_photos":
        usual = recipe_learning.FEW_BATCH
        limit = "few photos: smaller batches are more updates"
    # Eight updates an epoch at least, so that a small set trains at all.
    most = min(
        usual, photos_that_fit(config, facts), max(facts.num_photos / 8 / unit, 1)
    )
    part = 2 ** int(math.log2(most))
    if part < usual:
        limit = f"the most for this memory and {facts.num_photos:,} photos"
    times = f", {unit} of them" if unit > 1 else ""
    return part * unit, f"{part} at a time{times}, {limit}"


def _accumulate_steps(config, facts):
    share = max(config.pipeline.batch_size // num_replicas(config, facts), 1)
    fits = photos_that_fit(config, facts)
    if what := sums_over_devices(config, facts):
        return 1, f"{what} over several devices needs the batch at once"
    if share <= fits:
        return 1, f"a batch part of {share} photos fits the memory"
    words = f"by estimate the memory takes {int(fits)} photos, not {share}"
    return parts_of(share, fits), words


def _schedule_epochs(config, facts):
    return config.run.epochs, "the schedules end with the run"


def _image_size(config, facts):
    if not checks.is_vit(config):
        return None, "only Vision Transformers have a position table"
    return config.views.global_size, "the size of the global crops"


def _eval_size(config, facts):
    large = " of the last epochs" if config.run.high_res_epochs else ""
    size = phases.largest_views(config).global_size
    return size, f"the size of the global crops{large}"


# In this order: later rules read what earlier ones chose. After the first ones, and
# again after the batch, what the recipe says takes the place of defaults.
FIRST_RULES = {
    "run.schedule_epochs": _schedule_epochs,
    "run.strategy": choose_strategy,
    **recipe_learning.FIRST,
    "run.precision": _precision,
    "run.eval_size": _eval_size,
    **recipe_watching.RULES,
    "model.image_size": _image_size,
    **recipe_reading.RULES,
}
BATCH_RULES = {"pipeline.batch_size": _batch_size}
RULES = {
    "run.xla": _xla,
    "optimizer.accumulate_steps": _accumulate_steps,
    **recipe_learning.RULES,
}
