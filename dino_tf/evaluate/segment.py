"""Does a network know where objects are, pixel by pixel?

Each part is a file of its own with `lacks` and `run_task`, as a task has them.
"""

import dataclasses
import importlib
import inspect

from dino_tf.errors import UserError
from dino_tf.evaluate.masked import is_binary, judged_source
from dino_tf.evaluate.subject import Outcome


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of the task.

    Args:
        module: Its file.
        options: {its option: that of the task}.
        binary: Whether it asks for masks of object and background alone, and is left
            out on others unless a person names it.
    """

    module: str
    options: dict
    binary: bool = False

    def load(self):
        """The part's module."""
        return importlib.import_module(self.module)


def _same(*names):
    return {name: name for name in names}


PARTS = {
    "attention": Part(
        "dino_tf.evaluate.segment_attention",
        _same("size", "keep_mass", "objects", "split"),
    ),
    "saliency": Part(
        "dino_tf.evaluate.segment_saliency",
        _same("tau", "bilateral", "split"),
        binary=True,
    ),
    "linear": Part(
        "dino_tf.evaluate.segment_linear", {"size": "linear_size", "epochs": "epochs"}
    ),
}


def lacks(subject, data):
    """What every part needs and does not find, in words; None where one can run."""
    lacking = [part.load().lacks(subject, data) for part in PARTS.values()]
    return None if None in lacking else " or ".join(dict.fromkeys(lacking))


def run_task(
    subject,
    data,
    parts=None,
    size=None,
    keep_mass=0.6,
    objects=None,
    tau=0.2,
    bilateral=False,
    split=None,
    linear_size=None,
    epochs=10,
):
    """The parts of the task one after the other; see `dino_tf.tasks.Task`.

    Args:
        subject: `Subject`.
        data: `Data`.
        parts: Names in `PARTS`; None takes all that network and data allow.
        size: See `dino_tf.evaluate.segment_attention.evaluate_attention`; None is its
            `size_of`.
        keep_mass: See the same.
        objects: See the same.
        tau, bilateral: See `dino_tf.evaluate.segment_saliency.evaluate_saliency`.
        split: Name of the split that is judged; see
            `dino_tf.evaluate.masked.judged_source`.
        linear_size: See
            `dino_tf.evaluate.segment_linear.evaluate_linear_segmentation`; None is
            the subject's.
        epochs: See the same.

    Returns:
        `Outcome`: numbers, notes and files of all parts, details by part.

    Raises:
        UserError: A part is asked for that network or data do not allow, or an option
            that no part has which runs.
    """
    options = {
        "size": size,
        "keep_mass": keep_mass,
        "objects": objects,
        "tau": tau,
        "bilateral": bilateral,
        "split": split,
        "linear_size": linear_size,
        "epochs": epochs,
    }
    outcomes, running = {}, _chosen(subject, data, parts)
    _check_taken(running, options)
    if linear_size is None:
        options["linear_size"] = subject.size
    for chosen in running:
        part = PARTS[chosen]
        own = {key: options[name] for key, name in part.options.items()}
        outcomes[chosen] = part.load().run_task(subject, data, **own)
    left_out = _left_out(subject, data, running) if parts is None else []
    return joined(outcomes, left_out)


def joined(outcomes, left_out=()):
    """One `Outcome` of {name: `Outcome`} of several parts, and notes on the others."""

    def write(folder):
        return [path for one in outcomes.values() for path in one.write(folder)]

    numbers = {k: v for one in outcomes.values() for k, v in one.numbers.items()}
    details = {name: one.details for name, one in outcomes.items()}
    notes = [line for one in outcomes.values() for line in one.notes]
    return Outcome(numbers, details, write, [*notes, *left_out])


def _chosen(subject, data, parts):
    """Names of the parts that run."""
    if parts is None:
        able = [name for name, part in PARTS.items() if _suits(part, subject, data)]
        if able:
            return able
        raise UserError(f"segment on {data.spec}: missing is {lacks(subject, data)}")
    for name in parts:
        if name not in PARTS:
            raise UserError(f"parts: got {name!r}, allowed: {', '.join(PARTS)}")
        words = PARTS[name].load().lacks(subject, data)
        if words:
            raise UserError(f"{name} on {data.spec}: missing is {words}")
    return list(dict.fromkeys(parts))


def _left_out(subject, data, running):
    """Notes on the parts that nobody asked for and that do not run."""
    notes = []
    for name, part in PARTS.items():
        words = part.load().lacks(subject, data)
        if name not in running and words:
            notes.append(f"{name}: left out, it needs {words}")
        elif name not in running:
            notes.append(
                f"{name}: left out, as masks tell classes; --parts {name} takes all "
                "objects of a photo for one"
            )
    return notes


def _check_taken(running, options):
    """UserError for an option that was given and that none of the parts has."""
    taken = {name for part in running for name in PARTS[part].options.values()}
    defaults = inspect.signature(run_task).parameters
    for name, value in options.items():
        if name not in taken and value != defaults[name].default:
            raise UserError(
                f"--{name.replace('_', '-')}: got {value}; it belongs to none of the "
                f"parts that run: {', '.join(running)}"
            )


def _suits(part, subject, data):
    if part.load().lacks(subject, data):
        return False
    return not part.binary or is_binary(judged_source(data))
