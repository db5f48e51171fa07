"""Trains, is killed again and again, and goes on: `killed.py FOLDER KILLS SEED`.

Every start is a fork of this process, which has imported all and begun nothing. It is
killed at a random moment, every second time at the first sight of a file that is being
written. Then FOLDER/parts0, parts1, ... are to hold what FOLDER/whole does, where
nothing was killed.
"""

import os
import pathlib
import random
import signal
import sys
import time

from dino_tf.config import Config
from dino_tf.training import train

SETTINGS = {
    "data": "scenes:24",
    "preset": "quickstart",
    "pipeline": {"batch_size": 4, "workers": 1},
    "views": {"global_size": 32, "local_size": 16, "num_local": 2},
    "model": {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3},
    "head": {"out_dim": 32, "hidden_dim": 32, "bottleneck_dim": 16},
    "run": {
        "epochs": 4,
        "save_minutes": 1e-6,
        "attention_photos": 2,
        "attention_size": 32,
        "attention_every": 2,
        "knn_every": 2,
        "eval_size": 32,
        "report_every": 1,
        "precision": "float32",
    },
}
PARTS = ("part-*", "dated-*", "*.part")


def start(folder, name):
    """Number of a process that trains."""
    child = os.fork()
    if child:
        return child
    with open(folder / f"{name}.out", "a") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    settings = {**SETTINGS, "run": {**SETTINGS["run"], "name": name}}
    settings["run"]["result_dir"] = str(folder)
    code = 1
    try:
        train(Config.from_dict(settings))
        code = 0
    finally:
        os._exit(code)


def ended(child):
    """Whether it came to its own end."""
    done, status = os.waitpid(child, os.WNOHANG)
    if done and status:
        raise SystemExit(f"a start failed with {status}")
    return bool(done)


def writes(folder):
    """Whether a file is being written."""
    return any(next(folder.rglob(pattern), None) for pattern in PARTS)


def main(folder, kills, seed):
    """Trains once without a kill, then with as many as are asked for."""
    folder, draw = pathlib.Path(folder), random.Random(int(seed))
    began = time.monotonic()
    child = start(folder, "whole")
    while not ended(child):
        time.sleep(0.05)
    whole = time.monotonic() - began
    run, number = 0, 0
    while number < int(kills):
        name = f"parts{run}"
        child, began = start(folder, name), time.monotonic()
        wait = draw.uniform(0.1, 0.9) * whole
        while not ended(child):
            late = time.monotonic() - began > wait
            if late and (number % 2 == 0 or writes(folder / name)):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                number += 1
                break
            time.sleep(0.0005)
        else:
            run += 1
    child = start(folder, f"parts{run}")
    while not ended(child):
        time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
