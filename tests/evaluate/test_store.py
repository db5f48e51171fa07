"""Arrays that are kept by what they depend on."""

import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.evaluate.store import Store, fingerprint


def counting():
    calls = []

    def compute():
        calls.append(1)
        return {"a": np.arange(3), "b": np.array(2.5, np.float32)}

    return calls, compute


def test_equal_dependencies_are_computed_once(tmp_path):
    calls, compute = counting()
    first = Store(tmp_path / "new").arrays("boxes", {"k": 1, "m": [2]}, compute)
    again = Store(tmp_path / "new").arrays("boxes", {"m": [2], "k": 1}, compute)
    assert len(calls) == 1
    for name in ("a", "b"):
        np.testing.assert_array_equal(first[name], again[name])
        assert first[name].dtype == again[name].dtype


@pytest.mark.parametrize(
    ("what", "depends"), [("boxes", {"k": 2}), ("boxes", {}), ("other", {"k": 1})]
)
def test_anything_else_is_computed_anew(tmp_path, what, depends):
    calls, compute = counting()
    Store(tmp_path).arrays("boxes", {"k": 1}, compute)
    Store(tmp_path).arrays(what, depends, compute)
    assert len(calls) == 2


def test_a_damaged_file_is_replaced(tmp_path):
    calls, compute = counting()
    Store(tmp_path).arrays("boxes", {"k": 1}, compute)
    (file,) = tmp_path.iterdir()
    for damage in (b"", b"text", file.read_bytes()[:-40]):
        file.write_bytes(damage)
        found = Store(tmp_path).arrays("boxes", {"k": 1}, compute)
        np.testing.assert_array_equal(found["a"], [0, 1, 2])
    assert len(calls) == 4
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_nothing_is_left_of_a_failure(tmp_path):
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        Store(tmp_path).arrays("boxes", {}, fail)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="No space left.*allowed: a cache with room"):
        Store(tmp_path).arrays("boxes", {}, counting()[1])
    assert not list(tmp_path.iterdir())


def test_without_a_folder_nothing_is_kept():
    calls, compute = counting()
    store = Store()
    store.arrays("boxes", {}, compute)
    store.arrays("boxes", {}, compute)
    assert len(calls) == 2


def test_fingerprint_takes_numbers_of_numpy_and_nothing_unknown():
    assert fingerprint({"a": np.int64(3)}) == fingerprint({"a": 3})
    assert fingerprint(np.array([1, 2])) == fingerprint([1, 2])
    with pytest.raises(TypeError, match="object"):
        fingerprint({"a": object()})


def test_what_was_kept_is_found_without_computing(tmp_path):
    store = Store(tmp_path)
    assert store.kept("boxes", {"k": 1}) is None
    _, compute = counting()
    store.arrays("boxes", {"k": 1}, compute)
    np.testing.assert_array_equal(store.kept("boxes", {"k": 1})["a"], np.arange(3))
    assert Store(None).kept("boxes", {"k": 1}) is None
