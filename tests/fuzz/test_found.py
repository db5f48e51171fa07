"""What fuzzing has found once: files in `found/`, `TARGET-...`, are told mistakes."""

from pathlib import Path

import fuzz_targets
import pytest

FOUND = sorted(Path(__file__).with_name("found").iterdir())


@pytest.mark.parametrize("file", FOUND, ids=lambda file: file.name)
def test_found(file):
    name = file.name.partition("-")[0]
    fuzz_targets.run(name, file.read_bytes())
