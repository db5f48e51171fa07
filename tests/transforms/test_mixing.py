"""Targets and pixels of mixed batches, by literal numbers."""

import numpy as np
import pytest
import tensorflow as tf

from dino_tf.transforms.mixing import Mixing, blend, draw_weights, smooth_targets


def test_label_smoothing_of_one_class():
    targets = smooth_targets(tf.constant([2, 0]), 4, 0.2)
    expected = [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]]
    np.testing.assert_allclose(targets, expected, atol=1e-7)


def test_label_smoothing_of_several_classes():
    targets = smooth_targets(tf.constant([[1.0, 0.0, 1.0]]), None, 0.2)
    np.testing.assert_allclose(targets, [[0.9, 0.1, 0.9]], atol=1e-7)


def test_no_smoothing_and_no_mixing_changes_nothing():
    images = tf.random.stateless_uniform((2, 4, 4, 3), (1, 2))
    same, targets = Mixing(3)(images, tf.constant([1, 2]), tf.constant([0, 0]))
    np.testing.assert_array_equal(same, images)
    np.testing.assert_array_equal(targets, [[0, 1, 0], [0, 0, 1]])


def test_mixup_blends_front_with_back():
    images = tf.reshape([0.0, 10.0, 20.0], (3, 1, 1, 1)) * tf.ones((3, 2, 2, 3))
    targets = tf.constant([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    mixed, soft = blend(images, targets, tf.fill((2, 2), 0.75))
    # 0.75 * 0 + 0.25 * 20; the one in the middle meets itself.
    np.testing.assert_allclose(mixed[:, 1, 1, 2], [5.0, 10.0, 15.0])
    np.testing.assert_allclose(soft, [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])


def test_cutmix_keeps_the_share_of_the_area():
    images = tf.reshape([0.0, 8.0], (2, 1, 1, 1)) * tf.ones((2, 2, 4, 3))
    weights = tf.constant([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    mixed, soft = blend(images, tf.eye(2), weights)
    np.testing.assert_array_equal(mixed[0, :, :, 0], [[8, 8, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(mixed[1, :, :, 0], [[0, 0, 8, 8], [8, 8, 8, 8]])
    np.testing.assert_array_equal(soft, [[0.75, 0.25], [0.25, 0.75]])


class Draws:
    """A generator of fixed draws."""

    def __init__(self, share, coin=0.0, corner=(0, 0)):
        self.share, self.coin, self.corner = share, coin, iter(corner)

    def random(self):
        return self.coin

    def beta(self, first, second):
        assert first == second
        self.alpha = first
        return self.share

    def integers(self, most):
        return next(self.corner)


def test_weights_of_mixup_are_one_number():
    weights = draw_weights(Draws(0.3), 2, 3, mixup=0.8, cutmix=0.0)
    np.testing.assert_allclose(weights, np.full((2, 3), 0.3), rtol=1e-6)


def test_weights_of_cutmix_have_a_box():
    # A share of 0.75 leaves a box of half of each side: 2 of 4, 3 of 6 (1 each way).
    weights = draw_weights(Draws(0.75, corner=(2, 1)), 4, 6, mixup=0.0, cutmix=1.0)
    expected = np.ones((4, 6))
    expected[1:3, 0:2] = 0.0
    np.testing.assert_array_equal(weights, expected)


def test_box_of_cutmix_ends_at_the_border():
    weights = draw_weights(Draws(0.0, corner=(0, 3)), 4, 4, mixup=0.0, cutmix=1.0)
    expected = np.ones((4, 4))
    expected[0:2, 1:4] = 0.0
    np.testing.assert_array_equal(weights, expected)


@pytest.mark.parametrize(("coin", "alpha"), [(0.4, 1.0), (0.6, 0.8)])
def test_a_coin_decides_between_the_two(coin, alpha):
    draws = Draws(0.5, coin, (0, 0))
    draw_weights(draws, 4, 4, mixup=0.8, cutmix=1.0)
    assert draws.alpha == alpha


def test_draws_follow_the_seed():
    images, labels = tf.random.stateless_uniform((4, 8, 8, 3), (1, 2)), tf.range(4)
    mixing = Mixing(4, mixup=0.8, cutmix=1.0)

    def targets(*seed):
        return mixing(images, labels, tf.constant(seed, tf.int64))[1].numpy()

    np.testing.assert_array_equal(targets(3, 4), targets(3, 4))
    drawn = {tuple(targets(3, number).ravel()) for number in range(6)}
    assert len(drawn) >= 4  # boxes at the border may leave equal areas
    np.testing.assert_allclose(targets(3, 4).sum(1), 1.0, rtol=1e-6)


def test_tiny_parameters_give_numbers():
    mixing = Mixing(2, mixup=1e-3)
    images, labels = tf.ones((2, 2, 2, 3)), tf.constant([0, 1])
    for number in range(20):
        _, targets = mixing(images, labels, tf.constant([0, number], tf.int64))
        assert np.isfinite(targets).all()
