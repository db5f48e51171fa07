"""LOST and TokenCut find a planted object."""

import numpy as np
import pytest

from dino_tf.analysis.lost import lost
from dino_tf.analysis.tokencut import tokencut

GRID = (8, 10)
OBJECT = (slice(2, 5), slice(6, 10))


@pytest.fixture
def features():
    """Background along one direction, a 3 by 4 object along the opposite one."""
    rng = np.random.default_rng(0)
    field = np.zeros((*GRID, 6))
    field[..., 0] = 1
    field[OBJECT] = [-1, 1, 0, 0, 0, 0]
    return (field + 0.05 * rng.standard_normal(field.shape)).reshape(80, 6)


@pytest.mark.parametrize("method", [lost, tokencut])
def test_finds_the_object_and_cuts_the_box_at_the_photo(method, features):
    found = method(features, GRID, 16, (125, 155))
    np.testing.assert_array_equal(found.box, [96, 32, 155, 80])
    assert found.mask[OBJECT].all()
    assert found.mask.sum() == 12
    assert found.mask.flat[found.seed]


def test_lost_scores_count_the_patches_alike(features):
    found = lost(features, GRID, 16, (128, 160))
    assert found.score.max() == -11
    assert found.score.min() == -67
    assert found.score[found.seed] == -11


def test_lost_with_one_candidate_takes_what_resembles_the_seed(features):
    grown = lost(features, GRID, 16, (128, 160), k=1)
    np.testing.assert_array_equal(grown.box, [96, 32, 160, 80])


def test_eigenvector_is_positive_on_the_object(features):
    vector = tokencut(features, GRID, 16, (128, 160)).eigenvector
    assert vector[OBJECT].min() > vector[0].max()


@pytest.mark.parametrize("method", [lost, tokencut])
def test_refuses_a_grid_of_another_size(method, features):
    with pytest.raises(ValueError, match="80 patches do not fill"):
        method(features, (8, 9), 16, (128, 144))


def test_lost_refuses_features_without_content():
    with pytest.raises(ValueError, match="not part of the mask"):
        lost(np.zeros((4, 3)), (2, 2), 16, (32, 32))
