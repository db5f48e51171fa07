import numpy as np

from dino_tf.analysis.box_targets import BACKGROUND, NOT_COUNTED, Places, targets

PLACES = Places.of(64, 8)


def learnt(boxes, classes=None, counted=None):
    count = len(boxes)
    classes = np.arange(count) if classes is None else classes
    counted = np.ones(count, bool) if counted is None else counted
    return targets(PLACES, boxes, classes, counted)


def test_levels_and_centres():
    assert PLACES.strides == (4, 8)
    assert Places.of(96, 8).strides == (4, 8, 16)
    assert Places.of(224, 16).strides == (8, 16, 32)
    assert Places.of(8, 8).strides == (4, 8)
    assert PLACES.centres[:2].tolist() == [[2, 2], [6, 2]]
    assert (PLACES.stride == 4).sum() == 16 * 16
    # A grid that cannot be halved is rounded up, as the pooling does.
    assert (Places.of(72, 8).stride == 16).sum() == 25


def test_a_box_is_learnt_at_the_middle_of_its_level():
    kinds, boxes = learnt([[16, 16, 40, 40]])
    taken = kinds == 0
    assert (PLACES.stride[taken] == 4).all()
    np.testing.assert_array_equal(
        np.unique(PLACES.centres[taken]), [26, 30]
    )  # less than six pixels from 28
    np.testing.assert_array_equal(boxes[taken], [[16, 16, 40, 40]] * 4)
    assert (kinds[~taken] == BACKGROUND).all() and not boxes[~taken].any()


def test_large_boxes_belong_to_coarse_levels():
    kinds, _ = learnt([[0, 0, 60, 20]])
    assert set(PLACES.stride[kinds == 0]) == {8}


def test_a_box_smaller_than_any_cell_has_the_place_next_to_it():
    kinds, boxes = learnt([[8.5, 8.5, 9, 9]])
    (place,) = np.flatnonzero(kinds == 0)
    assert PLACES.centres[place].tolist() == [10, 10]
    assert boxes[place].tolist() == [8.5, 8.5, 9, 9]


def test_of_boxes_at_one_place_the_smaller_is_learnt():
    kinds, _ = learnt([[8, 8, 32, 32], [14, 14, 26, 26]])
    assert kinds[(PLACES.centres == 18).all(1)].tolist() == [1]
    assert 0 not in kinds[((PLACES.centres - 20) ** 2).sum(1) < 16]


def test_boxes_that_do_not_count_are_neither_learnt_nor_background():
    hard = [[16, 16, 40, 40]]
    kinds, boxes = learnt(hard, counted=np.array([False]))
    inside = ((PLACES.centres > 16) & (PLACES.centres < 40)).all(1)
    assert (kinds[inside] == NOT_COUNTED).all() and not boxes.any()
    assert (kinds[~inside] == BACKGROUND).all()
    # What counts within is learnt all the same.
    kinds, _ = learnt([*hard, [24, 24, 32, 32]], counted=np.array([False, True]))
    assert 1 in kinds


def test_photos_without_boxes_are_background():
    kinds, boxes = learnt(np.zeros((0, 4)))
    assert (kinds == BACKGROUND).all() and boxes.shape == (len(PLACES), 4)
