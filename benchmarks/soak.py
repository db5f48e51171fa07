"""Whether a long training grows: memory, open files and threads over its steps.

    python benchmarks/soak.py --steps 2000
    python benchmarks/soak.py --steps 200 --out FILE.json

A small run with all that surrounds training: k-NN, pictures, health, checkpoints after
and within epochs, the report. What the process holds is noted ten times a second; the
medians of the second and the last quarter of the steps are compared, as the first
quarter is when libraries and caches still fill.
"""

import argparse
import contextlib
import os
import pathlib
import statistics
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import answers  # noqa: E402  (found by the line above)
import turns  # noqa: E402

PHOTOS, BATCH, PAUSE = 80, 8, 0.1
SETTINGS = {
    "data": f"scenes:{PHOTOS}",
    "preset": "quickstart",
    "pipeline": {"batch_size": BATCH, "workers": 2},
    "views": {"global_size": 32, "local_size": 16, "num_local": 2},
    "model": {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3},
    "head": {"out_dim": 32, "hidden_dim": 32, "bottleneck_dim": 16},
    "run": {
        "save_minutes": 0.02,
        "attention_photos": 2,
        "attention_size": 32,
        "attention_every": 5,
        "knn_every": 5,
        "eval_size": 32,
        "report_every": 5,
    },
}
KINDS = {"memory_mb": "MiB", "files": "open files", "threads": "threads"}


def arguments(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", metavar="FILE", help="the figures as JSON")
    return parser.parse_args(words)


def held():
    """What this process holds now, by the names of `KINDS` (Linux)."""
    return {
        "memory_mb": answers.memory("VmRSS"),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
    }


def measure(given):
    """Trains; a dictionary of all figures."""
    from dino_tf.config import Config
    from dino_tf.training import train

    steps = PHOTOS // BATCH
    settings = {**SETTINGS, "run": {**SETTINGS["run"], "epochs": given.steps // steps}}
    noted, ended = [], threading.Event()

    def note():
        while not ended.wait(PAUSE):
            noted.append(held())

    watcher = threading.Thread(target=note)
    with tempfile.TemporaryDirectory() as folder:
        settings["run"]["result_dir"] = folder
        watcher.start()
        try:
            with contextlib.redirect_stdout(sys.stderr):
                train(Config.from_dict(settings))
        finally:
            ended.set()
            watcher.join()
    return summary(given.steps, noted)


def summary(steps, noted):
    """Medians of the quarters of what was noted, and their growth."""
    quarter = len(noted) // 4
    parts = [noted[i * quarter : (i + 1) * quarter] for i in range(4)]
    found = {}
    for kind in KINDS:
        medians = [statistics.median(one[kind] for one in part) for part in parts]
        found[kind] = {"quarters": medians, "growth": medians[3] / medians[1] - 1}
    return {"steps": steps, "machine": turns.machine(), "held": found}


def tell(result):
    """Prints the figures."""
    rows = [("", "1st", "2nd", "3rd", "4th quarter", "growth 2nd to 4th")]
    for kind, words in KINDS.items():
        one = result["held"][kind]
        quarters = (f"{value:.0f}" for value in one["quarters"])
        rows.append((words, *quarters, f"{one['growth']:+.1%}"))
    print(turns.table(rows))


if __name__ == "__main__":
    turns.main(arguments, measure, tell)
