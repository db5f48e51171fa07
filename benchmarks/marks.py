"""Moments of a program that is timed from its start; see `start.py`.

Only what Python brings is imported here, as the published program's copy imports it
too. The process that starts a program says when it did so, and where the moments go.
"""

import json
import os
import sys
import time

BEGAN, FILE, STEPS = "BENCHMARK_BEGAN", "BENCHMARK_MARKS", "BENCHMARK_STEPS"
_moments, _losses = {}, []


def mark(name):
    """Notes the moment at which something first came to its end."""
    _moments.setdefault(name, time.time() - float(os.environ[BEGAN]))


def step_done(loss):
    """Notes the end of a training step, and ends the program after the last one."""
    _losses.append(loss)
    mark(f"step {len(_losses)}")
    if len(_losses) == int(os.environ[STEPS]):
        with open(os.environ[FILE], "w") as file:
            json.dump({"moments": _moments, "losses": _losses}, file)
        sys.stdout.flush()
        # At once: threads that read photos may wait for a Python that is gone.
        os._exit(0)
