"""LOST and TokenCut find a planted object."""

import numpy as np
import pytest

from dino_tf.analysis import tokencut as tokencut_file
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


def planted(noise):
    """An object on a background of waves, 15 x 20 patches; `noise` blurs it all."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:15, :20]
    disc = 1.0 * ((columns - 8) ** 2 + (rows - 6) ** 2 < 20)
    field = np.stack([np.sin(columns / 3), np.cos(rows / 4), disc], axis=-1)
    field = field.reshape(300, 3) @ rng.standard_normal((3, 32))
    return field + noise * rng.standard_normal((300, 32))


@pytest.mark.parametrize("noise", [0.1, 0.3, 0.5, 0.8, 1.5, 3.0])
def test_both_solvers_of_tokencut_agree(monkeypatch, noise):
    fast = tokencut(planted(noise), (15, 20), 16, (240, 320))
    monkeypatch.setattr(tokencut_file, "WORTH_LANCZOS", 301)
    dense = tokencut(planted(noise), (15, 20), 16, (240, 320))
    np.testing.assert_allclose(fast.eigenvector, dense.eigenvector, atol=1e-9)
    np.testing.assert_array_equal(fast.box, dense.box)
    assert fast.seed == dense.seed


def test_the_fast_solver_is_used_and_leaves_ties_to_the_other():
    weights = np.where(np.corrcoef(planted(0.3)) > 0.2, 1.0, 1e-5)
    assert tokencut_file._second_by_lanczos(weights) is not None
    # Everything alike: no eigenvalue stands out.
    assert tokencut_file._second_by_lanczos(np.ones((300, 300))) is None
    # Two halves of patches with the same neighbours each: no patch is the extreme.
    halves = np.kron(np.eye(2), np.ones((150, 150))) + 1e-5
    assert tokencut_file._second_by_lanczos(halves) is None


def test_a_single_patch_is_the_object():
    one = np.ones((1, 6))
    for method in (lost, tokencut):
        found = method(one, (1, 1), 16, (9, 12))
        assert found.box.tolist() == [0, 0, 12, 9]
        assert found.mask.tolist() == [[True]] and found.seed == 0


def test_two_patches_are_cut_apart():
    features = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert tokencut(features, (1, 2), 16, (16, 32)).mask.sum() == 1
