"""Named settings: each lists only its differences from the defaults.

`about` says what it is for, how long it takes and what it reaches; settings that
nobody has run are marked "not yet run".
"""

import copy

from dino_tf import checks, settings
from dino_tf.config import Config
from dino_tf.errors import UserError

PRESETS = {
    "quickstart": {
        "about": "Five minutes on two CPU cores: a small ViT on the built-in scenes, "
        "k-NN 92 % (untrained 49 %).",
        "data": "scenes",
        # 16 pixels a side leave few local views of use.
        "views": {"global_size": 32, "local_size": 16, "num_local": 4},
        "model": {
            "arch": "vit_tiny",
            "patch_size": 4,
            "embed_dim": 96,
            "depth": 4,
            "num_heads": 3,
        },
        "head": {"hidden_dim": 512, "bottleneck_dim": 128},
        "run": {
            "epochs": 11,
            "attention_every": 6,
            "attention_size": 128,
            "eval_size": 32,
        },
    },
    "voc2007_cpu": {
        "about": "Hours on a CPU: ViT-Ti/16 with small crops on 5,011 VOC 2007 photos. "
        "Ten epochs were run on 1,792 photos: see README.md.",
        "data": "voc2007",
        "views": {"global_size": 112, "local_size": 48, "num_local": 6},
        "model": {"arch": "vit_tiny"},
        "run": {"epochs": 30},
    },
    "voc2007": {
        "about": "One GPU: ViT-S/16 at the published crop sizes on 5,011 VOC 2007 "
        "photos. Not yet run.",
        "data": "voc2007",
    },
    "voc2007_finetune": {
        "about": "One GPU: goes on from the published ViT-S/16 weights on 5,011 VOC "
        "2007 photos. Not yet run.",
        "data": "voc2007",
        "init": "dino_vits16",
        # Trained weights need small steps, and a slow teacher to stay what they are.
        "optimizer": {"lr": 2e-4, "teacher_momentum": 0.999},
        "run": {"epochs": 20, "recipe": "published"},
    },
    "imagenet": {
        "about": "16 GPUs of 2021 for 2.6 days: ViT-S/16 by the published command for "
        "300 epochs, which reached 73.3 % k-NN there. Not yet run here.",
        "data": "tfds:imagenet2012",
        "pipeline": {"batch_size": 1024},
        "head": {"out_dim": 65536, "norm_last_layer": False},
        "loss": {"teacher_temp": 0.07, "warmup_teacher_temp_epochs": 30},
        "optimizer": {"warmup_epochs": 10, "teacher_momentum": 0.996},
        "run": {"epochs": 300, "recipe": "published"},
    },
    "resnet50": {
        "about": "8 GPUs of 2021: ResNet-50 by the published command for convolutional "
        "networks, 100 epochs (the published weights reach 67.5 % k-NN). Not yet run "
        "here.",
        "data": "tfds:imagenet2012",
        "pipeline": {"batch_size": 512},
        "views": {"global_scale": (0.14, 1.0), "local_scale": (0.05, 0.14)},
        "model": {"arch": "resnet50"},
        "head": {"out_dim": 65536},
        "loss": {"teacher_temp": 0.04, "warmup_teacher_temp_epochs": 0},
        "optimizer": {
            "name": "sgd",
            "lr": 0.03,
            "weight_decay": 1e-4,
            "weight_decay_end": 1e-4,
            "warmup_epochs": 10,
            "teacher_momentum": 0.996,
        },
    },
    "imagenet_vanilla": {
        "about": "8 GPUs of 2021 for 1.75 days: ViT-S/16 by the shorter published "
        "command, 100 epochs, which reached 69.3 % k-NN there. Not yet run here.",
        "data": "tfds:imagenet2012",
        "pipeline": {"batch_size": 512},
        "head": {"out_dim": 65536},
        "loss": {"teacher_temp": 0.04, "warmup_teacher_temp_epochs": 0},
        "optimizer": {"warmup_epochs": 10, "teacher_momentum": 0.996},
        "run": {"recipe": "published"},
    },
}


def differences(name):
    """Dotted keys and values of a preset.

    Raises:
        UserError: no preset has that name.
    """
    if name not in PRESETS:
        names = ", ".join(PRESETS)
        hint = settings.nearest(name, PRESETS)
        raise UserError(f"preset: got {name!r}, allowed: {names}; {hint}")
    values = {key: value for key, value in PRESETS[name].items() if key != "about"}
    return settings.flatten(Config, values)


def apply_preset(config, name):
    """A copy of `config` with a preset's values wherever nothing was asked for.

    Args:
        config: `Config`; the keys in `config.given`, and those whose value is not the
            default, are what a person asked for and stay. Where that is another
            kind of network than a ViT, the preset's settings of the network go.
        name: key of `PRESETS`.

    Returns:
        A new `Config` with `preset` set to `name`.

    Raises:
        UserError: no preset has that name.
    """
    values, defaults = differences(name), Config().flatten()
    chosen = copy.deepcopy(config)
    if not checks.is_vit(chosen):
        # Patches, blocks and heads of the preset's own network.
        values = {k: v for k, v in values.items() if not k.startswith("model.")}
    for key, value in values.items():
        if key not in config.given and settings.value_of(config, key) == defaults[key]:
            settings.assign(chosen, key, value)
    chosen.preset = name
    return chosen
