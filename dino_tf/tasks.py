"""The evaluations of `main.py evaluate TASK`, as one list.

A new one is one file in `evaluate/`, one in `task_options/` and one entry here.
Nothing in this file imports the evaluations themselves, so that help and mistakes are
answered at once.
"""

import dataclasses
import importlib

from dino_tf.errors import UserError
from dino_tf.task_options import (
    copy,
    detect,
    discover,
    finetune,
    knn,
    linear,
    retrieve,
    segment,
    video,
)


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


TASKS = {
    "knn": Task(
        "do photos of one class lie next to each other? Weighted k-NN",
        "dino_tf.evaluate.knn",
        knn.OPTIONS,
    ),
    "linear": Task(
        "can planes part the classes? A linear classifier of frozen features",
        "dino_tf.evaluate.linear",
        linear.OPTIONS,
    ),
    "segment": Task(
        "where are objects, pixel by pixel? Attention and TokenCut against masks",
        "dino_tf.evaluate.segment",
        segment.OPTIONS,
    ),
    "discover": Task(
        "does one box a photo, found without labels, hit an object? LOST, TokenCut",
        "dino_tf.evaluate.discovery",
        discover.OPTIONS,
    ),
    "retrieve": Task(
        "are photos of the same thing nearest? Revisited Oxford and Paris",
        "dino_tf.evaluate.retrieve",
        retrieve.OPTIONS,
    ),
    "copy": Task(
        "is the original of a changed copy found? Copydays",
        "dino_tf.evaluate.copy",
        copy.OPTIONS,
    ),
    "detect": Task(
        "how well are boxes and classes learnt from the features? Average precision",
        "dino_tf.evaluate.detect",
        detect.OPTIONS,
    ),
    "video": Task(
        "do features follow objects through a film? Masks from the first frame, as on "
        "DAVIS",
        "dino_tf.evaluate.video",
        video.OPTIONS,
    ),
    "finetune": Task(
        "how well do all weights learn the labels from here? Trains a copy",
        "dino_tf.evaluate.finetune",
        finetune.OPTIONS,
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
