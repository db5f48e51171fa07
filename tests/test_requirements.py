"""Requirements: bounded on both sides, and locked within their bounds."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def requirements(name):
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if re.match(r"[A-Za-z]", line)]


def extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["optional-dependencies"]
    return [
        Requirement(r) for name in listed if name != "notebooks" for r in listed[name]
    ]


@pytest.mark.parametrize(
    "listed",
    [requirements("requirements.txt"), requirements("requirements-dev.txt"), extras()],
    ids=["requirements.txt", "requirements-dev.txt", "extras"],
)
def test_every_requirement_has_both_bounds(listed):
    assert len(listed) > 5
    for requirement in listed:
        assert sorted(s.operator for s in requirement.specifier) == ["<", ">="]


def test_the_lock_holds_every_requirement_within_its_bounds():
    text = (ROOT / "requirements.lock").read_text()
    found = re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)
    locked = {}
    for name, version in found:
        locked.setdefault(name.lower().replace("_", "-"), []).append(Version(version))
    for requirement in requirements("requirements.txt"):
        versions = locked[requirement.name.lower().replace("_", "-")]
        assert all(version in requirement.specifier for version in versions)
    # Each with the checksums of its files, and from nowhere in particular.
    assert text.count("--hash=sha256:") > len(found) and "://" not in text
