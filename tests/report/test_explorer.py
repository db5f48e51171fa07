"""Patch features in 8 bits: cosines stay, shapes and bytes are what is told."""

import base64

import numpy as np

from dino_tf.report.explorer import packed, reduce_features


def cosines(maps):
    flat = np.concatenate([m.reshape(-1, m.shape[-1]) for m in maps]).astype(float)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return flat @ flat.T


def test_cosines_survive():
    rng = np.random.default_rng(0)
    # Twenty directions of falling strength in sixty channels, about a common mean.
    basis = rng.normal(size=(20, 60)) * 0.7 ** np.arange(20)[:, None]
    mean = rng.normal(size=60)
    maps = [rng.normal(size=(*hw, 20)) @ basis + mean for hw in ((6, 8), (5, 4))]
    reduced = reduce_features(maps, 16)
    assert [m.shape for m in reduced] == [(6, 8, 16), (5, 4, 16)]
    assert all(m.dtype == np.int8 for m in reduced)
    np.testing.assert_allclose(cosines(reduced), cosines(maps), atol=0.02)


def test_scale_and_zeros():
    maps = [np.array([[[3.0, 4.0], [0.0, 0.0]], [[-6.0, -8.0], [-8.0, 6.0]]])]
    (reduced,) = reduce_features(maps)
    assert reduced.shape == (2, 2, 2)
    assert not reduced[0, 1].any()
    expected = [[1, 0, -1, 0], [0, 0, 0, 0], [-1, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(cosines([reduced]), expected, atol=0.01)


def test_packed_bytes_can_be_read_back():
    features = np.arange(-6, 6, dtype=np.int8).reshape(2, 3, 2)
    found = packed(features)
    assert (found["rows"], found["columns"], found["channels"]) == (2, 3, 2)
    again = np.frombuffer(base64.b64decode(found["features"]), np.int8)
    np.testing.assert_array_equal(again.reshape(2, 3, 2), features)
