import numpy as np
import pytest

from dino_tf.datasets.source import Boxes, Source, unique_names


class Letters(Source):
    name = "letters"
    class_names = ("vowel", "consonant")

    def __len__(self):
        return 5

    def id(self, index):
        return "abcde"[index]

    def image_bytes(self, index):
        return b"image " + self.id(index).encode()

    def labels(self, index):
        return (0,) if index in (0, 4) else (1,)


def test_record_holds_what_the_methods_give():
    record = Letters().record(4)
    assert record.id == "e"
    assert record.image == b"image e"
    assert record.labels == (0,)
    assert record.boxes is None and record.mask is None
    with pytest.raises(AttributeError):
        record.id = "other"


def test_subset_keeps_order_and_nests():
    subset = Letters().subset([4, 1, 1])
    assert [subset.id(i) for i in range(len(subset))] == ["e", "b", "b"]
    assert subset.class_names == ("vowel", "consonant")
    again = subset.subset([1])
    assert again.image_bytes(0) == b"image b" and again.labels(0) == (1,)


def test_subset_refuses_unknown_index():
    with pytest.raises(IndexError, match="index 5 is not in 0..4"):
        Letters().subset([5])
    with pytest.raises(IndexError):
        Letters().subset([-1])


def test_boxes_have_fixed_types_also_when_empty():
    boxes = Boxes.of([], [], [])
    assert boxes.xyxy.shape == (0, 4) and boxes.xyxy.dtype == np.float32
    assert boxes.classes.dtype == np.int64 and boxes.difficult.dtype == bool
    assert len(Boxes.of([(0, 1, 2, 3)], [7], [True])) == 1


def test_unique_names_are_safe_and_unique():
    names = ["a/b.jpg", "../a/b.jpg", "/A/B.JPG", "c:d?.png", "..", "x", "x", ".h"]
    assert unique_names(names) == [
        "a/b.jpg",
        "a/b~2.jpg",
        "A/B~3.JPG",
        "c_d_.png",
        "_",
        "x",
        "x~2",
        ".h",
    ]


def test_names_of_most_files_stay_as_they_are():
    names = ["holiday (1).jpg", "Tom & Ann's, 2@2x [a].png", "50%#3.png", "日本/é.png"]
    assert unique_names(names) == names
