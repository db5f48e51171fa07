"""Checksums of files."""

import hashlib


def sha256_of(file):
    """SHA-256 of a file in hexadecimal.

    Raises:
        OSError: It cannot be read.
    """
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
