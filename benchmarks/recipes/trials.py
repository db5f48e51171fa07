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
K = 20  # neighbours of the k-NN that is reported


class Failed(Exception):
    """A training or evaluation ended with an error; its log is named."""


def folder_of(trial, out):
    """Where a trial lies; other values of its settings are another trial."""
    key = digest([trial.data, trial.photos_seen, sorted(trial.values.items())])[:8]
    end = "-final" if trial.final else ""
    name = f"{trial.setting}-{trial.seed}-{key}{end}"
    return pathlib.Path(out) / "trials" / trial.source / name


def state(trial, out):
    """`DONE`, `BEGUN` or `NEW`."""
    folder = folder_of(trial, out)
    if (folder / "result.json").is_file():
        return DONE
    return BEGUN if (folder / "run").is_dir() else NEW


def run(trial, out):
    """Trains, evaluates, and keeps what was found in `result.json` of its folder.

    Returns:
        The result, a dictionary.

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
    path = folder / "run"
    if not (path / "summary.json").is_file():
        settings = _settings(trial, data, photos, folder)
        _main(["train", "--config", settings], folder / "train.txt")
    if not (folder / "discover.json").is_file() and _has_boxes(data):
        _main(_discover(path, data, folder), folder / "discover.txt")
    others = folder / "left_out.json"
    if not (trial.final or others.is_file()) and _has_one_label_each(data):
        command = [path, "--data", data, "--out", others]
        _start([left_out.__file__, *map(str, command)], folder / "left_out.txt")
    result = _result(trial, folder)
    write_text(folder / "result.json", json.dumps(result, indent=1) + "\n")
    return result


def collect(out):
    """Results of all trials that are done, by their names."""
    files = sorted(pathlib.Path(out).glob("trials/*/*/result.json"))
    return [json.loads(file.read_text("utf-8")) for file in files]


def _settings(trial, data, photos, folder):
    """Writes the settings of the run; path of the file."""
    values = {
        "data": data,
        "run.epochs": max(round(trial.photos_seen / photos), 1),
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
    with open(log, "a", encoding="utf-8") as words:
        command = [sys.executable, *program]
        status = subprocess.run(
            command, stdout=words, stderr=subprocess.STDOUT, env=environment
        ).returncode
    if status:
        last = [x for x in log.read_text("utf-8", "replace").splitlines() if x.strip()]
        raise Failed(f"exit status {status}: {last[-1] if last else ''} ({log})")


def _result(trial, folder):
    """Everything about a trial that findings and pages are made of."""
    path = folder / "run"
    summary = json.loads((path / "summary.json").read_text("utf-8"))
    lines = (path / "metrics.jsonl").read_text("utf-8").splitlines()
    curves = [json.loads(line) for line in lines]
    found = {
        "knn": summary.get(f"knn/top1_k{K}"),
        "untrained_knn": summary.get(f"untrained/knn/top1_k{K}"),
        "loss": summary["loss"],
        "matched": next(
            (r["views/matched"] for r in reversed(curves) if "views/matched" in r), None
        ),
    }
    if (folder / "discover.json").is_file():
        judged = json.loads((folder / "discover.json").read_text("utf-8"))
        found["corloc"] = judged["metrics"]["discover/lost_corloc"]
    if (folder / "left_out.json").is_file():
        found |= json.loads((folder / "left_out.json").read_text("utf-8"))
    return {
        "source": trial.source,
        "data": trial.data,
        "setting": trial.setting,
        "seed": trial.seed,
        "final": trial.final,
        "photos_seen": trial.photos_seen,
        "values": trial.values,
        "found": found,
        "verdicts": [line.get("verdict") for line in curves],
        "training_seconds": summary["training_seconds"],
        "curves": curves,
    }
