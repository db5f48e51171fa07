"""Principal components of patch features against a direct eigenvector."""

import numpy as np
import pytest

from dino_tf.analysis.components import principal_components


def test_an_object_in_the_middle_is_positive():
    features = np.zeros((5, 6, 4))
    features[..., 1] = 7.0
    features[1:4, 2:4] += [3.0, 0.0, -4.0, 0.0]
    (component,) = principal_components(features, 1)
    inside = np.zeros((5, 6), dtype=bool)
    inside[1:4, 2:4] = True
    # 6 of 30 patches: values a, b with 6 a + 24 b = 0 and 6 a^2 + 24 b^2 = 30.
    np.testing.assert_allclose(component[inside], 2.0, rtol=1e-5)
    np.testing.assert_allclose(component[~inside], -0.5, rtol=1e-5)
    (opposite,) = principal_components(-features, 1)
    np.testing.assert_allclose(opposite, component, atol=1e-6)


def test_components_are_the_eigenvectors_of_the_covariance():
    draw = np.random.default_rng(0)
    features = draw.normal(size=(4, 7, 5)) * [5.0, 3.0, 2.0, 0.5, 0.1]
    maps = principal_components(features, 3)
    flat = features.reshape(28, 5) - features.reshape(28, 5).mean(axis=0)
    values, vectors = np.linalg.eigh(flat.T @ flat / 28)
    for i in range(3):
        expected = flat @ vectors[:, -1 - i] / np.sqrt(values[-1 - i])
        sign = np.sign(expected @ maps[i].ravel())
        np.testing.assert_allclose(maps[i].ravel(), sign * expected, atol=1e-4)
        border = np.concatenate([maps[i][0], maps[i][-1], *maps[i][1:-1, [0, -1]]])
        assert border.mean() <= 0


@pytest.mark.parametrize("shape", [(1, 1, 4), (2, 3, 1), (3, 3, 2)])
def test_directions_that_do_not_exist_are_zero(shape):
    features = np.random.default_rng(1).normal(size=shape)
    maps = principal_components(features, 3)
    assert maps.shape == (3, *shape[:2]) and maps.dtype == np.float32
    real = min(shape[0] * shape[1] - 1, shape[2])
    assert [bool(np.abs(m).max() > 0) for m in maps] == [i < real for i in range(3)]


def test_equal_patches_have_no_component():
    assert not principal_components(np.full((4, 4, 3), 0.3)).any()
