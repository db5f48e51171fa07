"""The commands of the command line and their arguments, as tables."""

from typing import Literal

from dino_tf.kinds import KINDS
from dino_tf.tasks import TASKS

COMMANDS = {
    "train": "train on photos, then draw what the network attends to (the default)",
    "attend": "draw what trained weights attend to in photos and films",
    "picture": "look into a network: heads, components, filters, neighbours, maps ...",
    "evaluate": "tell how good the features of trained weights are",
    "embed": "write features of photos into one file",
    "report": "write report.html of a run: everything on one page",
    "export": "write trained weights for another program, and read them back",
    "data": "download a data set, look into one, convert its boxes, or shard it",
    "presets": "list the presets",
}
# Where a network comes from; see `load_backbone`.
_SOURCE = {
    "--weights": {
        "type": str,
        "required": True,
        "metavar": "SRC",
        "help": "a run folder, a .keras, .pth or .safetensors file, a published "
        "name such as dino_vits16, hf://OWNER/NAME, or random:vit_small/16",
    },
    "--num-heads": {
        "type": int,
        "metavar": "N",
        "help": "attention heads, which no .pth or .safetensors tells; else one "
        "for 64 channels",
    },
    "--part": {
        "type": str,
        "metavar": "PART",
        "help": "student or teacher of a training checkpoint; else the teacher",
    },
}
# What every task of `evaluate` takes; its own options are in `dino_tf.tasks`.
_EVALUATE = {
    **_SOURCE,
    "--data": {
        "type": str,
        "required": True,
        "metavar": "SPEC",
        "help": "photos to evaluate on, as in --data of train",
    },
    "--out": {
        "type": str,
        "metavar": "FILE",
        "help": "new .json file; else in eval/ of the run, or in result/eval",
    },
    "--untrained": {
        "type": bool,
        "default": True,
        "help": "whether the same network untrained is evaluated as well",
    },
    "--cache": {
        "type": str,
        "default": "result/cache",
        "metavar": "DIR",
        "help": "folder of features kept for later tasks; may be deleted; none keeps "
        "nothing",
    },
}
_PICTURE = {
    **_SOURCE,
    "--out": {
        "type": str,
        "metavar": "DIR",
        "help": "folder for the pictures; else pictures/ of the run, or "
        "result/pictures",
    },
}
# Arguments of the commands other than train, as jsonargparse takes them.
ARGUMENTS = {
    "attend": {
        "paths": {
            "nargs": "+",
            "metavar": "PATH",
            "help": "photos, folders of photos, films",
        },
        **_SOURCE,
        "--out": {
            "type": str,
            "metavar": "DIR",
            "help": "folder for the pictures; else attend/ of the run, or "
            "result/attend",
        },
        "--size": {
            "type": int,
            "default": 480,
            "help": "shorter side given to the network, in pixels",
        },
        "--keep-mass": {
            "type": float,
            "help": "share of the attention that the mask keeps; else 0.6, and all in "
            "films",
        },
        "--kind": {
            "type": Literal["attention", "features"],
            "default": "attention",
            "help": "attention, for networks that have it, or the principal "
            "components of the patch features, for every network (photos only)",
        },
        "--fps": {
            "type": float,
            "help": "films: frames a second; else those of the film, 30 for frames",
        },
        "--drawing": {
            "type": Literal["overlay", "side", "map", "masked"],
            "help": "films: overlay (attention in colours over the frame), side (both "
            "side by side), map (attention alone) or masked (background darkened); "
            "else overlay",
        },
        "--head": {
            "type": str,
            "metavar": "HEAD",
            "help": "films: number of a head, mean, or all (a tile each); else mean",
        },
        "--frames": {
            "action": "store_true",
            "help": "films: write every drawn frame as a PNG file, too",
        },
        "--film": {
            "action": "store_true",
            "help": "each folder among the paths holds the frames of a film",
        },
    },
    "embed": {
        **_SOURCE,
        "--data": {
            "type": str,
            "required": True,
            "metavar": "SPEC",
            "help": "photos, as in --data of train",
        },
        "--out": {
            "type": str,
            "required": True,
            "metavar": "FILE",
            "help": "new .npz, .csv or .parquet file; what an interrupted run left "
            "beside it, in FILE.part, is gone on with",
        },
        "--split": {
            "type": str,
            "default": "train",
            "help": "train, test, another split of the data, or all for train and test",
        },
        "--tokens": {
            "type": Literal["cls", "mean", "patches"],
            "nargs": "+",
            "default": ["cls"],
            "help": "cls (of networks without one, their features), mean (of the patch "
            "tokens), patches (all of them)",
        },
        "--size": {
            "type": int,
            "help": "side of the central square in pixels; else the evaluation size",
        },
        "--batch-size": {
            "type": int,
            "default": 64,
            "help": "photos in one forward pass",
        },
        "--dtype": {
            "type": Literal["float32", "float16"],
            "default": "float32",
            "help": "numbers in the file",
        },
        "--cache": _EVALUATE["--cache"]
        | {"help": "folder of features that evaluate has kept, used here too, or none"},
    },
    "report": {
        "run": {
            "metavar": "RUN",
            "help": "a run folder, such as result/quickstart-scenes",
        },
        "--data": {
            "type": str | None,
            "default": None,
            "metavar": "SPEC",
            "help": "photos in the place of those that the run's config.yaml names; "
            "none opens none, as is wise for a run of somebody else's",
        },
    },
    "export": {
        **_SOURCE,
        "--format": {
            "type": str,
            "required": True,
            "help": "keras, savedmodel, onnx, litert or safetensors",
        },
        "--out": {
            "type": str,
            "required": True,
            "metavar": "PATH",
            "help": "new .keras, .onnx or .tflite file, or new folder (savedmodel, "
            "safetensors)",
        },
        "--size": {
            "type": int,
            "nargs": "+",
            "metavar": "N",
            "help": "side of the images in pixels, or height and width; else the "
            "size trained at",
        },
    },
    "data.get": {
        "name": {"metavar": "NAME", "help": "voc2007 or voc2012"},
        "--data-dir": {
            "type": str,
            "default": "data",
            "metavar": "DIR",
            "help": "folder that will hold VOCdevkit",
        },
    },
    "data.check": {
        "spec": {"metavar": "SPEC", "help": "data, as in --data of train"},
        "--split": {"type": str, "default": "train", "help": "train or test"},
    },
    "data.coco": {
        "data": {
            "metavar": "SPEC|LABELS",
            "help": "photos with boxes, as in --data of train; or labels of BDD100K "
            "alone: a .json file, or a folder of one for each photo",
        },
        "--out": {
            "type": str,
            "required": True,
            "metavar": "FILE",
            "help": "new .json file, for --data coco:IMAGES:FILE",
        },
        "--split": {
            "type": str,
            "metavar": "NAME",
            "help": "train, test or another split of the SPEC; else train",
        },
    },
    "data.shards": {
        "spec": {"metavar": "SPEC", "help": "data, as in --data of train"},
        "--out": {
            "type": str,
            "required": True,
            "metavar": "DIR",
            "help": "folder of the shards, for --data shards:DIR; what is finished in "
            "it is kept",
        },
        "--split": {
            "type": str,
            "nargs": "+",
            "metavar": "NAME",
            "help": "splits to write; else train and, where there is one, test",
        },
        "--shard-mb": {
            "type": float,
            "default": 256.0,
            "help": "size of a shard in megabytes",
        },
        "--max-side": {
            "type": int,
            "metavar": "N",
            "help": "write photos with a longer side above N pixels as smaller JPEG "
            "files; else all bytes are kept",
        },
        "--quality": {
            "type": int,
            "default": 90,
            "help": "of the JPEG files of --max-side, 1 to 95",
        },
        "--workers": {
            "type": int,
            "help": "threads that read; else one for each core",
        },
    },
    "presets": {},
    **{f"picture.{n}": {**kind.options, **_PICTURE} for n, kind in KINDS.items()},
    **{f"evaluate.{n}": {**_EVALUATE, **task.options} for n, task in TASKS.items()},
    "evaluate.all": {
        **_EVALUATE,
        "--skip": {
            "type": str,
            "nargs": "+",
            "default": [],
            "metavar": "TASK",
            "help": "tasks to leave out, such as finetune, which takes longest",
        },
    },
}
EXAMPLES = """\
examples:
  main.py                                VOC 2007, the preset by the machine
  main.py --preset quickstart            a few minutes on two CPU cores
  main.py --data photos/ --run.epochs 50     your own folder of photos
  main.py train --help                   every setting, with advice
  main.py --data photos/ --init dino_vits16  go on from the published weights
  main.py attend photos/ --weights result/quickstart-scenes
  main.py picture map --weights result/quickstart-scenes --data scenes
  main.py report result/quickstart-scenes
  main.py evaluate all --weights result/quickstart-scenes --data scenes

Settings come from the defaults, then the preset, then --config files, then the
command line; the later one wins.
"""
