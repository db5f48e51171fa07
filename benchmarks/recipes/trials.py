"""One training of a study: a run of `main.py`, and what it reached."""

import json
import os
import pathlib
import subprocess
import sys

import left_out
import yaml
from cuts import cut

from dino_tf.datasets import open_source
from dino_tf.datasets.source import digest
from dino_tf.evaluate.detect_photos import has_boxes
from dino_tf.recipe_learning import FEW_PHOTOS, FEW_RATE
from dino_tf.run_folder import write_text

MAIN = pathlib.Path(__file__).resolve().parents[2] / "main.py"
DONE, BEGUN, NEW = "done", "goes on", "new"
# Nothing of what is learnt; a study wants numbers alone.
QUIET = {
    "run.attention_every": 0,
    "run.report_every": 0,
    "run.health_every": 1,
    "run.tensorboard": False,
    "run.keep_checkpoints": 1,
}
# What a study sees to itself, and how to ask for it.
OWN = {
    **dict.fromkeys(QUIET, "a study keeps it as it is"),
    "data": "give it as a source, or --data NAME=SPEC",
    "run.epochs": "give photos_seen",
    "run.seed": "give seeds",
    "run.result_dir": "give --out",
    "run.name": "it is that of the setting",
}
K = 20  # neighbours of the k-NN that is reported
DIVERGED = 3  # exit status of a training whose loss is no longer finite


class Failed(Exception):
    """A training or evaluation ended with an error; its log is named.

    Args:
        words: What happened.
        status: Exit status of the program.
    """

    def __init__(self, words, status):
        super().__init__(words)
        self.status = status


class Terminated(BaseException):
    """SIGTERM came, to this process alone."""


def folder_of(trial, out):
    """Where a trial lies; other values of its settings are another trial."""
    values = sorted(trial.values.items())
    key = digest([trial.data, trial.photos_seen, values, recipe_of(trial.values)])[:8]
    end = "-final" if trial.final else ""
    name = f"{trial.setting}-{trial.seed}-{key}{end}"
    return pathlib.Path(out) / "trials" / trial.source / name


def recipe_of(values):
    """Digest of the recipe that settings may take; None of the published ones.

    With another version of it they are other settings.
    """
    if values.get("run.recipe") == "published":
        return None
    return digest([str(FEW_PHOTOS), FEW_RATE])[:8]


def state(trial, out):
    """`DONE`, `BEGUN` or `NEW`."""
    folder = folder_of(trial, out)
    if (folder / "result.json").is_file():
        return DONE
    return BEGUN if (folder / "run").is_dir() else NEW


def run(trial, out):
    """Trains, evaluates, and keeps what was found in `result.json` of its folder.

    Returns:
        The result, a dictionary; of a training that diverged the loss is None, and
        nothing else is found.

    Raises:
        Failed: A program ended with an error.
        UserError: The data cannot be cut.
    """
    folder = folder_of(trial, out)
    folder.mkdir(parents=True, exist_ok=True)
    if trial.final:
        data, photos = trial.data, len(open_source(trial.data))
    else:
        cuts = pathlib.Path(out) / "cuts" / f"{trial.source}-{digest([trial.data])[:8]}"
        data, (photos, _) = f"shards:{cuts}", cut(trial.data, cuts)
    path, epochs = folder / "run", max(round(trial.photos_seen / photos), 1)
    if not (path / "summary.json").is_file():
        settings = _settings(trial, data, epochs, folder)
        try:
            _main(["train", "--config", settings], folder / "train.txt")
        except Failed as error:
            if error.status != DIVERGED:
                raise
            return _kept(_told(trial, folder, photos, epochs, {"loss": None}), folder)
    if not (folder / "discover.json").is_file() and _has_boxes(data):
        _main(_discover(path, data, folder), folder / "discover.txt")
    others = folder / "left_out.json"
    if not (trial.final or others.is_file()) and _has_one_label_each(data):
        command = [path, "--data", data, "--out", others]
        _start([left_out.__file__, *map(str, command)], folder / "left_out.txt")
    return _kept(_result(trial, folder, photos, epochs), folder)


def _kept(result, folder):
    write_text(folder / "result.json", json.dumps(result, indent=1) + "\n")
    return result


def collect(out):
    """Results of all trials that are done, by their names."""
    files = sorted(pathlib.Path(out).glob("trials/*/*/result.json"))
    return [json.loads(file.read_text("utf-8")) for file in files]


def _settings(trial, data, epochs, folder):
    """Writes the settings of the run; path of the file."""
    values = {
        "data": data,
        "run.epochs": epochs,
        **trial.values,
        **QUIET,
        "run.seed": trial.seed,
        "run.result_dir": str(folder),
        "run.name": "run",
    }
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")
    return str(file)


def _has_boxes(data):
    source = open_source(data, "test")
    return source is not None and has_boxes(source)


def _has_one_label_each(data):
    return left_out.has_one_label_each(left_out.both_splits(data))


def _discover(path, data, folder):
    return [
        "evaluate",
        "discover",
        *("--weights", str(path), "--data", data, "--split", "test"),
        *("--methods", "lost", "--untrained", "false", "--cache", "none"),
        *("--out", str(folder / "discover.json")),
    ]


def _main(arguments, log):
    """Runs `main.py` with its words in a file."""
    _start([str(MAIN), *arguments], log)


def _start(program, log):
    """Runs a program of Python with its words in a file."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    with open(log, "a", encoding="utf-8") as file:
        command = [sys.executable, *program]
        with subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment
        ) as process:
            try:
                status = process.wait()
            except BaseException as error:
                if isinstance(error, Terminated):
                    process.terminate()
                # By Ctrl-C it is asked to stop as well. It saves what it has.
                process.wait()
                raise
    if status:
        last = [x for x in log.read_text("utf-8", "replace").splitlines() if x.strip()]
        words = f"exit status {status}: {last[-1] if last else ''} ({log})"
        raise Failed(words, status)


def _result(trial, folder, photos, epochs):
    """Everything about a trial that findings and pages are made of."""
    path = folder / "run" / "summary.json"
    summary = json.loads(path.read_text("utf-8"))
    found = {
        "knn": summary.get(f"knn/top1_k{K}"),
        "untrained_knn": summary.get(f"untrained/knn/top1_k{K}"),
        "loss": summary["loss"],
    }
    if (folder / "discover.json").is_file():
        judged = json.loads((folder / "discover.json").read_text("utf-8"))
        found["corloc"] = judged["metrics"]["discover/lost_corloc"]
    if (folder / "left_out.json").is_file():
        found |= json.loads((folder / "left_out.json").read_text("utf-8"))
    told = _told(trial, folder, photos, epochs, found)
    return {**told, "training_seconds": summary["training_seconds"]}


def _told(trial, folder, photos, epochs, found):
    """A result of what was found and of the epochs that a training has told of."""
    file = folder / "run" / "metrics.jsonl"
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    curves = [json.loads(line) for line in lines]
    matched = (r["views/matched"] for r in reversed(curves) if "views/matched" in r)
    diverged = ["diverging"] if found["loss"] is None else []
    return {
        "source": trial.source,
        "data": trial.data,
        "setting": trial.setting,
        "seed": trial.seed,
        "final": trial.final,
        "photos_seen": trial.photos_seen,
        "photos": photos,
        "epochs": epochs,
        "values": trial.values,
        "recipe": recipe_of(trial.values),
        "found": {**found, "matched": None if diverged else next(matched, None)},
        "verdicts": [line.get("verdict") for line in curves] + diverged,
        "curves": curves,
    }
