"""Checksums of files."""

import pytest

from dino_tf.checksums import sha256_of


def test_sha256_of_a_file(tmp_path):
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    # FIPS 180-4, the example of one block.
    assert sha256_of(file) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    with pytest.raises(OSError):
        sha256_of(tmp_path / "none")
