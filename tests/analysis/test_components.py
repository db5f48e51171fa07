"""Principal components of patch features against a direct eigenvector."""

import numpy as np
import pytest

from dino_tf.analysis.components import fit_components, principal_components
from dino_tf.errors import UserError


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


def two_colours(rows, columns, inside=(3.0, 0.0, -4.0, 0.0)):
    """A photo of one background with an object in its middle: length 5 apart."""
    features = np.zeros((rows, columns, 4))
    features[..., 1] = 7.0
    features[1:-1, 1:-1] += inside
    return features


def test_equal_patches_are_equal_in_every_photo():
    # 2 of 12 and 6 of 20 patches are object: 8 a + 24 b = 0, 8 a^2 + 24 b^2 = 32.
    photos = [two_colours(3, 4), two_colours(4, 5)]
    found = fit_components(photos, 1)
    for features in photos:
        (component,) = found.maps(features)
        np.testing.assert_allclose(component[1:-1, 1:-1], np.sqrt(3), rtol=1e-6)
        np.testing.assert_allclose(component[0], -1 / np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(found.directions[0] @ [3, 0, -4, 0], 4 / np.sqrt(3))
    # Each photo by itself would have another scale: 2 of 12 patches.
    (alone,) = principal_components(photos[0], 1)
    np.testing.assert_allclose(alone[1, 1], np.sqrt(5), rtol=1e-5)


def test_order_and_sign_of_the_photos_do_not_matter():
    draw = np.random.default_rng(2)
    photos = [
        draw.normal(size=(h, w, 6)) * [9, 5, 3, 2, 1, 0.5] for h, w in ((4, 5), (7, 3))
    ]
    found = fit_components(photos, 3)
    back = fit_components(photos[::-1], 3)
    negative = fit_components([-p for p in photos], 3)
    for features in photos:
        maps = found.maps(features)
        np.testing.assert_allclose(back.maps(features), maps, atol=1e-5)
        np.testing.assert_allclose(negative.maps(-features), maps, atol=1e-5)
        np.testing.assert_allclose(
            back.colours(features), found.colours(features), atol=1e-5
        )
    values = np.concatenate([found.maps(p).reshape(3, -1) for p in photos], axis=1)
    np.testing.assert_allclose(values @ values.T / 41, np.eye(3), atol=1e-5)


def test_components_of_one_photo_are_those_of_the_photo():
    draw = np.random.default_rng(3)
    features = draw.normal(size=(6, 5, 4)) * [8.0, 4.0, 2.0, 1.0] + 100.0
    maps = fit_components([features]).maps(features)
    np.testing.assert_allclose(maps, principal_components(features), atol=1e-4)


def test_components_of_the_foreground_alone():
    photos = []
    for level in (-1.0, 1.0):
        photo = two_colours(6, 6, (30.0, 0.0, -40.0, 0.0))
        photo[..., 3] = 5.0 * np.arange(6)  # differs outside of the object too
        photo[1:-1, 1:3, 1] += level
        photo[1:-1, 3:5, 1] -= level
        photos.append(photo)
    found = fit_components(photos, 1, foreground=True)
    inside = np.zeros((6, 6), bool)
    inside[1:-1, 1:-1] = True
    for photo in photos:
        np.testing.assert_array_equal(found.foreground(photo) > 0, inside)
    # Of the object alone channel 3 has 5, 10, 15 and 20 in equal parts.
    (component,) = found.maps(photos[0])
    steps = component[2, 1:5]
    np.testing.assert_allclose(abs(np.diff(steps)), 5 / np.sqrt(31.25), rtol=0.05)
    assert fit_components(photos, 1).foreground(photos[0]) is None


def test_colours_reach_from_the_least_to_the_most():
    ramp = np.zeros((1, 101, 2))
    ramp[0, :, 0] = np.arange(101)
    found = fit_components([ramp], 1)
    # Without any inner patch the mean decides nothing: the number is positive.
    assert found.directions[0, 0] > 0
    colours = found.colours(ramp)[0, :, 0]
    np.testing.assert_allclose(colours[[0, 1, 50, 99, 100]], [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(colours[26], 25 / 98, rtol=1e-5)
    # Further photos are measured by the same colours.
    bright = found.colours(ramp[:, 40:60])[0, :, 0]
    np.testing.assert_allclose(bright, colours[40:60])


def test_directions_without_difference_are_zero():
    found = fit_components([np.full((3, 3, 2), 0.3), np.full((2, 2, 2), 0.3)])
    assert not found.directions.any()
    assert not found.colours(np.ones((1, 1, 2))).any()


@pytest.mark.parametrize(
    ("photos", "options", "words"),
    [
        ([], {}, "0 patches to find components of; allowed: 2 or more"),
        ([np.ones((2, 2, 3)), np.ones((2, 2, 4))], {}, "4 channels after others of 3"),
        ([np.ones((2, 2, 3))], {"count": 0}, "count is 0; allowed: 1 or more"),
        ([np.ones((2, 2, 3))], {"foreground": True}, "0 patches to find"),
    ],
)
def test_photos_that_have_no_components(photos, options, words):
    with pytest.raises(UserError, match=words):
        fit_components(photos, **options)


def test_features_of_another_width():
    found = fit_components([two_colours(3, 4)], 1)
    with pytest.raises(UserError, match=r"\(2, 2, 3\); allowed: \(h, w, 4\)"):
        found.maps(np.ones((2, 2, 3)))
