"""What `finetune` trains with: given values, then the preset's, then automatic ones."""

import dataclasses
import math

from dino_tf.errors import UserError
from dino_tf.layer_rates import has_layers

# Photos that an automatic number of epochs shows in all. On a processor of 120 GFLOP/s
# a ViT-Ti/16 takes five minutes for them at 112 pixels (1.9 GFLOP a photo).
SEEN_ON_CPU, SEEN_ON_GPU = 20_000, 1_000_000
FEWEST_EPOCHS, MOST_EPOCHS = 3, 50
STEPS_WANTED = 20  # in an epoch, before the batch is made smaller
SIDE_ON_CPU, SIDE_ON_GPU = 112, 224
PEAK = 1e-3  # automatic learning rate at its peak, whatever the batch
LONGEST_WARMUP = 5.0  # epochs; of short trainings it is a tenth

# What DINO's authors named for CIFAR-10 when asked (facebookresearch/dino, issue 81),
# and the other rate for CIFAR-100 and ViT-B/16 (issue 144); the paper points to DeiT
# (arXiv 2012.12877). Rates are read as DeiT's `--lr`, which is for 512 photos; ours is
# for 256. They train with RandAugment and repeated augmentation as well: here colour
# jitter stands for the first, nothing for the second. Not run yet.
_CIFAR = {
    "size": 224,
    "epochs": 1000,
    "batch_size": 768,
    "layer_decay": 1.0,
    "weight_decay": 0.05,
    "warmup_epochs": LONGEST_WARMUP,
    "mixup": 0.8,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
    "drop_path": 0.1,
    "jitter": 0.4,
    "smallest_crop": 0.08,
    "clip_norm": 0.0,
}
PRESETS = {
    "cifar10": {**_CIFAR, "lr": 7.5e-6 / 2},
    "cifar100": {**_CIFAR, "lr": 5e-6 / 2},
}
# What each setting allows, in words, and the function that says so.
_ALLOWED = {
    "epochs": ("1 or more", lambda v: v >= 1),
    "batch_size": ("1 or more", lambda v: v >= 1),
    "size": ("1 or more", lambda v: v >= 1),
    "lr": ("above 0", lambda v: 0 < v < math.inf),
    "layer_decay": ("above 0, at most 1", lambda v: 0 < v <= 1),
    "weight_decay": ("0 or more", lambda v: 0 <= v < math.inf),
    "warmup_epochs": ("0 or more", lambda v: 0 <= v < math.inf),
    "mixup": ("0 or more", lambda v: 0 <= v < math.inf),
    "cutmix": ("0 or more", lambda v: 0 <= v < math.inf),
    "label_smoothing": ("0 to below 1", lambda v: 0 <= v < 1),
    "drop_path": ("0 to below 1", lambda v: 0 <= v < 1),
    "jitter": ("0 or more", lambda v: 0 <= v < math.inf),
    "smallest_crop": ("above 0, at most 1", lambda v: 0 < v <= 1),
    "clip_norm": ("0 or more", lambda v: 0 <= v < math.inf),
    "seed": ("0 or more", lambda v: v >= 0),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """All numbers of one fine-tuning.

    Attributes:
        size: Side of the square that the network sees, in pixels.
        epochs: Passes over the training photos.
        batch_size: Photos in one step, over all replicas.
        lr: Learning rate at its peak for a batch of 256, times `batch_size` / 256.
        layer_decay: See `dino_tf.layer_rates.rate_shares`.
        weight_decay: Of AdamW; biases and one-dimensional variables have none.
        warmup_epochs: Epochs of the rise from 0 to the peak, before the cosine to 0.
        mixup: See `dino_tf.transforms.mixing.Mixing`.
        cutmix: See `dino_tf.transforms.mixing.Mixing`.
        label_smoothing: See `dino_tf.transforms.mixing.Mixing`.
        drop_path: Chance to drop the last block's branches; see `VisionTransformer`.
        jitter: See `dino_tf.transforms.random_crop.RandomCrop`.
        smallest_crop: Smallest share of a photo's area in a crop.
        clip_norm: Largest L2 norm of all gradients together; 0 does not clip.
        seed: Of order, crops, mixing, drop path and the linear layer.
    """

    size: int
    epochs: int
    batch_size: int
    lr: float
    layer_decay: float
    weight_decay: float
    warmup_epochs: float
    mixup: float
    cutmix: float
    label_smoothing: float
    drop_path: float
    jitter: float
    smallest_crop: float
    clip_norm: float
    seed: int = 0

    @property
    def peak_rate(self):
        """Learning rate at the end of the warm-up."""
        return self.lr * self.batch_size / 256


def resolve(backbone, photos, given, preset=None, gpu=False):
    """All settings of a fine-tuning, and what was chosen for a person.

    Args:
        backbone: The network.
        photos: Number of training photos.
        given: {name of a field of `Settings`: value}; None is left to the preset or
            automatic.
        preset: Name in `PRESETS`, or None.
        gpu: Whether a GPU does the work.

    Returns:
        Tuple (`Settings`, notes: list of lines for a person).

    Raises:
        UserError: A name or value is not allowed, by itself or for this network.
    """
    if preset is not None and preset not in PRESETS:
        raise UserError(f"--preset: got {preset!r}, allowed: {', '.join(PRESETS)}")
    given = {name: value for name, value in given.items() if value is not None}
    unknown = set(given) - {field.name for field in dataclasses.fields(Settings)}
    if unknown:
        raise UserError(
            f"no option {sorted(unknown)[0]!r}; allowed: {', '.join(_ALLOWED)}"
        )
    automatic = _automatic(backbone, photos, gpu)
    chosen = automatic | PRESETS.get(preset, {}) | given
    if "lr" not in {**PRESETS.get(preset, {}), **given}:
        chosen["lr"] = PEAK * 256 / max(chosen["batch_size"], 1)
    if "warmup_epochs" not in given:
        chosen["warmup_epochs"] = min(LONGEST_WARMUP, chosen["epochs"] / 10)
    for name, value in chosen.items():
        words, allowed = _ALLOWED[name]
        if not allowed(value):
            raise UserError(f"{_option(name)}: got {value}, allowed: {words}")
    settings = Settings(**chosen)
    _check_together(settings, backbone, photos)
    silent = [
        n for n in automatic if n not in given and n not in PRESETS.get(preset, {})
    ]
    told = ", ".join(f"{n} {chosen[n]:g}" for n in silent)
    notes = [f"automatic, by {photos:,} photos and the machine: {told}"] if told else []
    return settings, notes


def _option(name):
    return "--" + name.replace("_", "-")


def _automatic(backbone, photos, gpu):
    seen, side = (SEEN_ON_GPU, SIDE_ON_GPU) if gpu else (SEEN_ON_CPU, SIDE_ON_CPU)
    most = 256 if gpu else 32
    batch = 2 ** int(math.log2(max(photos / STEPS_WANTED, 1)))
    blocks = has_layers(backbone)
    return {
        "size": _side(backbone, side),
        "epochs": min(max(round(seen / max(photos, 1)), FEWEST_EPOCHS), MOST_EPOCHS),
        "batch_size": min(max(batch, 8), most, max(photos, 1)),
        "lr": PEAK,
        "layer_decay": 0.75 if blocks else 1.0,
        "weight_decay": 0.05,
        "warmup_epochs": LONGEST_WARMUP,
        "mixup": 0.0,
        "cutmix": 0.0,
        "label_smoothing": 0.1,
        "drop_path": 0.1 if hasattr(backbone, "drop_path_rate") else 0.0,
        "jitter": 0.0,
        "smallest_crop": 0.3,
        "clip_norm": 1.0,
        "seed": 0,
    }


def _side(backbone, most):
    """Side that the network was made for, or the largest below up to `most`."""
    fixed = getattr(backbone, "fixed_size", None)
    patch = getattr(backbone, "patch_size", 1)
    own = min(getattr(backbone, "image_size", None) or (most,))
    return fixed[0] if fixed else max(min(own, most) // patch, 1) * patch


def _check_together(settings, backbone, photos):
    if settings.batch_size > photos:
        raise UserError(
            f"--batch-size: got {settings.batch_size}, allowed: 1 to {photos}, the "
            "training photos"
        )
    if settings.warmup_epochs > settings.epochs:
        raise UserError(
            f"--warmup-epochs: got {settings.warmup_epochs:g}, allowed: 0 to "
            f"{settings.epochs}, the epochs"
        )
    if settings.drop_path and not hasattr(backbone, "drop_path_rate"):
        name = getattr(backbone, "arch", type(backbone).__name__)
        raise UserError(
            f"--drop-path: got {settings.drop_path:g}, allowed for {name}: 0, since "
            "it has no drop path"
        )
    if hasattr(backbone, "grid_of"):
        try:
            backbone.grid_of((settings.size, settings.size))
        except ValueError as error:
            raise UserError(f"--size: got {settings.size}; {error}") from error
