"""Cosines of position embeddings."""

import numpy as np
import pytest

from dino_tf.analysis.positions import position_similarity
from dino_tf.errors import UserError


def test_cosines():
    positions = np.array([[[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]]])
    found = position_similarity(positions)
    assert found.shape == (1, 4, 1, 4)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(found[0, 0, 0], [1, 0, -1, half], atol=1e-6)
    np.testing.assert_allclose(found[0, 3, 0], [half, half, -half, 1], atol=1e-6)


def test_equal_embeddings_are_alike_everywhere():
    np.testing.assert_allclose(position_similarity(np.full((2, 3, 5), 0.7)), 1.0)
    assert not position_similarity(np.zeros((2, 2, 3))).any()


def test_other_forms():
    with pytest.raises(UserError, match=r"\(4, 3\); allowed: \(h, w, D\)"):
        position_similarity(np.ones((4, 3)))
