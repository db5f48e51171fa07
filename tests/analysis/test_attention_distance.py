"""How far attention reaches, by numbers that can be worked out on paper."""

import numpy as np
import pytest

from dino_tf.analysis.attention import attention_distance, patch_distances
from dino_tf.errors import UserError

# A patch of a 2 x 2 grid is 0, 1, 1 and the root of 2 away from the four.
UNIFORM = (2 + np.sqrt(2)) / 4


def test_distances_of_a_grid():
    expected = [[0, 16, 32], [16, 0, 16], [32, 16, 0]]
    np.testing.assert_array_equal(patch_distances((1, 3), 16), expected)
    square = patch_distances((2, 2))
    np.testing.assert_allclose(square[0], [0, 1, 1, np.sqrt(2)], rtol=1e-6)


def test_attention_to_itself_has_no_distance():
    eyes = np.stack([np.eye(6), 0.25 * np.eye(6)])
    np.testing.assert_array_equal(attention_distance(eyes, (2, 3), 8), [0, 0])


def test_uniform_attention():
    heads = np.stack([np.full((4, 4), 0.25), np.eye(4)[[1, 0, 3, 2]]])
    found = attention_distance(heads, (2, 2), 16)
    # The second head attends to the neighbour in its row.
    np.testing.assert_allclose(found, [16 * UNIFORM, 16.0], rtol=1e-6)


def test_cls_and_registers_do_not_count():
    attention = np.full((1, 6, 6), 0.05)
    attention[:, :, :2] = 0.4
    np.testing.assert_allclose(attention_distance(attention, (2, 2)), [UNIFORM])


def test_patches_that_attend_to_no_patch_are_left_out():
    attention = np.zeros((2, 3, 3))
    attention[0, 0, 2] = 0.5
    found = attention_distance(attention, (1, 3))
    assert found[0] == 2 and np.isnan(found[1])


@pytest.mark.parametrize("shape", [(2, 3, 3), (4, 4), (1, 4, 3)])
def test_other_forms(shape):
    with pytest.raises(UserError, match="allowed: .heads, N, N. with N of at least 4"):
        attention_distance(np.zeros(shape), (2, 2))
