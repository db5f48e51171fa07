"""Arrays as a data set."""

import numpy as np
import pytest

from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError
from dino_tf.transforms.image import decode

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3)).astype(np.uint8)


def test_images_come_back_as_they_were():
    source = ArraySource(IMAGES, [2, (1, 0), None])
    assert [source.labels(i) for i in range(3)] == [(2,), (0, 1), ()]
    assert source.class_names == ("0", "1", "2")
    for i in range(3):
        np.testing.assert_array_equal(decode(source.image_bytes(i)), IMAGES[i])


def test_stamp_tells_a_changed_pixel():
    other = IMAGES.copy()
    other[2, 4, 6, 1] ^= 1
    assert ArraySource(IMAGES).stamp() == ArraySource(IMAGES.copy()).stamp()
    assert ArraySource(IMAGES).stamp() != ArraySource(other).stamp()


def test_masks_and_objects_come_back_and_count_in_the_stamp():
    masks = [np.full((5, 7), i, np.uint8) for i in range(2)] + [None]
    objects = [None, 2 * masks[1], None]
    source = ArraySource(IMAGES, masks=masks, objects=objects)
    assert source.mask(1).max() == 1 and source.mask(2) is None
    assert source.objects(0) is None and source.objects(1).max() == 2
    chosen = source.subset([1])
    assert chosen.objects(0) is source.objects(1)
    stamps = {
        source.stamp(),
        ArraySource(IMAGES).stamp(),
        ArraySource(IMAGES, masks=masks).stamp(),
        ArraySource(IMAGES, masks=masks, objects=[None, masks[1], None]).stamp(),
    }
    assert len(stamps) == 4
    with pytest.raises(UserError, match="1 objects for 3 images"):
        ArraySource(IMAGES, objects=[None])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((IMAGES[..., :1],), "uint8 (5, 7, 1)"),
        ((IMAGES / 255,), "float64 (5, 7, 3)"),
        ((IMAGES, [0]), "1 labels for 3 images"),
        ((IMAGES, [0, 1, 2], ("a", "b")), "labels from 0 to 2; allowed: 0 to 1"),
        ((IMAGES, [0, -1, 2]), "labels from -1"),
    ],
)
def test_wrong_arrays_are_named(arguments, words):
    with pytest.raises(UserError) as error:
        ArraySource(*arguments)
    assert words in str(error.value)
