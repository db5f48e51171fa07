"""A study of recipes that is stopped by the system takes its training along."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dino_tf.run_lock import only_writer

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "recipes"
GRID = """
about: one that would take long
photos_seen: 320000
seeds: [0]
against: one
base:
  run.save_every: 100000
  pipeline.batch_size: 8
  views.global_size: 32
  views.local_size: 16
  views.num_local: 1
  model.arch: vit_tiny
  model.patch_size: 8
  model.embed_dim: 16
  model.depth: 1
  model.num_heads: 1
  head.hidden_dim: 16
  head.bottleneck_dim: 8
  head.out_dim: 16
sources:
  drawn: {data: "scenes:32"}
settings:
  one: {}
"""


def test_sigterm_stops_the_training_too(tmp_path):
    grid, out, log = tmp_path / "grid.yaml", tmp_path / "out", tmp_path / "study.txt"
    grid.write_text(GRID)
    command = [sys.executable, str(FOLDER / "study.py"), str(grid), "--out", str(out)]
    with open(log, "w") as file:
        study = subprocess.Popen(
            command, stdout=file, stderr=file, start_new_session=True
        )
    try:
        run = once(lambda: list(out.glob("trials/drawn/*/run")), study)[0]
        once((run / "metrics.jsonl").is_file, study)
        assert not list(run.glob("checkpoints/*.safetensors"))
        study.send_signal(signal.SIGTERM)
        assert study.wait(600) == 143
        assert "the same command goes on" in log.read_text()
        # The training has saved, as nothing else does, and nobody holds its run.
        assert "SIGTERM" in (run.parent / "train.txt").read_text()
        assert list(run.glob("checkpoints/*.safetensors"))
        assert not (run / "summary.json").exists()
        with only_writer(run):
            pass
    finally:
        stop_all(study.pid)


def once(test, process):
    """What a test gives as soon as it is true."""
    for _ in range(6000):
        if found := test():
            return found
        assert process.poll() is None
        time.sleep(0.1)
    raise AssertionError("it took too long")


def stop_all(group):
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
