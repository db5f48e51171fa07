"""TokenCut's masks on photos with one bright square; see `conftest.squares`."""

import numpy as np
import pytest

from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError
from dino_tf.evaluate import segment_saliency
from dino_tf.evaluate.last_block import LastBlock
from dino_tf.evaluate.segment_saliency import (
    agreement,
    evaluate_saliency,
    salient_patches,
)
from dino_tf.evaluate.store import Store
from dino_tf.evaluate.subject import Data, Subject

NUMBERS = ("max_f", "iou", "accuracy")
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def numbers(*values, end=""):
    named = zip(NUMBERS, values, strict=True)
    return {
        f"segment/saliency_{name}{end}": pytest.approx(value) for name, value in named
    }


def test_the_bright_square_is_found(brightness, squares):
    """Photo 0: the square. Photo 1: half of the object, 16 of 20 patches right."""
    found = evaluate_saliency(brightness, squares, **HALF)
    f = 1.3 * 0.5 / (0.3 + 0.5)
    assert found == numbers(100 * (1 + f) / 2, 75, 90)


def test_refined_masks_follow_the_photo(brightness):
    """The square is 3 pixels off the patches; the photo tells where it ends."""
    image = np.full((32, 40, 3), 5, np.uint8)
    image[8:27, 16:35] = 250
    mask = (image[..., 0] > 99).astype(np.uint8)
    source = ArraySource(image[None], masks=[mask])
    found = evaluate_saliency(brightness, source, bilateral=True, **HALF)
    plain = 100 * 16 * 16 / 19**2
    assert found["segment/saliency_iou"] == pytest.approx(plain)
    assert found["segment/saliency_iou_bilateral"] > plain + 5
    assert found["segment/saliency_accuracy_bilateral"] > 97
    assert len(found) == 6


def test_sides_are_rounded_to_whole_patches(brightness):
    """28 x 43 pixels are seen as 32 x 40: halves round to even."""
    image = np.full((28, 43, 3), 5, np.uint8)
    image[7:21, 17:34] = 250
    found = salient_patches(LastBlock(brightness, **HALF), image)
    assert found.shape == (4, 5)
    np.testing.assert_array_equal(np.argwhere(found), [[1, 2], [1, 3], [2, 2], [2, 3]])
    image = np.full((36, 5, 3), 5, np.uint8)
    image[:10] = 250
    assert salient_patches(LastBlock(brightness, **HALF), image).shape == (4, 1)


def test_void_and_classes():
    truth = np.array([[0, 255, 3, 7]])
    found = agreement(np.array([[0.0, 1.0, 0.4, 0.9]]), truth)
    assert found["iou"] == 0.5 and found["accuracy"] == pytest.approx(2 / 3)
    assert found["f"].shape == (255,) and found["f"].max() == 1


def test_masks_of_another_size(brightness, squares):
    large = np.kron(squares.mask(0), np.ones((3, 3), np.uint8))
    images = np.full((1, 32, 40, 3), 5, np.uint8)
    images[:, 8:24, 16:32] = 250
    source = ArraySource(images, masks=[large])
    found = evaluate_saliency(brightness, source, bilateral=True, **HALF)
    assert found == numbers(100, 100, 100) | numbers(100, 100, 100, end="_bilateral")


def test_a_second_run_costs_no_pass(brightness, squares, tmp_path, monkeypatch):
    subject = Subject(brightness, store=Store(tmp_path / "cache"), **HALF)
    monkeypatch.setattr(Subject, "fingerprint", "0123")
    data = Data.of(squares)
    first = segment_saliency.run_task(subject, data)
    passes = brightness.calls
    assert segment_saliency.run_task(subject, data).numbers == first.numbers
    assert passes == brightness.calls == 2
    assert first.details == {"split": "squares", "photos": 2}
    assert first.notes == ["saliency: 2 photos of squares show no object"]
    sheet, table = first.write(tmp_path / "new")
    assert sheet.read_bytes()[:4] == b"\x89PNG"
    assert table.read_text().split() == [
        "photo,iou,accuracy",
        "00000000,1.0000,1.0000",
        "00000001,0.5000,0.8000",
    ]


def test_refuses_photos_without_objects(brightness, squares):
    with pytest.raises(UserError, match="no photo of 'squares' shows an object"):
        evaluate_saliency(brightness, squares.subset([2, 3]))
