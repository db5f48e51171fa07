"""Every setting of a training run: its name, default and meaning, in one place.

`None` means automatic: `recipe.resolve` fills it in from the data and the machine.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from dino_tf import settings
from dino_tf.learning_settings import Loss, Optimizer
from dino_tf.run_settings import Run
from dino_tf.settings import setting

Pair = tuple[float, float]
Triple = tuple[float, float, float]


@dataclass
class Pipeline:
    """Reading photos."""

    batch_size: int | None = setting(
        None,
        "photos per update of the weights, over all devices and accumulated steps",
    )
    workers: int | None = setting(None, "threads that decode and augment photos")
    processes: int | None = setting(
        None,
        "processes that decode and augment photos in the place of threads, which "
        "more than a few cores need to be of use; 0: threads",
    )
    decode_margin: float | None = setting(
        2.0,
        "JPEG photos are decoded at 1/2, 1/4 or 1/8 of their sides where even the "
        "smallest crop then keeps so many times the pixels a side of its view; null: "
        "always in full",
    )
    cache: Literal["auto", "none", "memory", "disk"] = setting(
        "auto",
        "where decoded photos are kept for the next epochs; nothing else changes. "
        "disk: plain pixels, several times the size of the files, worth it where "
        "decoding is slow and the disk fast",
    )
    cache_gb: float | None = setting(
        None, "the most that kept photos take, in GB; the others are decoded again"
    )
    cache_dir: str = setting(
        "result/cache/photos", "folder of cache disk; may be deleted at any time"
    )
    max_bad_share: float = setting(
        0.1, "stop when more than this share of the photos cannot be read"
    )
    stall_seconds: float = setting(
        300.0,
        "stop when one photo takes longer to be read, as from a network share that no "
        "longer answers; 0: wait for ever",
    )


@dataclass
class Views:
    """The crops made of every photo, and how their colours are changed."""

    global_size: int = setting(224, "side of the two global crops, in pixels")
    local_size: int = setting(96, "side of the local crops, in pixels")
    num_local: int = setting(
        8,
        "local crops per photo; with 0, widen views.global_scale to [0.14,1.0], as "
        "the large crops then have to show parts as well",
    )
    global_scale: Pair = setting((0.4, 1.0), "share of the photo in a global crop")
    local_scale: Pair = setting((0.05, 0.4), "share of the photo in a local crop")
    high_res_scale: float = setting(
        1.5, "sides of all crops in run.high_res_epochs over those before"
    )
    aspect: Pair = setting((3 / 4, 4 / 3), "width to height of a crop before resize")
    flip: float = setting(0.5, "chance of a left-right flip")
    jitter: float = setting(0.8, "chance of the colour changes below")
    brightness: float = setting(0.4, "largest relative change of brightness")
    contrast: float = setting(0.4, "largest relative change of contrast")
    saturation: float = setting(0.2, "largest relative change of saturation")
    hue: float = setting(0.1, "largest shift of hue, in turns of the colour circle")
    grayscale: float = setting(0.2, "chance of a grey view")
    global_blur: Pair = setting((1.0, 0.1), "chance of blur, first and second global")
    local_blur: float = setting(0.5, "chance of blur in a local crop")
    blur_sigma: Pair = setting((0.1, 2.0), "range of the blur's sigma, in pixels")
    solarize: Pair = setting((0.0, 0.2), "chance of solarising, both global crops")
    solarize_threshold: int = setting(128, "solarising inverts values from here on")
    mean: Triple = setting(
        (0.485, 0.456, 0.406), "subtracted from red, green, blue in 0 to 1"
    )
    std: Triple = setting(
        (0.229, 0.224, 0.225), "red, green, blue are divided by it, after the mean"
    )


@dataclass
class Model:
    """The backbone."""

    arch: str = setting(
        "vit_small",
        "vit_tiny, vit_small, vit_base or vit_large; the first two are the ones for "
        "quick trials. Or keras:NAME, a network of keras.applications such as "
        "keras:ResNet50, or keras_hub:PRESET; the other settings of model are for "
        "vit_* only",
    )
    patch_size: int = setting(
        16,
        "side of a patch, in pixels: smaller ones give better features and finer "
        "attention for more memory and time, and train more safely in float32",
    )
    image_size: int | None = setting(
        None,
        "side that the position table is made for, in pixels; every other size is "
        "interpolated; null: views.global_size, or that of --init",
    )
    drop_path_rate: float = setting(0.1, "chance to skip the last block (less before)")
    num_registers: int = setting(0, "extra tokens that belong to no patch")
    layer_scale: float | None = setting(
        None,
        "initial factor of what a block adds, learnt for each channel (DINOv2: 1e-5), "
        "for deep networks that do not start to learn; null: no factors",
    )
    init: Literal["published", "mimetic"] = setting(
        "published",
        "random weights to start from: small normal numbers, or mimetic: attention and "
        "positions that begin as those of trained networks look, for few photos and "
        "short runs",
    )
    embed_dim: int | None = setting(None, "width; null: that of the architecture")
    depth: int | None = setting(None, "blocks; null: those of the architecture")
    num_heads: int | None = setting(None, "heads; null: those of the architecture")


@dataclass
class Head:
    """The projection head."""

    out_dim: int | None = setting(
        None, "prototypes K; large and varied data can use as many as 65536"
    )
    hidden_dim: int = setting(2048, "width of the hidden layers")
    bottleneck_dim: int = setting(256, "width before the prototypes")
    num_layers: int = setting(3, "layers up to the bottleneck")
    use_bn: bool = setting(False, "batch norm in the hidden layers")
    norm_last_layer: bool = setting(
        True,
        "keep the prototypes at length 1; false can reach better features, at the "
        "risk of an unstable run (published: false for vit_small, true for vit_base)",
    )
    ibot_separate: bool = setting(
        True,
        "masked patches have a head of their own (DINOv2), not that of the CLS token",
    )
    ibot_out_dim: int | None = setting(
        None, "prototypes of the patches' own head; null: head.out_dim"
    )


@dataclass
class Config:
    """All settings of a training run.

    Sections hold the settings; a setting is named by its dotted key, such as
    `head.out_dim`. `given` holds the keys that a person set, which no preset changes.
    """

    data: str = setting(
        "auto",
        "photos: voc2007[:ROOT], voc2012[:ROOT], folder:PATH (or a bare path), "
        "list:FILE, tfds:NAME, hf:OWNER/NAME[:CONFIG], shards:PATH (written by data "
        "shards), coco:IMAGES:JSON, bdd100k[:ROOT], scenes (built in), frames of films "
        "(davis2016[:ROOT], davis2017[:ROOT], films); auto: VOC 2007 in data/, else "
        "downloaded, else scenes",
    )
    preset: str | None = setting(
        None, "named differences from the defaults; null: by machine and data"
    )
    init: str | None = setting(
        None,
        "weights that a new run starts from: a published name such as dino_vits16, a "
        ".pth, .safetensors or .keras file, a run folder, hf://OWNER/NAME; the "
        "network's sizes follow them",
    )
    pipeline: Pipeline = dataclasses.field(default_factory=Pipeline)
    views: Views = dataclasses.field(default_factory=Views)
    model: Model = dataclasses.field(default_factory=Model)
    head: Head = dataclasses.field(default_factory=Head)
    loss: Loss = dataclasses.field(default_factory=Loss)
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    run: Run = dataclasses.field(default_factory=Run)
    # A field, so that `dataclasses.replace` carries it over.
    given: frozenset[str] = dataclasses.field(
        default=frozenset(), repr=False, compare=False
    )

    def flatten(self):
        """Dictionary from every dotted key to its value."""
        return {key: settings.value_of(self, key) for key in FIELDS}

    def to_dict(self):
        """Plain dictionary of sections: lists for tuples, ready for YAML or JSON."""
        plain = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in self.flatten().items()
        }
        return settings.nest(plain)

    @classmethod
    def from_dict(cls, values):
        """Configuration from nested or dotted keys; the others keep their defaults.

        Args:
            values: such as `{"data": "scenes", "run": {"epochs": 3}}` or
                `{"run.epochs": 3}`; numbers may be text, as on a command line.

        Raises:
            UserError: a key is unknown (the nearest one is named), or a value has
                another type.
        """
        config = cls()
        checked = settings.check(cls, settings.flatten(cls, values))
        for key, value in checked.items():
            settings.assign(config, key, value)
        config.given = frozenset(checked)
        return config

    @classmethod
    def from_yaml(cls, path):
        """Configuration from a YAML file of sections; see `from_dict`."""
        return cls.from_dict(settings.read_yaml(cls, path))


FIELDS = settings.fields_of(Config)
