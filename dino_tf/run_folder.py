"""One folder per run: found, continued, never overwritten."""

import contextlib
import json
import logging
import os
import pathlib

from dino_tf.config import Config
from dino_tf.errors import UserError, naming
from dino_tf.run_lock import HOLDER, LOCK
from dino_tf.workload import say_duration

# Settings that say where a run lies, not what it is.
_PLACE = {
    "run.name",
    "run.result_dir",
    "run.resume",
    "run.accept_changes",
    "run.wait",
}
# Settings that change neither the weights nor their order of updates.
HARMLESS = {
    f"{section}.{name}"
    for section, names in {
        "run": "save_every save_minutes keep_checkpoints keep_every attention_every "
        "attention_photos attention_size knn_every eval_size tensorboard report_every "
        "health_photos health_every wandb",
        "pipeline": "workers processes cache cache_gb cache_dir max_bad_share "
        "stall_seconds",
    }.items()
    for name in names.split()
}
# Files that have not got their names yet, by the folder that they lie in. What else
# lies in a run folder is the user's.
_NETWORK = ("part-*.keras", "dated-*.keras")
UNFINISHED = {
    "": (*_NETWORK, "config.yaml.part", "metrics.jsonl.part", "summary.json.part")
    + ("report.html.part", "tmp*.unfinished"),
    "checkpoints": ("part-epoch-*.safetensors", "epoch-*.json.part"),
    "best": (*_NETWORK, "best.json.part"),
    "attention": ("**/tmp*.unfinished",),
    "features": ("**/tmp*.unfinished",),
}
# What lies in a folder before a run has begun.
OWN_BEFORE = {LOCK, HOLDER}


class RunFolder:
    """Paths of a run, and its two logs.

    Args:
        path: The folder; made when missing.

    Attributes:
        path, config, metrics, checkpoints, backbone, best, attention, features,
        summary, tensorboard, report: Where each part lies; `features` takes the place
            of `attention` for networks that have none.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.jsonl"
        self.log_file = self.path / "train.log"
        self.checkpoints = self.path / "checkpoints"
        self.backbone = self.path / "backbone.keras"
        self.best = self.path / "best"
        self.attention = self.path / "attention"
        self.features = self.path / "features"
        self.summary = self.path / "summary.json"
        self.tensorboard = self.path / "tensorboard"
        self.report = self.path / "report.html"

    @property
    def finished(self):
        """Whether the run came to its end, and its process left the folder."""
        return self.summary.is_file() and not (self.path / HOLDER).exists()

    def clear_unfinished(self):
        """Removes files that a start was writing when it was ended from outside."""
        for folder, patterns in UNFINISHED.items():
            for pattern in patterns:
                for file in (self.path / folder).glob(pattern):
                    file.unlink(missing_ok=True)

    def open_log(self):
        """Logger that appends to `train.log`; the caller closes its handlers."""
        logger = logging.getLogger(f"dino_tf.{self.path.resolve()}")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        if self.log_file.is_symlink():
            raise UserError(f"{self.log_file} is a link; allowed: a file of the run's")
        handler = _LogFile(self.log_file, encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(handler)
        return logger

    def add_metrics(self, record):
        """Appends one line of JSON to `metrics.jsonl`."""
        with naming(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def read_metrics(self):
        """Records of `metrics.jsonl`, in order, without torn and wrong lines."""
        return self._metrics()[0]

    def _metrics(self):
        """(records, number of wrong lines beside a last one that is torn)."""
        if not self.metrics.is_file():
            return [], 0
        text = self.metrics.read_text("utf-8", "replace")
        lines = text[: text.rfind("\n") + 1].splitlines()
        records = [record for record in map(_record, lines) if record is not None]
        return records, len(lines) - len(records)

    def cut_metrics(self, epoch, say=print):
        """Removes the lines of epochs after `epoch`, which will be run again.

        Where others are damaged, the file as it was is kept beside it.

        Args:
            epoch: Whole epochs that stay.
            say: Function that is told of damaged lines.
        """
        records, wrong = self._metrics()
        if wrong:
            kept = _free_name(self.path / "metrics.damaged.jsonl")
            kept.write_bytes(self.metrics.read_bytes())
            lines = "1 line" if wrong == 1 else f"{wrong} lines"
            say(f"{self.metrics}: {lines} damaged, left out; as it was: {kept.name}")
        text = "".join(json.dumps(r) + "\n" for r in records if r["epoch"] <= epoch)
        write_text(self.metrics, text)


def _record(line):
    """The record in a line of `metrics.jsonl`; None where there is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(record, dict) and type(record.get("epoch")) is int
    return record if known else None


def _free_name(path):
    """A path that does not exist yet: this one, or with a number before its ending."""
    number, free = 2, path
    while free.exists() or free.is_symlink():
        number, free = number + 1, path.with_stem(f"{path.stem}-{number}")
    return free


class _LogFile(logging.FileHandler):
    """Raises what goes wrong, such as a full disk, instead of printing it."""

    def handleError(self, record):  # noqa: N802  (the name is logging's)
        with naming(self.baseFilename):
            raise  # noqa: PLE0704  (called while the error is handled)


def write_text(path, text):
    """Writes a file beside its place and moves it there, so that it is never half.

    Neither a power cut leaves half of it: it lies on disk before it gets its name.
    """
    path = pathlib.Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with naming(path), open(part, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder):
    """Brings the names in a folder to disk, where the system has a way for that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def choose_folder(config, say=print):
    """Folder of this start: that of an unfinished equal run, or a new one.

    Args:
        config: Resolved `Config`.
        say: Function that is told of unfinished runs that are not continued.

    Returns:
        Tuple (`RunFolder`, whether an earlier start is continued).

    Raises:
        UserError: When a named run is unfinished and has another configuration.
    """
    base = config.run.name or default_name(config)
    root = pathlib.Path(config.run.result_dir)
    number, name = 1, base
    while (root / name).exists():
        path = root / name
        if path.is_dir() and set(os.listdir(path)) <= OWN_BEFORE:
            return RunFolder(path), False
        # Whatever else lies there is not ours to change.
        folder = RunFolder(path) if (path / "config.yaml").is_file() else None
        if folder and config.run.resume and not folder.finished:
            different = differences(Config.from_yaml(folder.config), config)
            harmful = set(different) - HARMLESS
            if not different or (config.run.accept_changes and not harmful):
                return folder, True
            if config.run.name:
                raise UserError(_conflict(folder, different, harmful))
            say(f"{path} is unfinished and has other settings: {_list(different)}")
        number += 1
        name = f"{base}-{number}"
    return RunFolder(root / name), False


def default_name(config):
    """Name of a run that was given none: preset and kind of data."""
    kind = config.data.partition(":")[0].strip("/").replace("/", "-") or "folder"
    preset = config.preset or "custom"
    return preset if kind in preset.split("_") else f"{preset}-{kind}"


def differences(old, new):
    """{dotted key: (old value, new value)} of what makes two runs different."""
    old, new = old.flatten(), new.flatten()
    return {k: (old[k], new[k]) for k in new if k not in _PLACE and old[k] != new[k]}


def report(folder, summary, sheets, pictures):
    """What a person wants to read at the end; `pictures` is the sheets' folder."""
    lines = [f"done in {say_duration(summary['seconds'])}: {folder.path}"]
    for key, value in summary.items():
        if key.startswith("knn/"):
            start = "untrained" if f"untrained/{key}" in summary else "initial"
            floor = summary[f"{start}/{key}"]
            lines.append(f"  {key} {value:.1f} % ({start} network {floor:.1f} %)")
    kind = pictures.name
    option = " --kind features" if kind == "features" else ""
    lines.append(
        f"  {kind.removesuffix('s')} pictures of {len(sheets)} photos: {pictures}"
    )
    if summary.get("verdict"):
        lines.append(f"  verdict: {summary['verdict']}")
    if folder.report.is_file():
        lines.append(f"  everything on one page: {folder.report}")
    lines.append(f"  the trained network: {folder.backbone}")
    best = summary.get("best")
    if best and best["epoch"] < summary["epochs"]:
        lines.append(
            f"  perhaps a better one: after epoch {best['epoch']} the quick "
            f"{best['measure']} was highest, {best['value']:.1f}: {folder.best}"
        )
    lines.append(
        f"  more pictures: python main.py attend PHOTOS --weights {folder.path}{option}"
    )
    return "\n".join(lines)


def _conflict(folder, different, harmful):
    harmless = sorted(set(different) - harmful)
    accept = "--run.accept_changes true, as none of them changes what is learned"
    if harmful:
        accept = "" if not harmless else f" ({', '.join(harmless)} alone would do)"
        accept = f"the same settings{accept}"
    return (
        f"run {folder.path} is unfinished and was started with other settings "
        f"({_list(different)}); allowed: {accept}, another --run.name, or "
        "--run.resume false"
    )


def _list(different):
    return ", ".join(f"{key} {old} -> {new}" for key, (old, new) in different.items())
