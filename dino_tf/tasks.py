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
        "default": 224,
        "help": "side of the central square that the network sees, in pixels",
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
    "segment": Task(
        "where are objects, pixel by pixel? Attention and TokenCut against masks",
        "dino_tf.evaluate.segment",
        {
            "--parts": {
                "type": Literal["attention", "saliency"],
                "nargs": "+",
                "metavar": "PART",
                "help": "attention (Jaccard of the heads with objects), saliency "
                "(TokenCut's mask against binary masks); else all that network and "
                "data allow",
            },
            "--size": {
                "type": int,
                "default": 480,
                "help": "attention: side of the square that photos are resized to, in "
                "pixels; 0 keeps their own size",
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
                "help": "photos that are judged, such as segmentation/val of VOC; "
                "else test where it has masks, else train",
            },
        },
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
