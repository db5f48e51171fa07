"""Decoded photos kept in memory and on disk."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dino_tf.errors import UserError
from dino_tf.photo_cache import DiskCache, MemoryCache

KB = 1e-6  # gigabytes


def photo(index, height=10, width=20):
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), np.uint8)


def caches(folder, budget):
    return MemoryCache(budget), DiskCache(folder, "key", budget)


def test_what_is_kept_is_what_was_given(tmp_path):
    for cache in caches(tmp_path, 100 * KB):
        assert cache.get(3) is None
        cache.put(3, photo(3))
        cache.put(1200, photo(4, 7, 1))
        np.testing.assert_array_equal(cache.get(3), photo(3))
        np.testing.assert_array_equal(cache.get(1200), photo(4, 7, 1))


def test_what_does_not_fit_is_not_kept(tmp_path):
    # Three photos of 600 bytes; a file takes at least 4,096 bytes of the disk.
    for cache, budget in zip(caches(tmp_path, 13 * KB), (21, 3), strict=True):
        for index in range(30):
            cache.put(index, photo(index))
        kept = [i for i in range(30) if cache.get(i) is not None]
        assert kept == list(range(budget))


def test_photos_on_disk_outlive_the_process_and_share_the_budget(tmp_path):
    first, second = (DiskCache(tmp_path, "key", 25 * KB) for _ in "ab")
    for index in range(4):
        first.put(index, photo(index))
        second.put(10 + index, photo(10 + index))
    third = DiskCache(tmp_path, "key", 25 * KB)
    kept = [i for i in range(20) if third.get(i) is not None]
    assert kept == [0, 1, 2, 10, 11, 12]
    np.testing.assert_array_equal(third.get(11), photo(11))
    assert DiskCache(tmp_path, "other", 25 * KB).get(0) is None


def test_a_folder_that_is_deleted_begins_anew(tmp_path):
    cache = DiskCache(tmp_path, "key", 100 * KB)
    cache.put(1, photo(1))
    shutil.rmtree(tmp_path / "key")
    assert cache.get(1) is None
    cache.put(2, photo(2))
    np.testing.assert_array_equal(cache.get(2), photo(2))


@pytest.mark.parametrize("length", [0, 7, 100, 700])
def test_a_damaged_file_is_no_photo(tmp_path, length):
    cache = DiskCache(tmp_path, "key", 100 * KB)
    cache.put(5, photo(5))
    (file,) = tmp_path.rglob("*.rgb")
    data = file.read_bytes()
    file.write_bytes((data + bytes(200))[:length])
    assert cache.get(5) is None


def test_threads_keep_to_the_budget(tmp_path):
    for cache in caches(tmp_path, 50 * KB):
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda i, c=cache: c.put(i, photo(i)), range(200)))
        kept = [i for i in range(200) if cache.get(i) is not None]
        assert 0 < len(kept) * 600 <= 50_000
        for i in kept:
            np.testing.assert_array_equal(cache.get(i), photo(i))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        DiskCache(tmp_path / "file", "key", 1)
