"""The evaluations of `main.py evaluate TASK`, as one list.

A new one is one file in `evaluate/` and one entry here. Nothing in this file imports
the evaluations themselves, so that help and mistakes are answered at once.
"""

import dataclasses
import importlib
from typing import Literal

from dino_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Task:
    """One evaluation.

    Args:
        about: What it answers, in one line of help.
        module: Its file. It has two functions: `lacks(subject, data)` says in words
            what the task needs and does not find there, None where nothing is missing;
            `run_task(subject, data, **options)` returns a
            `dino_tf.evaluate.subject.Outcome`.
        options: Arguments of the command line, as jsonargparse takes them. They reach
            `run_task` by their names.
    """

    about: str
    module: str
    options: dict

    def load(self):
        """The task's module."""
        return importlib.import_module(self.module)

    def defaults(self):
        """{name of each option: value where a person gives none}."""
        return {
            key.lstrip("-").replace("-", "_"): argument.get("default")
            for key, argument in self.options.items()
        }


SIZE = {
    "--size": {
        "type": int,
        "metavar": "N",
        "help": "side of the central square that the network sees, in pixels; else "
        "that of the run's own evaluation, or 224",
    },
}
# None is the preset's value, else an automatic one, which the result tells.
FINETUNE = {
    "--preset": {
        "type": Literal["cifar10", "cifar100"],
        "help": "settings that the authors of DINO named for this data set (--data "
        "tfds:cifar10 or tfds:cifar100, but any will do): 1,000 epochs at 224 pixels, "
        "for GPUs; ViT-S/16 reached 99.0 and 90.5, ViT-B/16 99.1 and 91.7; what is "
        "given beside it wins",
    },
    "--size": {
        "type": int,
        "help": "side of the square that the network sees, in pixels; else its own, "
        "at most 112, or 224 with a GPU",
    },
    "--epochs": {"type": int, "help": "else so many that it takes minutes"},
    "--batch-size": {
        "type": int,
        "help": "photos in a step, over all GPUs; else 8 to 32, or to 256 with a GPU",
    },
    "--lr": {
        "type": float,
        "help": "peak of the learning rate for a batch of 256, scaled to the batch; "
        "else so that the peak is 0.001",
    },
    "--layer-decay": {
        "type": float,
        "help": "factor of the rate from a block to the one before it; else 0.75, or "
        "1 for networks of Keras, which have no blocks that are known",
    },
    "--weight-decay": {"type": float, "help": "of AdamW; else 0.05"},
    "--warmup-epochs": {
        "type": float,
        "help": "epochs in which the rate rises; else a tenth, at most 5",
    },
    "--mixup": {
        "type": float,
        "help": "blends each photo with another; parameter of the beta distribution "
        "of its share; else 0, off",
    },
    "--cutmix": {
        "type": float,
        "help": "puts a box of another photo into each; parameter of the beta "
        "distribution of the area left; else 0, off",
    },
    "--label-smoothing": {
        "type": float,
        "help": "share of each target that is spread over all classes; else 0.1",
    },
    "--drop-path": {
        "type": float,
        "help": "chance to drop the last block's branches; else 0.1 where it is known",
    },
    "--jitter": {
        "type": float,
        "help": "largest change of brightness, contrast and saturation; else 0",
    },
    "--smallest-crop": {
        "type": float,
        "help": "smallest share of a photo's area in a crop; else 0.3",
    },
    "--clip-norm": {
        "type": float,
        "help": "largest norm of all gradients together, 0 for none; else 1",
    },
    "--seed": {
        "type": int,
        "default": 0,
        "help": "of order, crops, mixing, drop path and the new layer",
    },
}
# None is the protocol's own value, and an error where the protocol has no such option.
LINEAR = {
    **SIZE,
    "--protocol": {
        "type": Literal["quick", "published", "svm"],
        "default": "quick",
        "help": "quick: logistic regression, seconds; published: SGD on random crops; "
        "svm: the support vector machines of VOC 2007",
    },
    "--features": {
        "type": Literal["auto", "small", "base", "cls"],
        "default": "auto",
        "help": "small: CLS of the last four blocks; base: CLS and the mean patch; "
        "cls: what the network gives; auto: as published for the network",
    },
    "--lr": {
        "type": float,
        "nargs": "+",
        "metavar": "RATE",
        "help": "published: rates for a batch of 256, the best on photos held out is "
        "taken; else 0.001 to 1 in seven steps",
    },
    "--epochs": {"type": int, "help": "published: else 100"},
    "--batch-size": {
        "type": int,
        "help": "published: photos in a step; else 1024, at most all",
    },
    "--held-out": {
        "type": float,
        "metavar": "SHARE",
        "help": "of the training photos, for the choice of the penalty (quick, else "
        "0.2) or the rate (published, else 0.1)",
    },
    "--seed": {
        "type": int,
        "default": 0,
        "help": "of the photos held out, the crops and the first weights",
    },
}
SEGMENT = {
    "--parts": {
        "type": Literal["attention", "saliency", "linear"],
        "nargs": "+",
        "metavar": "PART",
        "help": "attention (Jaccard of the heads with objects), saliency "
        "(TokenCut's mask against binary masks), linear (classes by a linear "
        "map of frozen patches); else all that network and data allow",
    },
    "--size": {
        "type": int,
        "metavar": "N",
        "help": "attention: side of the square that photos are resized to, in "
        "pixels; 0 keeps their own size; else 480 for networks evaluated at 224 "
        "pixels, in proportion for others",
    },
    "--keep-mass": {
        "type": float,
        "default": 0.6,
        "help": "attention: share of a head's attention that its mask keeps",
    },
    "--objects": {
        "type": Literal["instance", "class"],
        "metavar": "KIND",
        "help": "attention: instance or class, what one object is; else "
        "instances where the data tell them",
    },
    "--tau": {
        "type": float,
        "default": 0.2,
        "help": "saliency: likeness above which TokenCut joins two patches",
    },
    "--bilateral": {
        "type": bool,
        "default": False,
        "help": "saliency: whether masks refined by the bilateral solver are "
        "judged as well",
    },
    "--split": {
        "type": str,
        "metavar": "NAME",
        "help": "attention, saliency: photos that are judged, such as "
        "segmentation/val of VOC; "
        "else test where it has masks, else train",
    },
    "--linear-size": {
        "type": int,
        "metavar": "N",
        "help": "linear: side of the square that photos are resized to, in "
        "pixels; else that of the run's own evaluation, or 224",
    },
    "--epochs": {
        "type": int,
        "default": 10,
        "help": "linear: passes over the training photos",
    },
}
DISCOVER = {
    "--methods": {
        "type": str,
        "nargs": "+",
        "default": ["lost", "tokencut", "attention"],
        "metavar": "METHOD",
        "help": "of lost, tokencut and attention (DINO-seg, the baseline)",
    },
    "--k": {
        "type": int,
        "default": 100,
        "help": "patches that may join the seed of LOST",
    },
    "--tau": {
        "type": float,
        "default": 0.2,
        "help": "cosine above which TokenCut joins two patches",
    },
    "--head": {
        "type": int | Literal["best", "mean"],
        "default": "best",
        "help": "attention head of the baseline, from 0; mean of all; or best, "
        "the one that hits most objects (published for ViT-S/16: 4)",
    },
    "--bilateral": {
        "type": bool,
        "default": False,
        "help": "whether TokenCut's masks are refined at the photo's edges too",
    },
    "--split": {
        "type": str,
        "metavar": "NAME",
        "help": "photos to look at; else train, and trainval of voc2012, on "
        "which CorLoc is published",
    },
}
TASKS = {
    "knn": Task(
        "do photos of one class lie next to each other? Weighted k-NN",
        "dino_tf.evaluate.knn",
        {
            **SIZE,
            "--k": {
                "type": int,
                "nargs": "+",
                "default": [10, 20, 100, 200],
                "metavar": "K",
                "help": "numbers of neighbours",
            },
            "--temperature": {
                "type": float,
                "default": 0.07,
                "help": "of the votes; small lets the nearest decide alone",
            },
        },
    ),
    "linear": Task(
        "can planes part the classes? A linear classifier of frozen features",
        "dino_tf.evaluate.linear",
        LINEAR,
    ),
    "segment": Task(
        "where are objects, pixel by pixel? Attention and TokenCut against masks",
        "dino_tf.evaluate.segment",
        SEGMENT,
    ),
    "discover": Task(
        "does one box a photo, found without labels, hit an object? LOST, TokenCut",
        "dino_tf.evaluate.discovery",
        DISCOVER,
    ),
    "finetune": Task(
        "how well do all weights learn the labels from here? Trains a copy",
        "dino_tf.evaluate.finetune",
        FINETUNE,
    ),
}


def find_task(name):
    """`Task` of a name.

    Raises:
        UserError: There is no such task.
    """
    if name not in TASKS:
        raise UserError(f"no task {name!r}; allowed: {', '.join(TASKS)}, all")
    return TASKS[name]


def check_options(task, options):
    """The options of a task as they were given; UserError for one it does not have."""
    known = find_task(task).defaults() if task != "all" else {}
    unknown = [name for name in options if name not in known]
    if unknown:
        allowed = ", ".join(known) or "none"
        raise UserError(f"{task}: got the option {unknown[0]!r}; allowed: {allowed}")
    return options
