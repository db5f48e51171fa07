"""Masks on patches, and maps of patches on pixels."""

import numpy as np
import pytest

from dino_tf.analysis.patch_classes import enlarge_bilinear, patch_shares
from dino_tf.errors import UserError


def test_shares_of_a_mask_of_the_same_size():
    mask = np.array([[0, 0, 1, 1], [0, 2, 1, 255]], np.uint8)
    shares = patch_shares(mask, (1, 2), 3, pixels=2)
    np.testing.assert_allclose(shares, [[[0.75, 0, 0.25], [0, 0.75, 0]]])


@pytest.mark.parametrize("scale", [(1, 1), (3, 2), (5, 7)])
def test_shares_do_not_depend_on_the_size_of_the_mask(scale):
    mask = np.array([[0, 1], [255, 2]], np.uint8)
    large = mask.repeat(scale[0], axis=0).repeat(scale[1], axis=1)
    shares = patch_shares(large, (2, 2), 3)
    expected = [[[1, 0, 0], [0, 1, 0]], [[0, 0, 0], [0, 0, 1]]]
    np.testing.assert_array_equal(shares, expected)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.full((2, 2), 3), "a mask has the class 3; allowed: 0 to 2 and 255"),
        (np.zeros((2, 2, 3)), r"a mask is \(2, 2, 3\); allowed: \(H, W\)"),
        (np.zeros((0, 2)), r"a mask is \(0, 2\)"),
    ],
)
def test_refuses_masks(mask, words):
    with pytest.raises(UserError, match=words):
        patch_shares(mask, (2, 2), 3)


def test_enlarges_between_the_centers_of_patches():
    wide = enlarge_bilinear([[[0.0, 8.0], [4.0, 0.0]]], (1, 4))
    np.testing.assert_allclose(wide[0, :, 0], [0, 1, 3, 4])
    np.testing.assert_allclose(wide[0, :, 1], [8, 6, 2, 0])
    tall = enlarge_bilinear([[[0.0]], [[4.0]]], (4, 3))
    np.testing.assert_allclose(tall[:, 2, 0], [0, 1, 3, 4])


def test_enlarging_agrees_with_tensorflow():
    import tensorflow as tf

    maps = np.random.default_rng(0).standard_normal((3, 5, 2)).astype(np.float32)
    for shape in ((11, 8), (3, 5), (2, 4), (1, 1)):
        expected = tf.image.resize(maps, shape, "bilinear", antialias=False)
        np.testing.assert_allclose(enlarge_bilinear(maps, shape), expected, atol=1e-6)
