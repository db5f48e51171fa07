"""How a network learns from the photos that there are; a part of `dino_tf.recipe`.

There are two recipes. The published settings were found on a million photos and a
hundred thousand updates: by them a short training ends before it has begun, as the
teacher's answers are nearly uniform for so long. The others are `FEW_PHOTOS`; README.md
has the measurements behind them, and `benchmarks/recipes` makes them again.
"""

import math

from dino_tf import checks, settings
from dino_tf.config import FIELDS
from dino_tf.placement import num_replicas
from dino_tf.recipe_memory import parts_of, photos_that_fit

LARGE_DATA = 100_000
# Updates of 64 photos each, up to which the recipe for few photos is taken: as many as
# one pass through ImageNet.
FEW_UPDATES, UPDATE = 20_000, 64
FEW_BATCH, FEW_SPAN = 32, 200  # photos; updates that the teacher averages, at most
FEW_RATE = 2e-4  # peak for so few photos
PUBLISHED_SIZE = 224  # pixels a side of a global crop
# What depends on the batch as well, and is chosen after it.
BY_BATCH = ("loss.centering", "loss.koleo_weight", "head.use_bn")
# What takes the place of the published value, and why.
FEW_PHOTOS = {
    "loss.centering": ("sinkhorn", "answers are spread evenly from the start"),
    "loss.koleo_weight": (0.1, "or the features crowd together at the start"),
    "loss.histogram_weight": (20.0, "edges are learnt before the teacher knows any"),
    "loss.warmup_teacher_temp": (0.02, "at the start answers differ little"),
    "head.use_bn": (True, "features that are alike are told apart sooner"),
    "optimizer.name": ("muon", "few updates have to go in all directions"),
    "optimizer.muon_query_key": (0.2, "or the heads look at single patches"),
    "optimizer.freeze_last_layer_epochs": (0, "an epoch is too much of a short run"),
    "optimizer.teacher_momentum_end": (0.995, "at 1 it would stand still too soon"),
    "model.drop_path_rate": (0.0, "every update is needed by every block"),
    "views.global_scale": ((0.5, 1.0), "crops that show the same are learnt sooner"),
    "views.local_scale": ((0.2, 0.6), "crops that show the same are learnt sooner"),
    "views.brightness": (0.7, "or views are matched by their light alone"),
    "views.contrast": (0.7, "or views are matched by their light alone"),
    "views.saturation": (0.5, "or views are matched by their colours alone"),
}


def apply_before_batch(config):
    """Puts `FEW_PHOTOS`, but for `BY_BATCH`, in the place of defaults.

    Args:
        config: `Config` with a recipe and a strategy; changed here. What was asked for
            stays, and takes with it what contradicts it.

    Returns:
        Dictionary of dotted keys of what is changed and one sentence on each.
    """
    changes = {key: FEW_PHOTOS[key] for key in FEW_PHOTOS if key not in BY_BATCH}
    return _changed(config, {**changes, **_blur(config)}, _contradicted(config))


def apply_by_batch(config, facts):
    """The same for `BY_BATCH` and the rate, as soon as there is a batch.

    Args:
        config: `Config` as `apply_before_batch` left it, with a batch size.
        facts: `recipe.Facts`.
    """
    changes = {**{key: FEW_PHOTOS[key] for key in BY_BATCH}, **_rate(config)}
    return _changed(config, changes, _unfit(config, facts))


def _changed(config, changes, left):
    if config.run.recipe != "few_photos":
        return {}
    reasons = {}
    for key, (value, reason) in changes.items():
        plain = settings.value_of(config, key) == FIELDS[key].default
        if plain and key not in config.given and key not in left:
            settings.assign(config, key, value)
            reasons[key] = f"few photos: {reason}"
    return reasons


def _rate(config):
    """Rate for 256 photos whose peak for 32 is `FEW_RATE`.

    For fewer photos it falls with the batch; for more it rises with its root only: at
    1e-3 and more deep networks fell into one answer.
    """
    more = max(config.pipeline.batch_size / FEW_BATCH, 1.0)
    rate = round(FEW_RATE * 256 / FEW_BATCH / math.sqrt(more), 6)
    reason = f"a peak of {FEW_RATE:g} for {FEW_BATCH} photos, by the root for more"
    return {"optimizer.lr": (rate, reason)}


def _blur(config):
    """The published blur, in pixels of global crops of 224 pixels, for other crops."""
    share = config.views.global_size / PUBLISHED_SIZE
    if share == 1:
        return {}
    sigma = tuple(round(share * s, 3) for s in FIELDS["views.blur_sigma"].default)
    reason = f"as strong as {PUBLISHED_SIZE} pixels have it, for their size"
    return {"views.blur_sigma": (sigma, reason)}


def _contradicted(config):
    """Keys of `FEW_PHOTOS` that contradict what is asked for."""
    loss, optimizer, left = config.loss, config.optimizer, set()
    if loss.teacher_temp is not None:
        left.add("loss.warmup_teacher_temp")
    if not checks.is_vit(config):
        left |= {"optimizer.name", "model.drop_path_rate", "loss.histogram_weight"}
    elif optimizer.freeze_blocks >= max(checks.network(config)[1] * 3 // 4, 1):
        # Nothing that learns is in front of what guesses them.
        left.add("loss.histogram_weight")
    if config.model.patch_size % 2:
        left.add("loss.histogram_weight")
    if not config.views.num_local:
        # The large crops then have to show parts as well.
        left |= {"views.global_scale", "views.local_scale"}
    end = FEW_PHOTOS["optimizer.teacher_momentum_end"][0]
    if (optimizer.teacher_momentum or 0) > end:
        left.add("optimizer.teacher_momentum_end")
    is_free = optimizer.name == "adamw" and "optimizer.name" not in config.given | left
    if optimizer.name != "muon" and not is_free:
        left.add("optimizer.muon_query_key")
    return left


def _unfit(config, facts):
    """Keys of `BY_BATCH`, and the rate, that are not for this batch or its machine."""
    loss, optimizer, left = config.loss, config.optimizer, set()
    replicas, fits = num_replicas(config, facts), photos_that_fit(config, facts)
    share = max(config.pipeline.batch_size // replicas, 1)
    steps = optimizer.accumulate_steps or parts_of(share, fits)
    if replicas > 1 and steps > 1:
        left |= {"loss.centering", "head.use_bn"}
    if loss.center_momentum != FIELDS["loss.center_momentum"].default:
        left.add("loss.centering")
    if loss.ibot_weight or config.init is not None:
        # Patches have a head without it, and so may what the weights bring.
        left.add("head.use_bn")
    if share / steps < 2:
        # A photo by itself has no neighbour, and nothing to be spread among.
        left |= {"loss.koleo_weight", "loss.centering"}
    if optimizer.name not in ("adamw", "muon") or optimizer.lr_scaling != "linear":
        left.add("optimizer.lr")
    return left


def _recipe(config, facts):
    seen = config.run.schedule_epochs * facts.num_photos
    words = f"{seen:,} photos seen are {seen // UPDATE:,} updates of {UPDATE}"
    if config.init is not None and facts.init_recipe != "few_photos":
        return "published", "few_photos is not measured on the weights of --init"
    if not checks.is_vit(config):
        return "published", "few_photos is measured for vit_* only"
    if config.run.strategy == "tpu":
        return "published", "few_photos is untried on a TPU"
    if seen <= FEW_UPDATES * UPDATE:
        return "few_photos", f"{words}, at most {FEW_UPDATES:,}"
    return "published", f"{words}, more than {FEW_UPDATES:,}"


def _out_dim(config, facts):
    power = round(math.log2(facts.num_photos))
    out_dim = 2 ** min(max(power, 8), 16)
    words = "near one prototype a photo, within 256 to 65536"
    return out_dim, f"{facts.num_photos:,} photos: {words}"


def _teacher_temp(config, facts):
    start = config.loss.warmup_teacher_temp
    if config.run.recipe == "few_photos":
        return start, "few photos: it stays where it starts"
    if facts.num_photos < LARGE_DATA:
        return start, f"{facts.num_photos:,} photos are few: it stays where it starts"
    return max(start, 0.07), "the published end for large sets"


def _warmup_teacher_temp_epochs(config, facts):
    if config.loss.teacher_temp == config.loss.warmup_teacher_temp:
        return 0, "the teacher temperature does not change"
    epochs = min(30, config.run.schedule_epochs * 3 // 10)
    return epochs, f"30, but at most 3 of 10 of all, {config.run.schedule_epochs}"


def _warmup_epochs(config, facts):
    epochs = min(10.0, config.run.schedule_epochs / 10)
    return epochs, f"10, but at most a tenth of all, {config.run.schedule_epochs}"


def _teacher_momentum(config, facts):
    """Momentum of a running mean over `span` updates: 1 - 1 / span.

    Spans of 250 updates at batch 1024 and 2000 at batch 256 are the published advice;
    a power law joins them. In a short run the teacher must still forget its start.
    """
    batch = config.pipeline.batch_size
    updates = config.run.schedule_epochs * (facts.num_photos // batch)
    advised, short = 250 * (1024 / batch) ** 1.5, updates / 50
    most = FEW_SPAN if config.run.recipe == "few_photos" else 2000
    span = min(max(min(advised, short), 50), most)
    cause = f"{updates:,} updates in all" if short < advised else f"batch {batch}"
    momentum, end = round(1 - 1 / span, 4), config.optimizer.teacher_momentum_end
    if momentum > end:
        return end, f"that of optimizer.teacher_momentum_end, {end}"
    return momentum, f"the teacher averages {span:.0f} updates: {cause}"


FIRST = {"run.recipe": _recipe}
RULES = {
    "optimizer.warmup_epochs": _warmup_epochs,
    "optimizer.teacher_momentum": _teacher_momentum,
    "head.out_dim": _out_dim,
    "loss.teacher_temp": _teacher_temp,
    "loss.warmup_teacher_temp_epochs": _warmup_teacher_temp_epochs,
}
