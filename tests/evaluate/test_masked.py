"""Which photos are judged, and what their masks show."""

import io

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import open_source
from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError
from dino_tf.evaluate.masked import (
    check_shapes,
    judged_source,
    kind_of_objects,
    objects_of,
    read_photo,
    required_source,
    write_per_photo,
)
from dino_tf.evaluate.subject import Data

IMAGES = np.zeros((3, 4, 6, 3), np.uint8)
MASK = np.zeros((4, 6), np.uint8)
MASK[1:3, 1:3] = 1
PLAIN = ArraySource(IMAGES, name="plain")
MASKED = ArraySource(IMAGES, masks=[None, MASK, 0 * MASK], name="masked")


def test_the_test_split_is_judged_where_it_has_masks():
    other = ArraySource(IMAGES, masks=[None, None, MASK])
    assert judged_source(Data.of(MASKED, other)) is other
    assert judged_source(Data.of(MASKED, PLAIN)) is MASKED
    assert judged_source(Data.of(MASKED)) is MASKED
    assert judged_source(Data.of(PLAIN)) is None
    assert judged_source(Data.of(MASKED, other), "train") is MASKED
    assert judged_source(Data.of(PLAIN, other), "train") is None


def test_what_is_missing_is_named():
    with pytest.raises(UserError, match="masked has no split 'test'; allowed: train"):
        judged_source(Data.of(MASKED), "test")
    with pytest.raises(UserError, match="no photo of plain has a mask"):
        required_source(Data.of(PLAIN))
    with pytest.raises(UserError, match="no photo of split 'train' of plain has"):
        required_source(Data.of(PLAIN, MASKED), "train")


def test_kind_of_objects():
    told = ArraySource(IMAGES, masks=[MASK] * 3, objects=[None, None, MASK])
    assert kind_of_objects(told) == "instance"
    assert kind_of_objects(told, "class") == "class"
    assert kind_of_objects(MASKED) == "class"
    with pytest.raises(UserError, match="allowed: class; 'masked' does not tell"):
        kind_of_objects(MASKED, "instance")
    with pytest.raises(UserError, match="got 'box', allowed: instance, class"):
        kind_of_objects(told, "box")


def test_photos_without_objects():
    assert objects_of(MASKED, 0, "class") is None
    assert objects_of(MASKED, 1, "class") is MASK
    assert objects_of(MASKED, 2, "class") is None
    void = ArraySource(IMAGES[:1], masks=[np.where(MASK, 255, 0)])
    assert objects_of(void, 0, "class") is None


def test_masks_of_another_size_but_not_of_another_shape():
    check_shapes(IMAGES[0], MASK, "a")
    check_shapes(np.zeros((375, 500, 3)), np.zeros((240, 320)), "a")
    check_shapes(np.zeros((333, 500, 3)), np.zeros((213, 320)), "a")
    words = "mask of 'a' has 320 x 320 pixels, its photo 500 x 375; allowed: the same"
    with pytest.raises(UserError, match=words):
        check_shapes(np.zeros((375, 500, 3)), np.zeros((320, 320)), "a")
    with pytest.raises(UserError, match="mask of 'a' has 4 x 6 pixels"):
        check_shapes(IMAGES[0], MASK.T, "a")


def jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()


def test_a_photo_that_cannot_be_read_is_none(tmp_path):
    source = ArraySource(IMAGES)
    np.testing.assert_array_equal(read_photo(source, 0), IMAGES[0])
    for data in (b"no picture", jpeg()[:300], b"\xff\xd8"):
        source.image_bytes = lambda index, data=data: data
        assert read_photo(source, 1) is None
    Image.fromarray(IMAGES[0]).save(tmp_path / "a.png")
    source = open_source(f"folder:{tmp_path}")
    (tmp_path / "a.png").unlink()
    assert read_photo(source, 0) is None


def test_table_of_photos(tmp_path):
    columns = {"a": np.array([0.5, 1.0]), "b": np.array([0.12345, 0.0])}
    path = write_per_photo(tmp_path / "new/a.csv", MASKED, np.array([1, 2]), columns)
    assert path.read_text().split() == [
        "photo,a,b",
        "00000001,0.5000,0.1235",
        "00000002,1.0000,0.0000",
    ]


def test_names_in_a_table_are_no_formulas(tmp_path):
    source = ArraySource(IMAGES)
    source.id = lambda index: "=cmd|' /C calc'!A0"
    path = write_per_photo(tmp_path / "a.csv", source, [0], {"a": np.array([0.5])})
    assert path.read_text().splitlines()[1] == "'=cmd|' /C calc'!A0,0.5000"
