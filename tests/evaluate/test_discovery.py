"""CorLoc of LOST on photos with one bright object."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets.source import Boxes, Source
from dino_tf.errors import UserError
from dino_tf.evaluate import discovery
from dino_tf.evaluate.discovery import evaluate_lost


class Signs(Source):
    """Dark photos of several sizes with one bright square of 24 pixels.

    The box of photo 1 is wrong, photo 2 has none, photo 3 adds one that is wrong.
    """

    name = "signs"
    sizes = [(70, 90), (90, 70), (70, 90), (85, 85)]

    def __len__(self):
        return len(self.sizes)

    def id(self, index):
        return f"sign{index}"

    def image_bytes(self, index):
        image = np.full((*self.sizes[index], 3), 10, np.uint8)
        image[32:56, 40:64] = 250
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        return file.getvalue()

    def boxes(self, index):
        right, wrong = (40, 32, 64, 56), (0, 0, 20, 20)
        boxes = [[right], [wrong], [], [wrong, right]][index]
        if not boxes:
            return None if index == 2 else Boxes.of([], [], [])
        return Boxes.of(boxes, [0] * len(boxes), [True] * len(boxes))


class Brightness:
    """Keys are the mean of a patch; CLS and a register come first."""

    patch_size = 8
    num_prefix_tokens = 2

    def __init__(self):
        self.shapes = []

    def extract(self, images, names):
        assert list(names) == ["keys"]
        self.shapes.append(tuple(images.shape))
        keys = keras.layers.AveragePooling2D(8)(images)
        keys = keras.ops.reshape(keys, (1, -1, 3))
        return {"keys": keras.ops.pad(keys, [(0, 0), (2, 0), (0, 0)])}


def test_counts_photos_with_boxes_whose_object_is_hit():
    backbone = Brightness()
    assert evaluate_lost(backbone, Signs()) == {
        "discovery/lost_corloc": pytest.approx(200 / 3)
    }
    assert backbone.shapes == [(1, 72, 96, 3), (1, 96, 72, 3), (1, 88, 88, 3)]


def test_judges_only_the_photos_asked_for():
    assert evaluate_lost(Brightness(), Signs(), indices=np.array([0, 3])) == {
        "discovery/lost_corloc": 100.0
    }
    assert evaluate_lost(Brightness(), Signs(), indices=[1, 2]) == {
        "discovery/lost_corloc": 0.0
    }


def test_frequent_shapes_are_compiled_and_give_the_same(monkeypatch):
    eager = discovery.KeyReader(Brightness())
    monkeypatch.setattr(discovery, "WORTH_A_TRACE", 2)
    backbone = Brightness()
    compiled = discovery.KeyReader(backbone)
    image = keras.ops.convert_to_tensor(
        np.random.default_rng(0).random((16, 24, 3)).astype(np.float32)
    )
    for _ in range(4):
        np.testing.assert_allclose(compiled(image), eager(image), rtol=1e-6)
    # Once eagerly, once to trace; then the graph runs without this code.
    assert len(backbone.shapes) == 2


def test_refuses_photos_without_boxes():
    with pytest.raises(UserError, match="'signs' has no boxes"):
        evaluate_lost(Brightness(), Signs(), indices=[2])


def test_names_a_photo_that_cannot_be_read():
    source = Signs()
    source.image_bytes = lambda index: b"no picture"
    with pytest.raises(UserError, match="photo 'sign0' of 'signs' cannot be read"):
        evaluate_lost(Brightness(), source)
