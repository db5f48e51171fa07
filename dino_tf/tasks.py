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
}


def find_task(name):
    """`Task` of a name.

    Raises:
        UserError: There is no such task.
    """
    if name not in TASKS:
        raise UserError(f"no task {name!r}; allowed: {', '.join(TASKS)}, all")
    return TASKS[name]
