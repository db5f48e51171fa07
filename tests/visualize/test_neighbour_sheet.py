"""Frames tell whether classes agree."""

import numpy as np

from dino_tf.visualize.neighbours import (
    GREEN,
    RED,
    Case,
    Neighbour,
    framed,
    neighbour_sheet,
)

PHOTO = np.full((64, 128, 3), 9, np.uint8)


def test_frames():
    for good, colour in ((True, GREEN), (False, RED), (None, (255, 255, 255))):
        picture = framed(PHOTO, good, side=20, frame=2)
        assert picture.shape == (20, 20, 3)
        assert picture[0, 0].tolist() == list(colour)
        assert picture[2, 2].tolist() == [9, 9, 9]


def test_only_the_middle_of_a_photo_is_shown():
    photo = np.zeros((256, 400, 3), np.uint8)
    photo[16:-16, 88:-88] = 200
    assert (framed(photo, True)[7:-7, 7:-7] == 200).all()


def test_sheet_frames_by_agreement():
    near = [Neighbour(PHOTO, names, 0.5) for names in (("a", "b"), ("c",))]
    rows = [Case(PHOTO, ("b",), vote, tuple(near)) for vote in ("b", "c", None)]
    sheet = np.asarray(neighbour_sheet(rows, "title"))
    corners = sheet[49::210, 14::182][:3, :3].tolist()
    paper = [255, 255, 255]
    assert [row[0] for row in corners] == [list(GREEN), list(RED), paper]
    assert [row[1:] for row in corners] == [[list(GREEN), list(RED)]] * 3


def test_photos_of_no_known_class_have_no_frame():
    near = (Neighbour(PHOTO, (), 0.5), Neighbour(PHOTO, ("a",), 0.4))
    sheet = np.asarray(neighbour_sheet([Case(PHOTO, (), None, near, "a.jpg")], "title"))
    corners = sheet[49, 14::182][:3].tolist()
    assert corners == [[255, 255, 255]] * 3
    # The name stands where else the classes do.
    assert (sheet[49 + 168 :, 14:80] < 128).any()
