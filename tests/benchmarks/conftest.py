"""The benchmarks' own folder is searched for modules, as when one is started."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """Lets `import turns` and the like find the benchmarks."""
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.fixture
def answer():
    """Function that makes up a side's part of what `turns.take_turns` returns."""

    def make(seconds, results, ceiling=None, **memory):
        return {
            "first": {"seconds": [9.0], "results": results[:1]},
            "seconds": seconds,
            "processor_seconds": [2 * s for s in seconds],
            "results": results,
            "ceiling": ceiling,
            "memory": {"peak_mb": 100, "now_mb": 50, **memory},
        }

    return make
