import keras
import numpy as np
import pytest

from dino_tf.models.detector import Detector, boxes_of, detection_loss

CENTRES = np.array([[10, 10], [20, 10]], np.float32)
STRIDE = np.array([4, 8], np.float32)


def test_boxes_are_offsets_and_logarithms_in_strides():
    said = np.array([[0, 0, np.log(5), np.log(2.5)], [1, -0.5, 0, 1000]], np.float32)
    found = np.asarray(boxes_of(said, CENTRES, STRIDE))
    np.testing.assert_allclose(found[0], [0, 5, 20, 15], atol=1e-4)
    np.testing.assert_allclose(found[1, [0, 2]], [24, 32], atol=1e-4)
    assert np.isfinite(found).all()


def test_loss_by_hand():
    """One place with a class whose box is right, one background, one not counted."""
    centres = np.array([[10, 10]] * 3, np.float32)
    stride = np.full(3, 4, np.float32)
    found = np.zeros((1, 3, 2 + 5), np.float32)
    found[0, 2] = 7
    kinds = np.array([[1, -1, -2]], np.int32)
    boxes = np.zeros((1, 3, 4), np.float32)
    boxes[0, 0] = [8, 8, 12, 12]
    # Four logits of 0: focal loss alpha x 0.25 x log 2, alpha 0.25 once, else 0.75;
    # GIoU 1; log 2 for the fit.
    expected = (0.25 + 3 * 0.75) * 0.25 * np.log(2) + np.log(2)
    loss = detection_loss(found, kinds, boxes, centres, stride)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    # Twice as far to the right as it is wide: IoU 0, hull 3 of 2 covered.
    boxes[0, 0] = [16, 8, 20, 12]
    moved = detection_loss(found, kinds, boxes, centres, stride)
    assert float(moved) == pytest.approx(expected + 2 * (4 / 3), rel=1e-5)


def test_loss_without_any_object_is_finite():
    found = np.zeros((1, 2, 6), np.float32)
    kinds, boxes = np.full((1, 2), -1, np.int32), np.zeros((1, 2, 4), np.float32)
    loss = float(detection_loss(found, kinds, boxes, CENTRES, STRIDE))
    assert loss == pytest.approx(2 * 0.75 * 0.25 * np.log(2), rel=1e-5)


@pytest.mark.parametrize("reach", [1, 3])
def test_shapes_seed_and_config(reach):
    maps = np.random.default_rng(0).normal(size=(2, 5, 5, 6)).astype(np.float32)
    first = Detector(3, (0.5, 1, 2), width=8, depth=1, reach=reach, seed=4)
    again = Detector.from_config(first.get_config())
    for detector in (first, again):
        detector.build((None, 5, 5, 6))
    found = keras.ops.convert_to_numpy(first(maps))
    assert found.shape == (2, 100 + 25 + 9, 3 + 5)
    np.testing.assert_array_equal(found, again(maps))
    # All classes are rare at the start.
    chance = 1 / (1 + np.exp(-found[..., :3]))
    assert 0.003 < chance.min() < chance.max() < 0.03
