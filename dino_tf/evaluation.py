"""One command for one answer: a task on weights and data, with table and files."""

import dataclasses
import json
import pathlib
import sys
import time

import keras

from dino_tf.datasets import open_source
from dino_tf.errors import UserError
from dino_tf.evaluate.published import data_name, figures_for
from dino_tf.evaluate.store import Store, fingerprint
from dino_tf.evaluate.subject import Data, Outcome, Subject
from dino_tf.initial import pixel_statistics
from dino_tf.models.keras_networks import gather_statistics, has_batch_norm
from dino_tf.models.loading import load_backbone
from dino_tf.pipeline import evaluation_dataset
from dino_tf.run_folder import write_text
from dino_tf.tasks import TASKS, find_task

CACHE = "result/cache"
STATISTICS_SIZE, STATISTICS_PHOTOS = 224, 64


def evaluate_weights(
    task,
    weights,
    data,
    out=None,
    options=None,
    num_heads=None,
    part=None,
    untrained=True,
    cache=CACHE,
    say=print,
):
    """Answers one question about weights, or all of them.

    Args:
        task: Name in `dino_tf.tasks.TASKS`, or "all".
        weights: What `load_backbone` accepts.
        data: SPEC; see `open_source`.
        out: New `.json` file; None: `eval/` of the run given as `weights`, else
            `result/eval`. Pictures and further files lie in a folder of its name.
        options: {name: value} of the task; what is missing has its default.
        num_heads: See `load_backbone`.
        part: See `load_backbone`.
        untrained: Whether the same network untrained is evaluated as well.
        cache: Folder of kept features; None keeps none.
        say: Function that shows text to the person.

    Returns:
        Dictionary, as written to the file.

    Raises:
        UserError: For wrong names, options, weights or data, and for a file that is
            there already.
    """
    chosen = {task: find_task(task)} if task != "all" else TASKS
    file = _new_file(out, weights, task, data)
    backbone = load_backbone(weights, num_heads, part)
    mean, std = pixel_statistics(weights)
    subject = Subject(backbone, mean, std, Store(cache), Bar)
    photos = Data(data, lambda split: open_source(data, split))
    chosen = _possible(chosen, subject, photos, say)
    subjects = {"this": subject}
    if untrained and not str(weights).startswith("random:"):
        other = untrained_like(backbone, photos.train, mean, std)
        subjects["untrained"] = dataclasses.replace(subject, backbone=other)
    result = _facts(task, weights, data, photos, subject)
    for name, one in chosen.items():
        settings = one.defaults() | (options or {})
        result["tasks"][name] = _answer(one, subjects, photos, settings, file, say)
    write_text(file, json.dumps(result, indent=2) + "\n")
    say(describe(result))
    say(f"written: {file}")
    return result


def untrained_like(backbone, source, mean, std, seed=0):
    """A network of the same form with fresh weights, the same for equal seeds.

    Its batch norms, if any, have seen some photos of `source`.
    """
    keras.utils.set_random_seed(seed)
    fresh = type(backbone).from_config(backbone.get_config())
    if not fresh.built:
        fresh.build(None)
    if has_batch_norm(fresh):
        size = getattr(fresh, "fixed_size", None) or (STATISTICS_SIZE,)
        some = range(min(len(source), STATISTICS_PHOTOS))
        photos = evaluation_dataset(source, size[0], len(some), some, None, mean, std)
        gather_statistics(fresh, next(iter(photos))["image"])
    return fresh


class Bar:
    """A line on the terminal that tells how many photos are done; else silent.

    Args:
        count: All photos.
        label: What is done with them.
    """

    def __init__(self, count, label):
        self.count, self.label, self.done = count, label, 0

    def add(self, count):
        """`count` more photos are done."""
        self.done += count
        if sys.stderr.isatty():
            end = "\n" if self.done >= self.count else ""
            text = f"\r{self.label}: {self.done:,} of {self.count:,} photos {end}"
            sys.stderr.write(text)
            sys.stderr.flush()


def _possible(chosen, subject, data, say):
    """The tasks that network and data allow; UserError when none is left."""
    lacking = {name: task.load().lacks(subject, data) for name, task in chosen.items()}
    left = {name: task for name, task in chosen.items() if not lacking[name]}
    for name, words in lacking.items():
        if words and len(chosen) > 1:
            say(f"left out: {name}, which needs {words}")
    if not left:
        name, words = next(iter(lacking.items()))
        raise UserError(f"{name} on {data.spec}: missing is {words}")
    return left


def _answer(task, subjects, data, settings, file, say):
    """What the file tells of one task."""
    began, outcomes = time.perf_counter(), {}
    for who, subject in subjects.items():
        outcomes[who] = task.load().run_task(subject, data, **settings)
    own: Outcome = outcomes["this"]
    for line in own.notes:
        say(line)
    folder = file.with_suffix("")
    written = own.write(folder) if own.write else []
    for path in written[:1]:
        say(f"{len(written)} files in {path.parent}")
    return {
        "options": settings,
        "numbers": {who: outcome.numbers for who, outcome in outcomes.items()},
        "published": [
            dataclasses.asdict(f) for f in figures_for(data.spec, own.numbers)
        ],
        "notes": own.notes,
        "details": own.details,
        "files": [str(path.relative_to(file.parent)) for path in written],
        "seconds": round(time.perf_counter() - began, 1),
    }


def _facts(task, weights, data, photos, subject):
    counts = {"train": len(photos.train)}
    if photos.test is not None:
        counts["test"] = len(photos.test)
    return {
        "task": task,
        "weights": str(weights),
        "network": subject.fingerprint,
        "data": data,
        "photos": counts,
        "versions": {"keras": keras.__version__},
        "tasks": {},
    }


def describe(result):
    """The numbers of a result as a table of at most 80 columns."""
    lines = []
    for name, answer in result["tasks"].items():
        numbers = answer["numbers"]
        head = "".join(f"{who:>12}" for who in numbers)
        lines.append(f"{name:<34}{head}")
        for key, value in numbers["this"].items():
            shown = [value, *(numbers[w].get(key) for w in numbers if w != "this")]
            cells = "".join(f"{'-' if v is None else f'{v:.1f}':>12}" for v in shown)
            lines.append(f"  {key:<32}{cells}")
        for figure in answer["published"]:
            lines.append(
                f"  published: {figure['name']} {figure['value']:g}, "
                f"{figure['network']} ({figure['source']})"
            )
    return "\n".join(lines)


def _new_file(out, weights, task, data):
    """Path of the result, where nothing lies yet."""
    if out is not None:
        file = pathlib.Path(out)
        if file.suffix != ".json":
            raise UserError(f"--out: got {out}, allowed: a new .json file")
        for taken in (file, file.with_suffix("")):
            if taken.exists():
                raise UserError(f"--out: {taken} is there already; allowed: a new name")
    else:
        path = pathlib.Path(str(weights))
        is_run = (path / "config.yaml").is_file()
        folder = path / "eval" if is_run else pathlib.Path("result/eval")
        name = f"{task}-{data_name(data)}"
        if not is_run:
            name += f"-{path.stem[:40]}-{fingerprint(str(weights))[:6]}"
        file, number = folder / f"{name}.json", 2
        while file.exists() or file.with_suffix("").exists():
            file, number = folder / f"{name}-{number}.json", number + 1
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
