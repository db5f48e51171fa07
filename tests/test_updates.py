"""Norms and clipping of gradients; whole steps are in `test_dino.py`."""

import numpy as np
import tensorflow as tf

from dino_tf.updates import clip_each, norms_of


def test_norms_are_those_of_the_unscaled_loss():
    gradients = [tf.constant([30.0, 40.0]), tf.constant([[0.0], [2.0]])]
    np.testing.assert_allclose(norms_of(gradients, 2.0), [25.0, 1.0])


def test_gradients_are_clipped_each_by_itself():
    gradients = [tf.constant([30.0, 40.0]), tf.constant([0.3, 0.4])]
    clipped = clip_each(gradients, norms_of(gradients, 1.0), 3.0)
    np.testing.assert_allclose(clipped[0], [1.8, 2.4], rtol=1e-5)
    np.testing.assert_allclose(clipped[1], [0.3, 0.4], rtol=1e-6)


def test_nothing_is_clipped_without_a_limit():
    gradients = [tf.constant([30.0, 40.0])]
    assert clip_each(gradients, norms_of(gradients, 1.0), 0) is gradients
