"""Fixtures shared by all tests: reference arrays, real photos, two CPU devices."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

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


@pytest.fixture(scope="session", autouse=True)
def two_cpu_devices():
    """Splits the CPU into two logical devices, for tests of several replicas."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [half, half])


@pytest.fixture
def strategy():
    """`MirroredStrategy` over two CPU devices."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
