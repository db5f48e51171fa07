"""Splits one after the other."""

import numpy as np
import pytest

from dino_tf.datasets.arrays import ArraySource
from dino_tf.datasets.joined import Joined
from dino_tf.errors import UserError


def source(count, labels=None, light=0):
    images = np.full((count, 4, 4, 3), light, np.uint8)
    return ArraySource(images, labels, ["a", "b"])


def test_places_run_through_all_splits():
    train, test = source(2, [0, 1], 10), source(3, [1, None, 0], 20)
    both = Joined({"train": train, "test": test})
    assert len(both) == 5
    ids = [f"train/{train.id(i)}" for i in range(2)]
    assert [both.id(i) for i in range(5)] == ids + [
        f"test/{test.id(i)}" for i in (0, 1, 2)
    ]
    assert [both.labels(i) for i in range(5)] == [(0,), (1,), (1,), (), (0,)]
    assert both.image_bytes(4) == test.image_bytes(2)
    assert both.about(2) == ("test", test.id(0), (1,))
    assert both.class_names == ("a", "b")
    assert both.single


def test_one_split_keeps_its_names():
    train = source(2)
    assert Joined({"train": train}).id(1) == train.id(1)


def test_several_labels_are_noticed():
    assert not Joined({"train": source(2, [[0], [0, 1]])}).single


def test_stamp_tells_photos_and_labels_apart():
    def stamp(**splits):
        return Joined(splits).stamp()

    one = stamp(train=source(2, [0, 1]))
    assert stamp(train=source(2, [0, 1])) == one
    assert stamp(train=source(2, [0, 0])) != one
    assert stamp(train=source(2, [0, 1], light=1)) != one
    assert stamp(test=source(2, [0, 1])) != one


def test_other_classes_are_refused():
    other = ArraySource(np.zeros((1, 4, 4, 3), np.uint8), [0], ["c"])
    with pytest.raises(UserError, match="one at a time, as their classes differ"):
        Joined({"train": source(1), "test": other})
