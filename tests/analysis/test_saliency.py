"""Saliency measures; the expected numbers are TokenCut's metric.py, run in PyTorch."""

import numpy as np
import pytest

from dino_tf.analysis.saliency import (
    f_beta,
    mask_iou,
    max_f_beta,
    pixel_accuracy,
    precision_recall,
)

RAMP = np.arange(20).reshape(4, 5) / 20
PREDICTIONS = [RAMP, np.flip(RAMP, 1) ** 2, (RAMP > 0.52).astype(float)]
MASKS = np.zeros((3, 4, 5), bool)
MASKS[0, 1:3, 1:4] = MASKS[1, :, 3:] = MASKS[2, 0] = True


def test_means_are_those_of_the_published_program():
    pairs = list(zip(PREDICTIONS, MASKS, strict=True))
    curves = [f_beta(*precision_recall(*pair)) for pair in pairs]
    assert np.shape(curves) == (3, 255)
    assert max_f_beta(curves) == pytest.approx(0.29454684, abs=1e-7)
    iou = [mask_iou(*pair) for pair in pairs]
    assert np.mean(iou) == pytest.approx(0.14393940, abs=1e-7)
    accuracy = [pixel_accuracy(*pair) for pair in pairs]
    assert np.mean(accuracy) == pytest.approx(0.46666668, abs=1e-7)


def test_precision_and_recall_at_single_thresholds():
    precision, recall = precision_recall(RAMP, MASKS[0])
    # Thresholds 0, 102 / 255 = 0.4 and 204 / 255 = 0.8.
    np.testing.assert_allclose(precision[[0, 102, 204]], [6 / 19, 3 / 11, 0])
    np.testing.assert_allclose(recall[[0, 102, 204]], [1, 0.5, 0])


def test_a_value_on_a_threshold_is_not_above_it():
    precision, recall = precision_recall([0.0, 0.5, 1.0], [0, 1, 1], thresholds=2)
    assert precision.tolist() == [1, 1] and recall.tolist() == [1, 0.5]


def test_nothing_predicted_and_nothing_there():
    precision, recall = precision_recall(np.zeros(4), np.array([1, 0, 0, 1]))
    assert precision.tolist() == [1] * 255 and recall.tolist() == [0] * 255
    precision, recall = precision_recall(np.ones(4), np.zeros(4))
    assert precision.tolist() == [0] * 255 and recall.tolist() == [1] * 255
    assert f_beta(0.0, 0.0) == 0
    assert mask_iou(np.zeros(4), np.zeros(4)) == 1
    assert mask_iou(np.ones(4), np.zeros(4)) == 0


def test_f_weighs_precision_more():
    assert f_beta(0.5, 1.0) == pytest.approx(1.3 * 0.5 / 1.15)
    assert f_beta(1.0, 0.5) == pytest.approx(1.3 * 0.5 / 0.8)


def test_one_threshold_serves_all_photos():
    assert max_f_beta([[1.0, 0.0, 0.4], [0.0, 1.0, 0.8]]) == pytest.approx(0.6)


def test_a_sure_mask_is_cut_at_one_half():
    truth = np.array([1, 1, 0, 0])
    assert mask_iou(np.array([0.5, 0.51, 0.6, 0.0]), truth) == pytest.approx(1 / 3)
    assert pixel_accuracy(np.array([0.5, 0.51, 0.6, 0.0]), truth) == 0.5
