"""Detection: squares whose colour tells the class, and the rules of the measures."""

import contextlib
import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from PIL import Image

from dino_tf.analysis.box_targets import Places
from dino_tf.datasets import Boxes, open_source
from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError
from dino_tf.evaluate import detect, detect_measures, patch_tokens
from dino_tf.evaluate.detect import evaluate_detection, lacks, run_task
from dino_tf.evaluate.detect_measures import (
    coco_numbers,
    results_content,
    truth_content,
    voc07_by_class,
)
from dino_tf.evaluate.detect_photos import BoxedPhotos, boxed, boxed_by, opened
from dino_tf.evaluate.detect_training import Batches, DetectorTraining, Plan
from dino_tf.evaluate.discovery_files import coco_annotations
from dino_tf.evaluate.subject import Data, Subject
from dino_tf.models.backbones import create_backbone
from dino_tf.models.block import patch_grid

# Of the option by which `untraced` runs steps as they are.
pytestmark = pytest.mark.filterwarnings("ignore:Even though")
PATCH, SIZE = 8, 32
NAMES = ("red", "green", "never")


class PatchColours(keras.layers.Layer):
    """Tokens are the mean colours of patches and of those around, behind one of zeros.

    A frozen token is all that a place of the detector sees.
    """

    result_names = ("cls", "tokens")
    patch_size, embed_dim, num_prefix_tokens = PATCH, 27, 1

    def grid_of(self, size):
        return patch_grid(size, PATCH)

    def extract(self, images, names):
        colours = ops.average_pool(images, PATCH, PATCH, data_format="channels_last")
        colours = ops.pad(colours, [[0, 0], [1, 1], [1, 1], [0, 0]])
        side, reach = SIZE // PATCH, range(3)
        around = [colours[:, i : i + side, j : j + side] for i in reach for j in reach]
        tokens = ops.concatenate(around, axis=-1)
        tokens = ops.reshape(tokens, (ops.shape(images)[0], side**2, 27))
        return {"tokens": ops.pad(tokens, [[0, 0], [1, 0], [0, 0]])}


def squares(count, seed=0, names=NAMES, difficult=False, scale=1):
    """Dark photos with a red or green square of two by two patches, or nothing.

    Every fifth photo is empty, every other one twice as wide.
    """
    rng, images, boxes = np.random.default_rng(seed), [], []
    for i in range(count):
        image = rng.integers(0, 20, (SIZE, SIZE, 3)).astype(np.uint8)
        top, left = PATCH * rng.integers(0, 3, 2)
        found, kind = np.zeros((0, 4)), i % 2
        if i % 5 != 4:
            image[top : top + 2 * PATCH, left : left + 2 * PATCH, kind] = 250
            found = np.array([[left, top, left + 2 * PATCH, top + 2 * PATCH]])
        wide = scale * (1 + i % 2)
        images.append(image.repeat(scale, axis=0).repeat(wide, axis=1))
        found = found * [wide, scale, wide, scale]
        boxes.append(Boxes.of(found, [kind] * len(found), [difficult] * len(found)))
    return ArraySource(images, class_names=names, boxes=boxes, name="squares")


@pytest.fixture
def untraced():
    """Steps run as they are: of a few, tracing would take longer."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def learnt():
    """(outcome, data) of a detector that learnt the colours."""
    data = Data.of(squares(40), squares(20, seed=1))
    options = {"size": SIZE, "epochs": 14, "batch_size": 8, "lr": 1e-2}
    return run_task(Subject(PatchColours()), data, **options), data


def test_boxes_and_classes_are_learnt(learnt):
    outcome, _ = learnt
    assert outcome.numbers["detect/ap50_voc07"] > 80
    assert outcome.numbers["detect/ap50"] > 80
    assert 0 < outcome.numbers["detect/ap"] <= outcome.numbers["detect/ap50"]
    assert outcome.details["per_class"]["red"]["objects"] == 8
    assert set(outcome.details["per_class"]) == {"red", "green"}
    assert outcome.details["loss"][-1] < outcome.details["loss"][0]
    assert any("without a test object do not count: never" in n for n in outcome.notes)


def test_files_are_pictures_and_what_pycocotools_reads(learnt, tmp_path):
    outcome, data = learnt
    paths = outcome.write(tmp_path / "detect")
    names = ["detections-1.png", "detections-2.png", "detections.json", "truth.json"]
    assert [path.name for path in paths] == names
    assert Image.open(paths[0]).width > 400
    coco, evaluator = pycocotools()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco(str(paths[3]))
        judge = evaluator(truth, truth.loadRes(str(paths[2])), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    theirs = 100 * judge.stats[:6]
    for name, value in zip(
        ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"), theirs, strict=True
    ):
        assert outcome.numbers.get(f"detect/{name}", -100) == pytest.approx(value)
    assert len(truth.imgs) == len(data.test)


def test_the_same_seed_gives_the_same_detector(untraced):
    photos = boxed(squares(6))
    plan = Plan(SIZE, 1, 4, 1e-2, seed=3, score_threshold=0.0, max_detections=5)
    subject = Subject(PatchColours())

    def once():
        training = DetectorTraining(subject, 3, plan)
        return training.fit(photos), training.detect(photos)

    (losses, found), (again, same) = once(), once()
    assert losses == again
    for place, columns in found.items():
        # The threshold is 0: each photo has as many as are allowed, or what stays.
        assert 0 < len(columns[0]) <= 5
        for one, other in zip(columns, same[place], strict=True):
            np.testing.assert_array_equal(one, other)


def test_all_weights_are_trained_on_request_and_the_network_stays(untraced):
    backbone = create_backbone(
        "vit_tiny", PATCH, SIZE, embed_dim=16, depth=1, num_heads=2
    )
    before = [weight.copy() for weight in backbone.get_weights()]
    plan = Plan(SIZE, 1, 4, 1e-2, tune=True)
    training = DetectorTraining(Subject(backbone), 3, plan)
    photos = boxed(squares(4))
    training.fit(photos)
    assert set(training.detect(photos)) == {0, 1, 2, 3}
    for old, new in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    tuned = training.backbone.get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(before, tuned, strict=True))


def test_mirrored_boxes_and_photos_of_another_shape():
    photos = boxed(squares(2, scale=2))
    assert photos.sizes == {0: (64, 64), 1: (64, 128)}
    training = DetectorTraining(Subject(PatchColours()), 3, Plan(SIZE, 1, 4, 1e-3))
    kinds, boxes = training._targets(photos, np.array([1, 1]), np.array([False, True]))
    straight, mirrored = (np.unique(b[b.any(1)], axis=0)[0] for b in boxes.numpy())
    np.testing.assert_array_equal(straight, photos.squeezed(1, SIZE)[0])
    np.testing.assert_array_equal(mirrored[[0, 2]], SIZE - straight[[2, 0]])
    np.testing.assert_array_equal(mirrored[[1, 3]], straight[[1, 3]])


def test_what_does_not_fit_is_computed_anew(monkeypatch):
    monkeypatch.setattr(patch_tokens, "MOST_BYTES", 10)
    photos = boxed(squares(5))
    training = DetectorTraining(Subject(PatchColours()), 3, Plan(SIZE, 2, 2, 1e-3))
    batches = Batches(training.subject, photos, training.plan)
    rng = np.random.default_rng(0)
    orders = [
        np.concatenate([index for _, index, _ in batches.shuffled(rng)])
        for _ in range(2)
    ]
    assert [sorted(order.tolist()) for order in orders] == [[0, 1, 2, 3, 4]] * 2
    assert orders[0].tolist() != orders[1].tolist()


def pycocotools():
    coco = pytest.importorskip("pycocotools.coco").COCO
    from pycocotools.cocoeval import COCOeval

    return coco, COCOeval


def random_photos(rng, count=12, crowds=0.2):
    """Photos of 300 x 200 pixels with boxes of four classes, and boxes near them."""
    truth, sizes, found = {}, {}, {}
    for place in range(count):
        number = int(rng.integers(0, 5))
        corner = rng.uniform(0, 150, (number, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(5, 140, (number, 2))], 1)
        kinds = rng.integers(0, 4, number)
        hard = rng.random(number) < crowds
        truth[place] = Boxes.of(np.minimum(boxes, [300, 200, 300, 200]), kinds, hard)
        sizes[place] = (200, 300)
        near = truth[place].xyxy.repeat(3, axis=0)
        near = near + rng.normal(0, 6, near.shape).astype(np.float32)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        # Few scores, so that many are equal.
        scores = np.round(rng.random(len(near)), 1)
        kinds = np.where(rng.random(len(near)) < 0.8, kinds.repeat(3), 0)
        order = np.argsort(-scores, kind="stable")
        found[place] = (near[order], scores[order], kinds[order])
    source = ArraySource(np.zeros((count, 200, 300, 3), np.uint8), name="random")
    return BoxedPhotos(source, tuple("abcde"), truth, sizes), found


@pytest.mark.parametrize("seed", [0, 1])
def test_numbers_by_cocos_rule_are_those_of_pycocotools(seed):
    coco, evaluator = pycocotools()
    photos, found = random_photos(np.random.default_rng(seed))
    content, results = truth_content(photos), results_content(photos, found)
    numbers, by_class = coco_numbers(content, results)
    truth = coco()
    truth.dataset = json.loads(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        judge = evaluator(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
    for name, value in zip(names, judge.stats, strict=False):
        assert numbers.get(name, -100) == pytest.approx(100 * value, abs=1e-9)
    # The fifth class has no object.
    assert np.isnan(by_class).tolist() == [False] * 4 + [True]
    assert np.nanmean(by_class) == pytest.approx(numbers["ap"])


def test_no_detections_are_0_by_both_rules():
    pycocotools()
    photos, _ = random_photos(np.random.default_rng(2))
    nothing = {
        place: (np.zeros((0, 4)), np.zeros(0), np.zeros(0)) for place in range(12)
    }
    numbers, _ = coco_numbers(truth_content(photos), results_content(photos, nothing))
    assert set(numbers.values()) == {0.0}
    for found in (nothing, {}):
        assert voc07_by_class(photos, found)[:4].tolist() == [0, 0, 0, 0]
        assert np.isnan(voc07_by_class(photos, found)[4])


def test_a_box_on_a_crowd_counts_neither_way():
    pycocotools()
    boxes = Boxes.of([[0, 0, 50, 50], [60, 0, 160, 100]], [0, 0], [False, True])
    source = ArraySource(np.zeros((1, 200, 300, 3), np.uint8))
    photos = BoxedPhotos(source, ("a",), {0: boxes})
    found = {0: (boxes.xyxy[::-1], np.array([0.9, 0.8]), np.zeros(2, int))}
    numbers, _ = coco_numbers(truth_content(photos), results_content(photos, found))
    assert numbers["ap"] == pytest.approx(100)
    assert voc07_by_class(photos, found).tolist() == [100]


def test_without_pycocotools_one_line_says_so(monkeypatch):
    monkeypatch.setattr(detect_measures.importlib.util, "find_spec", lambda name: None)
    photos, found = random_photos(np.random.default_rng(3))
    notes = []
    plan = Plan(SIZE, 1, 1, 1e-3)
    numbers, _ = detect._measured(photos, found, plan, notes)
    assert list(numbers) == ["detect/ap50_voc07"]
    assert "no numbers by COCO's rule: pip install pycocotools" in notes


def test_where_all_is_difficult_there_are_no_numbers_and_nothing_to_learn():
    hard = squares(3, difficult=True)
    notes = []
    photos = boxed(hard)
    assert detect._measured(photos, {}, Plan(SIZE, 1, 1, 1e-3), notes) == ({}, {})
    assert notes == ["no numbers: squares has no object that counts"]
    with pytest.raises(UserError, match="no box to learn from"):
        evaluate_detection(PatchColours(), hard, squares(3), size=SIZE)


def test_boxes_that_discover_wrote_are_learnt_as_one_class(untraced, tmp_path):
    source = squares(6)
    facts = {
        "index": np.arange(4),
        "size": np.array([(32, 32 * (1 + i % 2)) for i in range(4)]),
        "extension": np.array(["bmp"] * 4),
    }
    boxes = {i: source.boxes(i).xyxy[0].astype(int) for i in range(4)}
    file = tmp_path / "lost.json"
    file.write_text(json.dumps(coco_annotations(source, facts, boxes, "LOST")))
    photos = boxed_by(source, file)
    assert photos.class_names == ("object",) and photos.places.tolist() == [0, 1, 2, 3]
    for place in range(4):
        found = photos.boxes[place]
        np.testing.assert_array_equal(found.xyxy, source.boxes(place).xyxy)
        assert found.classes.tolist() == [0]
    assert photos.notes == [
        "2 photos of squares without an annotation of boxes are left out"
    ]
    data = Data.of(source, squares(5, seed=2))
    options = {"size": SIZE, "epochs": 1, "batch_size": 4, "boxes": str(file)}
    outcome = run_task(Subject(PatchColours()), data, **options)
    assert list(outcome.details["per_class"]) == ["object"]
    assert outcome.details["training_boxes"] == 4
    file.write_text(file.read_text().replace("0000000", "1000000"))
    with pytest.raises(UserError, match="has no boxes of photos of 'squares'"):
        boxed_by(source, file)


def test_which_photos_are_judged():
    source = squares(10)
    train, test, notes = opened(Data.of(source))
    assert (len(train), len(test)) == (8, 2) and "every fifth" in notes[0]
    other = squares(3, names=("a", "b", "c"))
    assert len(opened(Data.of(source, other))[1]) == 2
    same = squares(3)
    assert opened(Data.of(source, same)) == (source, same, [])
    data = Data("x", {"train": source, "val": same}.get)
    assert opened(data, split="val") == (source, same, [])
    with pytest.raises(UserError, match="no split 'vla'"):
        opened(data, split="vla")
    with pytest.raises(UserError, match="which trains"):
        opened(data, split="train")


def test_what_is_needed_is_told():
    subject = Subject(PatchColours())
    assert lacks(subject, Data.of(squares(3))) is None
    plain = ArraySource(np.zeros((2, 8, 8, 3), np.uint8))
    assert lacks(subject, Data.of(plain)) == "photos with boxes of objects"
    without = keras.layers.Layer()
    assert lacks(Subject(without), Data.of(plain)) == "a network with patch tokens"
    with pytest.raises(UserError, match="has no patch tokens"):
        evaluate_detection(without, squares(3), squares(3))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 30}, "--size: got 30"),
        ({"size": 0}, "--size: got 0"),
        ({"epochs": 0}, "--epochs: got 0, allowed: 1 or more"),
        ({"batch_size": 0}, "--batch-size: got 0"),
        ({"lr": float("nan")}, "--lr: got nan"),
        ({"score_threshold": 1.0}, "--score-threshold: got 1.0"),
        ({"max_detections": 0}, "--max-detections: got 0"),
        ({"boxes": "/none.json"}, "/none.json is no JSON file"),
    ],
)
def test_wrong_values_are_told(options, words):
    with pytest.raises(UserError, match=words):
        evaluate_detection(
            PatchColours(), squares(3), squares(3), **{"size": SIZE, **options}
        )


def test_other_classes_are_refused():
    data = Data("x", {"train": squares(3), "val": squares(3, names=tuple("abc"))}.get)
    with pytest.raises(UserError, match="received the classes of"):
        run_task(Subject(PatchColours()), data, size=SIZE, split="val")


def test_unreadable_photos_are_left_out_and_named():
    class Damaged(ArraySource):
        def image_bytes(self, index):
            if index == 1:
                raise OSError("gone")
            return super().image_bytes(index)

    whole = squares(3)
    boxes = [whole.boxes(i) for i in range(3)]
    images = np.zeros((3, 8, 8, 3), np.uint8)
    photos = boxed(Damaged(images, class_names=NAMES, boxes=boxes, name="some"))
    assert photos.places.tolist() == [0, 2]
    assert photos.notes == ["1 photos of some cannot be read: 00000001"]


def test_places_fit_the_detector_whatever_the_grid():
    for side in (8, 40):

        class Odd(PatchColours):
            def grid_of(self, size):
                return patch_grid(size, PATCH)

        training = DetectorTraining(Subject(Odd()), 2, Plan(side, 1, 1, 1e-3))
        maps = np.zeros((1, *training.grid, 27), np.float32)
        assert training.detector(maps).shape[1] == len(Places.of(side, PATCH))


def test_boxes_of_scenes_are_data():
    assert boxed(open_source("scenes:4")).counted > 0
