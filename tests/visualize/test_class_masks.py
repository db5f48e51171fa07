"""Colours of classes and the sheet that shows them."""

import numpy as np

from dino_tf.visualize.class_masks import (
    Masked,
    class_colours,
    mask_sheet,
    paint_classes,
)


def test_colours_are_those_of_voc():
    # As in the palette of the data set's own masks.
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0)}
    expected |= {8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    colours = class_colours()
    assert {c: tuple(colours[c].tolist()) for c in expected} == expected
    assert len(np.unique(colours, axis=0)) == 256


def test_void_is_cream():
    assert paint_classes([[255, 1]]).tolist() == [[[224, 224, 192], [128, 0, 0]]]


def test_sheet_has_a_row_for_each_photo_and_a_legend():
    truth = np.zeros((20, 40), np.uint8)
    truth[:5] = 255
    one = Masked(np.zeros((10, 20, 3), np.uint8), truth, truth * 0 + 1, "a", "b")
    sheet = np.asarray(mask_sheet([one, one], ["background", "cat"], "title"))
    rows = 49 + 2 * (150 + 42)
    assert sheet.shape == (rows + 18 + 42, 14 + 3 * 314, 3)
    assert sheet[60, 14 + 2 * 314].tolist() == [128, 0, 0]
    legend = sheet[rows + 5, 14 + 10 :: 130].tolist()
    assert legend[:3] == [[0, 0, 0], [128, 0, 0], [224, 224, 192]]
