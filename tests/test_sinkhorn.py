"""Sinkhorn-Knopp by literal numbers, at its limits, and over two replicas."""

import numpy as np
import pytest
import tensorflow as tf

from dino_tf.sinkhorn import sinkhorn_knopp

LOGITS = np.array(
    [[0.0, 0.1, 0.0], [0.2, 0.0, 0.1], [0.3, 0.1, 0.0], [0.3, 0.0, 0.2]], "float32"
)
# By NumPy in float64 on the numbers themselves, temperature 0.1; the published
# program gives the same to 1e-7.
SHARES = [
    [0.0583701, 0.7192805, 0.2223495],
    [0.3316882, 0.2034954, 0.4648164],
    [0.5545794, 0.3402423, 0.1051783],
    [0.3806530, 0.0859131, 0.5334340],
]


def test_literal_numbers():
    np.testing.assert_allclose(sinkhorn_knopp(LOGITS, 0.1), SHARES, atol=1e-6)


def test_views_are_normalised_together():
    both = sinkhorn_knopp(LOGITS.reshape(2, 2, 3), 0.1)
    np.testing.assert_allclose(both, np.reshape(SHARES, (2, 2, 3)), atol=1e-6)


def test_more_iterations_spread_the_prototypes_more_evenly():
    loads = [
        np.sum(sinkhorn_knopp(LOGITS, 0.1, iterations), axis=0)
        for iterations in (1, 3, 10)
    ]
    uneven = [np.ptp(load) for load in loads]
    assert uneven[0] > uneven[1] > uneven[2] and uneven[2] < 1e-3


def test_what_is_common_to_a_prototype_drops_out():
    shifted = sinkhorn_knopp(LOGITS + np.array([5.0, -3.0, 0.5]), 0.1)
    np.testing.assert_allclose(shifted, SHARES, atol=1e-5)


@pytest.mark.parametrize("size", [1e2, 1e6])
def test_large_logits_stay_finite(size):
    found = np.asarray(sinkhorn_knopp(LOGITS * size, 0.04))
    np.testing.assert_allclose(found.sum(axis=-1), 1.0, atol=1e-5)
    # Their sum over the samples is 4 / 3 where nothing is left to chance.
    assert np.isfinite(found).all() and found.max() <= 1.0


def test_computed_in_float32():
    half = sinkhorn_knopp(tf.constant(LOGITS, "bfloat16"), 0.1)
    assert half.dtype == "float32"
    np.testing.assert_allclose(np.sum(half, axis=-1), 1.0, atol=1e-6)


def test_replicas_are_normalised_together(strategy):
    def of_replica():
        index = tf.distribute.get_replica_context().replica_id_in_sync_group
        rows = tf.gather(tf.constant(LOGITS.reshape(2, 2, 3)), index)
        return sinkhorn_knopp(rows, 0.1)

    found = strategy.run(tf.function(of_replica))
    rows = [r.numpy() for r in strategy.experimental_local_results(found)]
    np.testing.assert_allclose(np.concatenate(rows), SHARES, atol=1e-6)
