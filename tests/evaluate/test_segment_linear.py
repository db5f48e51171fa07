"""Linear segmentation of photos whose patch colours tell the class."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError
from dino_tf.evaluate import patch_tokens
from dino_tf.evaluate.segment_linear import (
    evaluate_linear_segmentation,
    lacks,
    run_task,
)
from dino_tf.evaluate.store import Store
from dino_tf.evaluate.subject import Data, Subject
from dino_tf.models.block import patch_grid

PATCH, SIZE = 8, 32


class PatchColours(keras.layers.Layer):
    """Tokens are the mean colours of patches, times a number, behind one of zeros."""

    result_names = ("cls", "tokens")
    patch_size, embed_dim, num_prefix_tokens = PATCH, 3, 1

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor, self.calls = factor, 0

    def grid_of(self, size):
        return patch_grid(size, PATCH)

    def extract(self, images, names):
        self.calls += 1
        tokens = ops.average_pool(images, PATCH, PATCH, data_format="channels_last")
        tokens = ops.reshape(tokens, (-1, (SIZE // PATCH) ** 2, 3)) * self.factor
        return {"tokens": ops.pad(tokens, [[0, 0], [1, 0], [0, 0]])}


def squares(count, seed=0, classes=(1, 2), scale=1, masks=True, names=("red", "green")):
    """Grey photos with a square of 2 x 2 patches, red for class 1, green for 2."""
    rng, images, labels = np.random.default_rng(seed), [], []
    for i in range(count):
        number = classes[i % len(classes)]
        image = rng.integers(100, 140, (SIZE, SIZE, 3)).astype(np.uint8)
        top, left = PATCH * rng.integers(0, 3, 2)
        area = slice(top, top + 2 * PATCH), slice(left, left + 2 * PATCH)
        image[(*area, number - 1)] = 250
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[area] = number
        mask = mask.repeat(scale, axis=0).repeat(scale, axis=1)
        images.append(image)
        labels.append(mask if masks else None)
    return ArraySource(images, class_names=names, masks=labels, name="squares")


def task(train, test=None, backbone=None, store=None, **options):
    """Outcome of the task with photos of 32 pixels."""
    subject = Subject(backbone or PatchColours(), store=store or Store())
    data = Data.of(train, test)
    assert lacks(subject, data) is None
    return run_task(subject, data, **{"size": SIZE, "epochs": 40} | options)


def test_squares_are_found(tmp_path):
    outcome = task(squares(60), squares(12, 1))
    assert set(outcome.numbers) == {
        "segment/linear_miou",
        "segment/linear_pixel_accuracy",
    }
    # Bilinear borders of patches cut the corners of the squares off.
    assert outcome.numbers["segment/linear_miou"] > 80
    assert outcome.numbers["segment/linear_pixel_accuracy"] > 95
    assert set(outcome.details["per_class_iou"]) == {"background", "red", "green"}
    assert outcome.details["patches"] == [4, 4]
    assert outcome.notes == []
    json.dumps(outcome.details)
    (path,) = outcome.write(tmp_path / "new")
    assert Image.open(path).size[0] == 14 + 3 * 314


def test_blind_tokens_say_background():
    numbers = evaluate_linear_segmentation(
        PatchColours(0.0), squares(20), squares(4, 1), size=SIZE
    )
    # Squares cover a quarter of the photos.
    assert numbers == {
        "segment/linear_miou": pytest.approx(75 / 3),
        "segment/linear_pixel_accuracy": pytest.approx(75.0),
    }
    assert all(type(value) is float for value in numbers.values())


def test_masks_of_another_size_than_the_photos_are_judged_at_their_own():
    same = task(squares(20), squares(4, 1)).numbers
    larger = task(squares(20), squares(4, 1, scale=3)).numbers
    # Finer steps along the borders; nothing else changes.
    for name, value in same.items():
        assert larger[name] == pytest.approx(value, abs=4)


def test_class_that_only_test_photos_show():
    outcome = task(squares(20, classes=(1,)), squares(6, 1))
    assert outcome.notes == ["no training photo shows green: IoU 0 counts"]
    assert outcome.details["per_class_iou"]["green"] == 0


def test_class_that_only_training_photos_show_does_not_count():
    outcome = task(squares(20), squares(6, 1, classes=(2,)))
    assert set(outcome.details["per_class_iou"]) == {"background", "green"}


def test_photos_without_masks_are_left_out():
    test = squares(6, 1)
    test.mask = lambda i, mask=test.mask: mask(i) if i else None
    outcome = task(squares(20), test)
    assert outcome.details["test_photos"] == 5
    assert outcome.notes == ["1 photos of squares without a mask are left out"]


def test_photos_that_cannot_be_read():
    test = squares(6, 1)
    test.image_bytes = lambda i, read=test.image_bytes: read(i) if i else b""
    outcome = task(squares(20), test)
    assert outcome.notes == ["1 photos of squares cannot be read"]


def test_without_masks_for_the_test_photos_every_fifth_is_judged():
    for test in (None, squares(4, masks=False), squares(4, names=("a", "b"))):
        outcome = task(squares(20), test, epochs=1)
        assert outcome.details["test_photos"] == 4
        assert outcome.notes[0].startswith("no test split with masks of these classes")


def test_lacks():
    data = Data.of(squares(4, masks=False))
    words = "photos with class masks, to learn from and to judge"
    assert lacks(Subject(PatchColours()), data) == words
    # Of a single photo nothing is left to learn from.
    assert lacks(Subject(PatchColours()), Data.of(squares(1))) == words
    assert lacks(Subject(PatchColours()), Data.of(squares(2))) is None
    other = PatchColours()
    other.result_names = ("cls",)
    found = lacks(Subject(other), Data.of(squares(4)))
    assert found == "a network with patch tokens"


def test_refuses_empty_and_foreign_truth():
    void = squares(4)
    void.mask = lambda i: np.full((SIZE, SIZE), 255, np.uint8)
    with pytest.raises(UserError, match="all masks of 'squares' are void"):
        task(void, squares(4))
    with pytest.raises(UserError, match="no pixel has a known class"):
        task(squares(4), void, epochs=1)
    void.mask = lambda i: np.full((SIZE, SIZE), 7, np.uint8)
    with pytest.raises(UserError, match="photo '00000000': a mask has the class 7"):
        task(void, squares(4))
    void.mask = lambda i: np.zeros((SIZE, 2 * SIZE), np.uint8)
    with pytest.raises(UserError, match="mask of '00000000' has 64 x 32 pixels"):
        task(void, squares(4))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 30}, "size: got 30"),
        ({"epochs": 0}, "epochs: got 0, allowed: from 1"),
        ({"backbone": PatchColours(float("nan"))}, "not finite in 16 bits"),
        ({"backbone": PatchColours(1e6)}, "not finite in 16 bits"),
    ],
)
def test_refuses_options(options, words):
    with pytest.raises(UserError, match=words):
        task(squares(4), squares(4, 1), **options)


def test_a_second_run_needs_no_second_pass(tmp_path):
    train, test = squares(20), squares(4, 1)
    backbone = PatchColours()
    first = task(train, test, backbone, Store(tmp_path))
    calls = backbone.calls
    assert task(train, test, backbone, Store(tmp_path)).numbers == first.numbers
    assert backbone.calls == calls


def test_little_memory_takes_some_patches_of_every_photo(monkeypatch, tmp_path):
    from dino_tf.evaluate import segment_linear

    # 20 photos of 16 patches with 3 numbers and 3 classes in 2 bytes need 3,840.
    for module in (patch_tokens, segment_linear):
        monkeypatch.setattr(module, "MOST_BYTES", 1500)
    outcome = task(squares(20), squares(40, 1), store=Store(tmp_path))
    assert outcome.notes == ["trained on 6 of 16 patches of every photo, by lot"]
    assert outcome.numbers["segment/linear_pixel_accuracy"] > 90
    # Too many to be kept: those of the judged photos, which take 3,840 bytes as well.
    assert list(tmp_path.iterdir()) == []
