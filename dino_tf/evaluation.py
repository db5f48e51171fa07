"""One command for one answer: a task on weights and data, with table and files."""

import dataclasses
import json
import os
import pathlib
import textwrap
import time

import keras

from dino_tf.datasets import open_source
from dino_tf.errors import Diverged, UserError
from dino_tf.evaluate.page import page
from dino_tf.evaluate.published import data_name, figures_for
from dino_tf.evaluate.store import Store, fingerprint
from dino_tf.evaluate.subject import Data, Outcome, Subject
from dino_tf.initial import evaluation_size, pixel_statistics
from dino_tf.models.backbones import like
from dino_tf.models.keras_networks import gather_statistics, has_batch_norm
from dino_tf.models.loading import load_backbone
from dino_tf.pipeline import evaluation_dataset
from dino_tf.progress import PhotoLine
from dino_tf.run_folder import write_text
from dino_tf.tasks import TASKS, check_options, find_task

CACHE = "result/cache"
STATISTICS_PHOTOS = 64  # whose statistics an untrained batch norm has


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
    skip=(),
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
        num_heads, part: See `load_backbone`.
        untrained: Whether the same network untrained is evaluated as well.
        cache: Folder of kept features; None keeps none.
        skip: Names of tasks that "all" leaves out.
        say: Function that shows text to the person.

    Returns:
        Dictionary, as written to the file: "metrics" and "untrained" are the numbers
        of all tasks by name, "tasks" holds all else of each, "weights", "data",
        "photos" and "network" (SHA-256 of the weights) say of what.

    Raises:
        UserError: For wrong names, options, weights or data, and a file that exists.
    """
    chosen = _chosen(task, skip)
    options = check_options(task, options or {})
    file = _new_file(out, weights, task, data)
    subject = subject_of(weights, num_heads, part, cache)
    photos = Data(data, lambda split: open_source(data, split))
    chosen = _possible(chosen, subject, photos, say)
    subjects = _compared(subject, weights, untrained, photos.train)
    result = _facts(task, weights, data, photos, subjects["ours"])
    for name, one in chosen.items():
        folder = file.with_suffix("") / (name if task == "all" else "")
        try:
            answer = _answer(one, subjects, photos, options, folder, say)
        except (UserError, Diverged) as error:
            # What the others found is not given up for one that cannot go on.
            if task != "all":
                raise
            answer = {"failed": str(error)}
        _add(result, name, answer, file)
        say(describe(name, answer))
    if all("failed" in answer for answer in result["tasks"].values()):
        raise UserError(f"no task came to its end; {file} tells why")
    say(f"written: {file} and {file.with_suffix('.html').name}")
    return result


def untrained_like(subject, source, seed=0):
    """A `Subject` of the same form with fresh weights, the same for equal seeds.

    Its batch norms, if any, have seen some photos of `source`.
    """
    keras.utils.set_random_seed(seed)
    fresh = like(subject.backbone)
    if has_batch_norm(fresh):
        some = range(min(len(source), STATISTICS_PHOTOS))
        pixels = {"mean": subject.mean, "std": subject.std}
        photos = evaluation_dataset(source, subject.size, len(some), some, **pixels)
        gather_statistics(fresh, next(iter(photos))["image"])
    return dataclasses.replace(subject, backbone=fresh)


def in_float32(backbone):
    """The same network, computing in float32, the same on every machine."""
    if backbone.dtype_policy.name == "float32":
        return backbone
    exact = like(backbone, dtype="float32")
    exact.set_weights(backbone.get_weights())
    return exact


def subject_of(weights, num_heads=None, part=None, cache=None):
    """`Subject` of weights, in float32, at the size and pixels of their training.

    Args:
        weights: What `load_backbone` accepts.
        num_heads, part: See `load_backbone`.
        cache: Folder of kept features; None keeps none.
    """
    if cache is not None:
        check_writable("--cache", pathlib.Path(cache))
    backbone = in_float32(load_backbone(weights, num_heads, part))
    size = evaluation_size(weights, backbone)
    mean, std = pixel_statistics(weights)
    return Subject(backbone, mean, std, size, Store(cache), PhotoLine)


def _chosen(task, skip):
    """{name: `Task`} of what is asked for."""
    for name in skip:
        find_task(name)
    if skip and task != "all":
        raise UserError(f"skip: got {', '.join(skip)}, allowed: with the task all")
    if task != "all":
        return {task: find_task(task)}
    left = {name: one for name, one in TASKS.items() if name not in skip}
    if not left:
        raise UserError("skip: got every task, allowed: all but one")
    return left


def _compared(subject, weights, untrained, source):
    """{"ours": the subject, "untrained": its like, where it is wanted}."""
    if str(weights).startswith("random:"):
        # The same one each time, so that it can be compared and kept as others are.
        return {"ours": untrained_like(subject, source)}
    if not untrained:
        return {"ours": subject}
    return {"ours": subject, "untrained": untrained_like(subject, source)}


def _possible(chosen, subject, data, say):
    """The tasks that network and data allow; UserError when none is left."""
    lacking = {name: _lacking(task, subject, data) for name, task in chosen.items()}
    left = {name: task for name, task in chosen.items() if not lacking[name]}
    for line in data.notes:
        say(line)
    for name, words in lacking.items():
        if words and len(chosen) > 1:
            say(f"left out: {name}, {words}")
    if not left:
        name, words = next(iter(lacking.items()))
        raise UserError(f"{name} on {data.spec}, {words}")
    return left


def _lacking(task, subject, data):
    """Why a task cannot be done, as half a sentence; None where it can."""
    try:
        words = task.load().lacks(subject, data)
    except UserError as error:
        return f"which cannot be done: {error}"
    return words and f"which needs {words}"


def _answer(task, subjects, data, options, folder, say):
    """What the file tells of one task."""
    began, outcomes = time.perf_counter(), {}
    settings = task.defaults() | options
    for who, subject in subjects.items():
        outcomes[who] = task.load().run_task(subject, data, **settings)
        if not outcomes[who].numbers:
            break  # Pictures and files alone, which are written of ours.
    own: Outcome = outcomes["ours"]
    for line in own.notes:
        say(textwrap.fill(line, 80, subsequent_indent="  "))
    written = own.write(folder) if own.write else []
    return {
        "options": settings,
        "numbers": {who: outcome.numbers for who, outcome in outcomes.items()},
        "published": [
            dataclasses.asdict(f) for f in figures_for(data.spec, own.numbers)
        ],
        "notes": own.notes,
        "details": own.details,
        "files": [str(path) for path in written],
        "seconds": round(time.perf_counter() - began, 1),
    }


def _add(result, name, answer, file):
    """Writes the result with one more answer, as JSON and as the page that shows it."""
    result["tasks"][name] = answer
    numbers = answer.get("numbers", {})
    result["metrics"] |= numbers.get("ours", {})
    result["untrained"] |= numbers.get("untrained", {})
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(result, indent=2) + "\n")
    write_text(file.with_suffix(".html"), page(result, file.parent))


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
        "notes": photos.notes,
        "versions": {"keras": keras.__version__},
        "metrics": {},
        "untrained": {},
        "tasks": {},
    }


def describe(name, answer):
    """The numbers of one task as a table of at most 80 columns."""
    if "failed" in answer:
        return f"{name} could not be done: {answer['failed']}"
    numbers = answer["numbers"]
    if not numbers["ours"]:
        return f"{name}: no numbers; {len(answer['files'])} files"
    lines = [f"{name:<34}" + "".join(f"{who:>12}" for who in numbers)]
    for key in numbers["ours"]:
        shown = (found.get(key) for found in numbers.values())
        cells = "".join(f"{'-' if v is None else f'{v:.1f}':>12}" for v in shown)
        lines.append(f"  {key:<32}{cells}")
    for figure in answer["published"]:
        text = (
            f"published: {figure['name']} {figure['value']:g}, {figure['network']} "
            f"({figure['source']})"
        )
        lines += textwrap.wrap(text, 80, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def _new_file(out, weights, task, data):
    """Path of the result, where nothing lies yet."""
    if out is not None:
        file = pathlib.Path(out)
        if file.suffix != ".json":
            raise UserError(f"--out: got {out}, allowed: a new .json file")
        taken = _taken(file)
        if taken:
            words = f"{taken[0]} is there already"
            raise UserError(f"--out: {words}; allowed: a new name")
    else:
        path = pathlib.Path(str(weights))
        is_run = (path / "config.yaml").is_file()
        folder = path / "eval" if is_run else pathlib.Path("result/eval")
        name = f"{task}-{data_name(data)}"
        if not is_run:
            name += f"-{path.stem[:40]}-{fingerprint(str(weights))[:6]}"
        file, number = folder / f"{name}.json", 2
        while _taken(file):
            file, number = folder / f"{name}-{number}.json", number + 1
    check_writable("--out", file.parent)
    return file


def check_writable(option, folder):
    """UserError where files of a folder could not be made, before work is done."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise UserError(
            f"{option}: nothing can be written in {there}; allowed: a folder in which "
            "files can be made"
        )


def _taken(file):
    """Which of the result's own places are taken: file, page, folder."""
    places = (file, file.with_suffix(".html"), file.with_suffix(""))
    return [place for place in places if place.exists()]
