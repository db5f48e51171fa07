"""`.keras` files of equal bytes, never half."""

import errno
import os
import zipfile

import keras
import numpy as np
import pytest

from dino_tf.keras_writer import save_keras


def network():
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def test_equal_networks_give_equal_bytes_that_keras_loads(tmp_path, monkeypatch):
    save_keras(network(), tmp_path / "a.keras")
    # Another day, another second.
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    save_keras(network(), tmp_path / "b.keras")
    one, other = ((tmp_path / f"{n}.keras").read_bytes() for n in "ab")
    assert one == other
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.keras", "b.keras"]
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    ours, theirs = network().get_weights(), loaded.get_weights()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    with zipfile.ZipFile(tmp_path / "a.keras") as file:
        assert b"1980" in file.read("metadata.json")


def test_a_full_disk_leaves_the_file_before(tmp_path, monkeypatch):
    file = tmp_path / "a.keras"
    save_keras(network(), file)
    before = file.read_bytes()

    def full(self, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(keras.Sequential, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_keras(network(), file)
    assert file.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
