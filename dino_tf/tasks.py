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
    "discover": Task(
        "does one box a photo, found without labels, hit an object? LOST, TokenCut",
        "dino_tf.evaluate.discovery",
        {
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
