"""Killed at any moment, a training ends in the bytes that it would have had.

DINO_TF_KILLS sets how many kills there are, DINO_TF_KILLS_SEED their moments.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

PROGRAM = pathlib.Path(__file__).parent / "programs" / "killed.py"
ROOT = PROGRAM.parents[2]
TIMES = {"seconds", "images_per_second", "training_seconds"}
# They tell of times, or of the starts themselves.
OTHER = ("train.log", "report.html", "tensorboard", "config.yaml", ".lock")


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in found)
    return sorted(name for name in names if not name.startswith(OTHER))


def content(file):
    """Bytes of a file; of records what they hold beside times."""
    if file.name not in ("metrics.jsonl", "summary.json"):
        return file.read_bytes()
    text = file.read_text()
    records = text.splitlines() if file.suffix == ".jsonl" else [text]
    found = [json.loads(record) for record in records]
    return [{k: v for k, v in r.items() if k not in TIMES} for r in found]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
def test_every_continuation_ends_in_the_bytes_of_the_undisturbed_run(tmp_path):
    kills = os.environ.get("DINO_TF_KILLS", "1")
    seed = os.environ.get("DINO_TF_KILLS_SEED", "0")
    subprocess.run(
        [sys.executable, PROGRAM, tmp_path, kills, seed],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
        timeout=300 + 60 * int(kills),
    )
    whole = tmp_path / "whole"
    assert len(json.loads((whole / "summary.json").read_text())) > 5
    for parts in sorted(tmp_path.glob("parts*")):
        if parts.is_dir():
            compare(whole, parts)


def compare(whole, parts):
    assert files(parts) == files(whole)
    for name in files(whole):
        assert content(parts / name) == content(whole / name), name
    assert (parts / "report.html").read_text().rstrip().endswith("</html>")
