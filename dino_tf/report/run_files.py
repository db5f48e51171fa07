"""What the files of a run folder tell, as plain data for the page."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePath

from dino_tf.config import Config
from dino_tf.errors import UserError, first_line
from dino_tf.evaluate.splits import spread
from dino_tf.report.curves import charts
from dino_tf.report.jpeg import file_uri
from dino_tf.report.run_records import (
    entries,
    members,
    number,
    read_object,
    read_records,
    text,
    texts,
)
from dino_tf.report.verdicts import health

# Pictures of the slider: so many photos, epochs of each, and pixels.
MOST_PHOTOS, MOST_EPOCHS, MOST_VIEWS, FRAME = 8, 8, 8, 200
EVALUATION_PICTURES, PICTURE = 12, 900


def read_config(folder, notes):
    """`Config` of a run; None, and a note, where it cannot be read."""
    try:
        return Config.from_yaml(folder.config)
    except (UserError, OSError) as error:
        notes.append(f"config.yaml is of another version: {first_line(error)}")
        return None


def configuration(text):
    """Rows of a `config.yaml`: every setting, its value, and why it was chosen.

    Args:
        text: as `recipe.to_yaml` writes it.

    Returns:
        List of {"key", "value", "reason"}; the reason is empty where there is none.
    """
    rows, section, reason = [], "", ""
    for line in text.splitlines():
        words = line.strip()
        if words.startswith("#"):
            reason = words[1:].strip()
            continue
        key, colon, value = (part.strip() for part in words.partition(":"))
        if not colon:
            continue
        if not value:
            section = key
            continue
        name = f"{section}.{key}" if line[0] == " " else key
        rows.append({"key": name, "value": value, "reason": reason})
        reason = ""
    return rows


def progress(folder, config):
    """What the page says of the run, its health and its curves.

    Args:
        folder: `RunFolder`.
        config: `Config`, or None.

    Returns:
        {"finished", "epochs", "done", "records", "health", "charts", "facts"}.
    """
    records = read_records(folder.metrics)
    summary = read_object(folder.summary) or {}
    last = records[-1] if records else {}
    uniform = config and config.head.out_dim and math.log(config.head.out_dim)
    return {
        "finished": folder.summary.is_file(),
        "epochs": config.run.epochs if config else None,
        "done": last.get("epoch", 0),
        "health": health(records),
        "charts": charts(records, uniform),
        "facts": [*_facts(config, summary, records), *_best(folder, last)],
    }


def _facts(config, summary, records):
    """[name, text] of what a person asks first."""
    facts = []
    if config:
        facts += [["Photos", text(config.data)], ["Network", text(_network(config))]]
    if number(summary.get("photos")) is not None:
        facts.append(["Number of photos", f"{summary['photos']:,}"])
    if records:
        seconds = sum(number(r.get("seconds")) or 0 for r in records)
        facts.append(["Training", f"{seconds / 60:.1f} minutes"])
    for name, value in members(summary).items():
        if name.startswith("knn/") and number(value) is not None:
            facts.append([text(name), f"{value:.1f} %{_before(summary, name)}"])
    return facts


def _best(folder, last):
    """[[name, text]] on the network that is kept beside the last, if there is one."""
    best = read_object(folder.best / "best.json") or {}
    if number(best.get("value")) is None:
        return []
    words = f"of epoch {text(best.get('epoch'))}"
    if best.get("epoch") == last.get("epoch"):
        words += ", the last"
    measure = f"{text(best.get('measure'))} {best['value']:.1f}"
    return [["Best network", f"{words}, by {measure}, a rough choice: best/"]]


def _before(summary, name):
    for start in ("untrained", "initial"):
        value = number(summary.get(f"{start}/{name}"))
        if value is not None:
            return f" ({start} network {value:.1f} %)"
    return ""


def _network(config):
    patch = config.model.patch_size
    return f"{config.model.arch}, patches of {patch}" if patch else config.model.arch


def watched(folder, config, kept=None):
    """Pictures of the watch list over the epochs.

    Args:
        folder: `RunFolder`.
        config: `Config`, or None.
        kept: dictionary that keeps pictures between calls.

    Returns:
        {"kind": "attention" or "features", "epochs": [...], "views": [...], "photos":
        [{"name", "original", "frames": {view: [address or None, ...]}}]}; None where
        nothing is drawn.
    """
    base = next((b for b in (folder.attention, folder.features) if b.is_dir()), None)
    if base is None:
        return None
    stages = _stages(base, config.run.epochs if config else None)
    names = sorted({d.name for _, at in stages for d in at.iterdir() if _is_set(d)})
    names = [names[i] for i in spread(len(names), MOST_PHOTOS)]
    views = _views([at / name for _, at in stages for name in names])
    if not names or not views:
        return None
    stages = [stages[-1 - i] for i in spread(len(stages), MOST_EPOCHS)][::-1]
    kept = {} if kept is None else kept
    files = {
        (name, view, place): at / name / f"{view}.png"
        for place, (_, at) in enumerate(stages)
        for name in names
        for view in ("original", *views)
    }
    with ThreadPoolExecutor() as threads:
        uris = threads.map(_kept_uri(kept, folder.path), files.values())
        found = dict(zip(files, uris, strict=True))
    return {
        "kind": base.name,
        "epochs": [label for label, _ in stages],
        "views": views,
        "photos": [_photo(name, views, found, len(stages)) for name in names],
    }


def _photo(name, views, found, count):
    originals = [found[name, "original", place] for place in range(count)]
    return {
        "name": text(name),
        "original": next((uri for uri in originals if uri), None),
        "frames": {
            view: [found[name, view, place] for place in range(count)] for view in views
        },
    }


def _stages(base, epochs):
    """[(label, folder)] of all that was drawn, in order; the end comes last."""
    stages = [(_label(at), at) for at in sorted(base.glob("epoch-*")) if at.is_dir()]
    stages = [(label, at) for label, at in stages if any(map(_is_set, at.iterdir()))]
    if any(_is_set(at) for at in base.iterdir()):
        label = "end" if epochs is None else f"epoch {epochs}"
        stages = [s for s in stages if s[0] != label] + [(label, base)]
    return stages


def _label(at):
    return f"epoch {int(at.name[6:])}" if at.name[6:].isdigit() else at.name


def _is_set(at):
    """Whether a folder holds the single pictures of one photo."""
    return (at / "original.png").is_file()


def _views(folders):
    """Names of the pictures that are worth a place on the page, the best first."""
    there = {file.stem for at in folders for file in at.glob("*.png")}
    first = ["attention_mean", "components", "component1", "masked"]
    heads = sorted(there - {*first}, key=lambda name: (len(name), name))
    heads = [name for name in heads if name.startswith("attention_head")]
    return [*(name for name in first if name in there), *heads][:MOST_VIEWS]


def _kept_uri(kept, run):
    def uri(path):
        try:
            if not _lies_in(path, run):
                return None
            key = (str(path), path.stat().st_mtime_ns)
            if key not in kept:
                kept[key] = file_uri(path, FRAME)
        except OSError:  # not drawn, or half written by another process
            return None
        return kept[key]

    return uri


def evaluations(folder, notes):
    """What lies in `eval/` of the run, one entry a file.

    Args:
        folder: `RunFolder`.
        notes: list that takes lines on files that cannot be read.

    Returns:
        List of {"title", "about", "notes", "tasks": [{"name", "failed", "columns",
        "rows": [[name, number or None, ...]], "published", "notes", "about",
        "pictures"}]}.
    """
    found, left = [], EVALUATION_PICTURES
    # Also those of the best network, which is evaluated like a run.
    files = [(at, f) for at in (folder.path, folder.best) for f in _evaluated(at)]
    for at, file in files:
        result = read_object(file) if _lies_in(file, folder.path) else None
        if result is None:
            notes.append(f"{text(file.relative_to(folder.path))} cannot be read")
            continue
        tasks = result.get("tasks")
        if not isinstance(tasks, dict):
            tasks = {file.stem: {"numbers": {"ours": result}}}
        shown = []
        for name, task in members(tasks).items():
            shown.append(_task(name, task, at, left))
            left -= len(shown[-1]["pictures"])
        about = [text(result[key]) for key in ("weights", "data") if key in result]
        found.append(
            {
                "title": text(file.stem if at == folder.path else f"best: {file.stem}"),
                "about": " on ".join(about),
                "notes": texts(result.get("notes")),
                "tasks": shown,
            }
        )
    return found


def _evaluated(run):
    return sorted((run / "eval").glob("*.json"))


def _task(name, task, run, most_pictures):
    task = task if isinstance(task, dict) else {"failed": "its entry is damaged"}
    numbers = members(task.get("numbers"))
    numbers = {who: members(n) for who, n in numbers.items() if isinstance(n, dict)}
    keys = [k for k, v in numbers.get("ours", {}).items() if isinstance(v, int | float)]
    keys = [k for k in keys if not isinstance(numbers["ours"][k], bool)]
    options = members(task.get("options"))
    return {
        "name": text(name),
        "failed": text(task["failed"]) if task.get("failed") else None,
        "columns": [text(who) for who in numbers],
        "rows": [
            [text(key), *(number(n.get(key)) for n in numbers.values())] for key in keys
        ],
        "published": [_figure(f) for f in entries(task.get("published"))],
        "notes": texts(task.get("notes")),
        "about": "; ".join(
            text(f"{k} {_option(v)}") for k, v in options.items() if v is not None
        ),
        "pictures": _pictures(entries(task.get("files")), run, most_pictures),
    }


def _option(value):
    if isinstance(value, list):
        return ", ".join(map(text, entries(value)))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else text(value)


def _pictures(files, run, most):
    found = []
    for file in (PurePath(file) for file in files if isinstance(file, str)):
        if len(found) < most and file.suffix.lower() in (".png", ".jpg", ".jpeg"):
            # The names are relative to where `evaluate` was started.
            parts = file.parts[::-1]
            tail = parts[: parts.index("eval")] if "eval" in parts else parts[:1]
            path = run.joinpath("eval", *tail[::-1])
            try:
                if not _lies_in(path, run):
                    continue
                uri = file_uri(path, PICTURE, 75)
            except (OSError, ValueError):  # moved or removed since; a name with zeros
                continue
            found.append({"name": text(file.name), "picture": uri})
    return found


def _lies_in(path, run):
    """Whether a file, followed through all links, is one of the run folder's own."""
    return path.is_file() and path.resolve().is_relative_to(run.resolve())


def _figure(figure):
    if not isinstance(figure, dict):
        return text(figure)
    name, value, network, source = (
        text(figure.get(key)) for key in ("name", "value", "network", "source")
    )
    return f"{name} {value}: {network} ({source})"
