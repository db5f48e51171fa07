"""Fixtures shared by all tests: where reference arrays and real photos lie."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_addoption(parser):
    parser.addoption(
        "--reference-dir",
        default=str(ROOT / "tests" / "reference" / "data"),
        help="folder of arrays computed with the published programs",
    )


@pytest.fixture(scope="session")
def reference_dir(request):
    """Folder of the reference arrays (`--reference-dir`)."""
    return Path(request.config.getoption("--reference-dir"))


@pytest.fixture(scope="session")
def shared_dir():
    """Folder of real photos beside the checkout; skips where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("real photos are not here (../shared/data)")
    return SHARED / "data"
