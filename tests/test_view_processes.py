"""Views drawn by processes of their own are those of threads."""

import io
import itertools
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dino_tf.errors import UserError
from dino_tf.photo_cache import MemoryCache
from dino_tf.pipeline import BadImages, make_dataset
from dino_tf.transforms.multicrop import MultiCrop
from dino_tf.view_processes import ViewProcesses

VIEWS = MultiCrop(global_size=16, local_size=8, num_local=2)


class Photos:
    """JPEG photos; some cannot be read."""

    def __init__(self, broken=()):
        self.broken = dict(broken)

    def __len__(self):
        return 7

    def id(self, index):
        return f"photo{index}"

    def image_bytes(self, index):
        if isinstance(self.broken.get(index), Exception):
            raise self.broken[index]
        rng, stream = np.random.default_rng(index), io.BytesIO()
        pixels = rng.integers(0, 256, (90, 120, 3), np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG")
        return self.broken.get(index, stream.getvalue())


def batches(source, **arguments):
    data = make_dataset(source, VIEWS, 3, seed=5, **arguments)
    return list(itertools.islice(data.as_numpy_iterator(), 5))


def assert_equal(streams):
    first, *others = streams
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a["global"], b["global"])
            np.testing.assert_array_equal(a["local"], b["local"])


@pytest.mark.parametrize(
    ("decode_margin", "shape"), [(None, (90, 120, 3)), (1.0, (45, 60, 3))]
)
def test_the_data_are_those_of_threads(decode_margin, shape):
    cache = MemoryCache(1)
    ways = {"workers": 2}, {"processes": 2}, {"processes": 1, "cache": cache}
    streams = [batches(Photos(), decode_margin=decode_margin, **way) for way in ways]
    assert_equal(streams)
    assert cache.get(0).shape == shape
    again = batches(Photos(), decode_margin=decode_margin, processes=1, cache=cache)
    assert_equal([streams[0], again])


@pytest.mark.slow  # the process imports TensorFlow for what is no JPEG
def test_bad_photos_are_named_and_replaced():
    told, streams = [], []
    for way in ({"workers": 1}, {"processes": 1}):
        told.append(BadImages())
        source = Photos({3: b"nothing", 4: OSError("gone")})
        streams.append(batches(source, bad_images=told[-1], **way))
    assert_equal(streams)
    assert told[1].names == told[0].names
    assert told[0].names["photo4"] == "gone" and told[0].names["photo3"]


def test_a_process_that_ends_is_told():
    pool = ViewProcesses(1, VIEWS)
    arguments = Photos(), BadImages(), None, (0, 1), 2
    assert pool.take(*arguments)["global"].shape == (2, 16, 16, 3)
    worker = pool._free.get()
    pool._free.put(worker)
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="ended with code -9"):
        pool.take(*arguments)


def test_processes_end_with_their_pool():
    pool = ViewProcesses(2, VIEWS)
    pool.take(Photos(), BadImages(), None, (0, 1), 2)
    workers = [pool._free.get() for _ in range(2)]
    del pool
    assert [worker._process.poll() for worker in workers] == [0, 0]


def test_what_fails_in_a_process_is_told_here():
    views = MultiCrop(global_size=16, local_size=8, num_local=2)
    views.blur_sigma = "wrong"
    pool = ViewProcesses(1, views)
    with pytest.raises(RuntimeError, match="Error"):
        pool.take(Photos(), BadImages(), None, (0, 1), 2)


def test_without_a_multicrop_there_are_no_processes():
    def views(image, seed):
        return {"global": tf.zeros((2, 1, 1, 3)), "local": tf.zeros((0, 1, 1, 3))}

    with pytest.raises(UserError, match="processes is 2"):
        make_dataset(Photos(), views, 3, processes=2)
    with pytest.raises(UserError, match="decode_margin is 2"):
        make_dataset(Photos(), views, 3, decode_margin=2)
