"""Labels that follow features: literal cases, tiles, ties and the map of pixels."""

import numpy as np
import pytest

from dino_tf.analysis import propagation
from dino_tf.analysis.propagation import label_map, propagate_labels, unit_vectors


def plainly(target, memory, labels, radius, k, temperature):
    """The rule patch by patch."""
    height, width = target.shape[:2]
    result = np.zeros((height, width, labels[0].shape[-1]))
    for y, x in np.ndindex(height, width):
        rows = [
            (float(target[y, x] @ frame[i, j]), label[i, j])
            for frame, label in zip(memory, labels, strict=True)
            for i, j in np.ndindex(height, width)
            if not radius or max(abs(i - y), abs(j - x)) <= radius
        ]
        kth = sorted((cosine for cosine, _ in rows), reverse=True)[: min(k, len(rows))]
        weights = [np.exp(c / temperature) * (c >= kth[-1]) for c, _ in rows]
        sums = sum(w * label for w, (_, label) in zip(weights, rows, strict=True))
        result[y, x] = sums / sum(weights)
    return result


@pytest.fixture
def frames():
    """Features of four frames of 9 x 14 patches and labels of three of them."""
    rng = np.random.default_rng(0)
    target, *memory = unit_vectors(rng.normal(size=(4, 9, 14, 5)))
    labels = np.eye(3, dtype=np.float32)[rng.integers(0, 3, (3, 9, 14))]
    return target, memory, list(labels)


@pytest.mark.parametrize("radius", [0, 1, 3])
@pytest.mark.parametrize("k", [1, 5, 40])
def test_tiles_give_what_the_rule_says(frames, radius, k):
    target, memory, labels = frames
    if radius == 3:
        memory, labels = memory[:1], labels[:1]
    expected = plainly(target, memory, labels, radius, k, 0.1)
    found = propagate_labels(target, memory, labels, radius, k, 0.1)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_smaller_tiles_change_nothing(frames, monkeypatch):
    whole = propagate_labels(*frames, radius=2)
    monkeypatch.setattr(propagation, "MOST_NUMBERS", 400)
    assert propagation._tile_side((9, 14), 3, 2) < 8
    np.testing.assert_allclose(propagate_labels(*frames, radius=2), whole, atol=1e-6)


@pytest.mark.parametrize("radius", [0, 1, 12, 200])
def test_likeness_of_large_frames_is_never_held_at_once(radius):
    side = propagation._tile_side((120, 208), 8, radius)
    reach = side + 2 * radius if radius else 208
    window = min(reach, 120) * min(reach, 208)
    assert 8 * side * side * window < max(propagation.MOST_NUMBERS, 8 * 120 * 208 + 1)


def test_all_that_are_as_alike_as_the_kth_count():
    # One patch before four that are the same: k of 2 lets all four in.
    target = np.array([[[1.0, 0.0]]], np.float32)
    memory = [np.array([[[1.0, 0.0]]], np.float32)] * 4
    labels = [np.array([[one]], np.float32) for one in ([1, 0], [0, 1], [0, 1], [0, 1])]
    found = propagate_labels(target, memory, labels, 1, 2, 0.1)
    np.testing.assert_allclose(found, [[[0.25, 0.75]]], atol=1e-6)


def test_weights_fall_with_the_temperature():
    target = np.array([[[1, 0]]], np.float32)
    memory = [np.array([[[1, 0]]], np.float32), np.array([[[0.6, 0.8]]], np.float32)]
    labels = [np.array([[[1, 0]]], np.float32), np.array([[[0, 1]]], np.float32)]
    found = propagate_labels(target, memory, labels, 1, 5, 0.4)
    # exp(1 / 0.4) against exp(0.6 / 0.4): 1 / (1 + exp(-1)).
    np.testing.assert_allclose(found[0, 0, 0], 0.7310586, atol=1e-6)


def test_unit_vectors_leave_zeros():
    found = unit_vectors([[3, 4], [0, 0]])
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]], atol=1e-7)


def test_a_faint_object_is_stretched_before_labels_are_compared():
    # The object has at most 0.4 of a patch, and wins there all the same.
    object_shares = np.array([[0, 0, 0.4, 0]], np.float32)
    shares = np.stack([1 - object_shares, object_shares], axis=-1)
    np.testing.assert_array_equal(label_map(shares, 1), [[0, 0, 1, 0]])


def test_a_label_that_is_everywhere_the_same_stays():
    shares = np.zeros((2, 3, 3), np.float32)
    shares[..., 2] = 1
    assert (label_map(shares, 2) == 2).all()
    assert label_map(shares, 2).shape == (4, 6)
    assert (label_map(np.zeros((2, 3, 3), np.float32), 2) == 0).all()
