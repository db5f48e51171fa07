"""CorLoc of found boxes on photos with one bright object."""

import io
import json

import keras
import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets.source import Boxes, Source
from dino_tf.errors import UserError
from dino_tf.evaluate import object_boxes
from dino_tf.evaluate.discovery import evaluate_discovery, lacks, run_task
from dino_tf.evaluate.object_boxes import find_boxes
from dino_tf.evaluate.published import figures_for
from dino_tf.evaluate.store import Store
from dino_tf.evaluate.subject import Data, Subject
from dino_tf.tasks import TASKS


class Signs(Source):
    """Dark photos of several sizes with one bright square of 24 pixels.

    The box of photo 1 is wrong, photo 2 has none, photo 3 adds one that is wrong.
    """

    name = "signs"
    sizes = [(70, 90), (90, 70), (70, 90), (85, 85)]

    def __init__(self, annotated=True):
        self.annotated = annotated

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
        if not boxes or not self.annotated:
            return None if index == 2 else Boxes.of([], [], [])
        return Boxes.of(boxes, [0] * len(boxes), [True] * len(boxes))


class Brightness(keras.Model):
    """Keys are the mean of a patch; CLS and a register come first.

    Head 0 attends to bright patches, head 1 to the first patch, which has company in
    two far places, since the part that comes last is never chosen.
    """

    patch_size, num_heads, num_prefix_tokens = 8, 2, 2
    result_names = ("keys", "attention")

    def __init__(self):
        super().__init__()
        self.passes = []

    def call(self, images):
        return images[:, 0, 0]

    def extract(self, images, names):
        self.passes.append(tuple(images.shape))
        keys = keras.layers.AveragePooling2D(8)(images)
        count = keys.shape[1] * keys.shape[2]
        keys = keras.ops.reshape(keys, (-1, count, 3))
        padding = [(0, 0), (2, 0), (0, 0)]
        far = np.eye(1, count)[0] * 9 + np.eye(1, count, count - 1)[0] * 8
        bright = keras.ops.maximum(keys[..., 0], 0) + 5 * np.eye(1, count, count - 1)[0]
        rows = keras.ops.stack([bright, 0 * bright + far], axis=1)[:, :, None]
        found = {
            "keys": keras.ops.pad(keys, padding),
            "attention": keras.ops.pad(rows, [(0, 0), (0, 0), (0, 0), (2, 0)]),
        }
        return {name: found[name] for name in names}


def test_counts_photos_with_boxes_whose_object_is_hit():
    backbone = Brightness()
    numbers = evaluate_discovery(backbone, Signs(), ["lost"])
    assert numbers == {"discover/lost_corloc": pytest.approx(200 / 3)}
    # Photo 2 has no boxes and is not looked at.
    assert sorted(backbone.passes) == [
        (1, 72, 96, 3),
        (1, 88, 88, 3),
        (1, 96, 72, 3),
    ]


def test_all_methods_come_from_one_pass():
    backbone = Brightness()
    numbers = evaluate_discovery(backbone, Signs(), bilateral=True)
    assert list(numbers) == [
        "discover/lost_corloc",
        "discover/tokencut_corloc",
        "discover/tokencut_refined_corloc",
        "discover/attention_corloc",
    ]
    assert all(type(value) is float for value in numbers.values())
    assert list(numbers.values()) == pytest.approx([200 / 3] * 4)
    assert len(backbone.passes) == 3


@pytest.mark.parametrize(("head", "corloc"), [(0, 200 / 3), (1, 0), ("best", 200 / 3)])
def test_heads(head, corloc):
    numbers = evaluate_discovery(Brightness(), Signs(), ["attention"], head=head)
    assert numbers == {"discover/attention_corloc": pytest.approx(corloc)}


def test_judges_only_the_photos_asked_for():
    hit = evaluate_discovery(Brightness(), Signs(), ["lost"], indices=np.array([0, 3]))
    assert hit == {"discover/lost_corloc": 100.0}
    missed = evaluate_discovery(Brightness(), Signs(), ["lost"], indices=[1, 2])
    assert missed == {"discover/lost_corloc": 0.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"indices": [2]}, "'signs' has no boxes"),
        ({"methods": ["lost", "cut"]}, "methods: got cut; allowed: lost, tokencut"),
        ({"methods": []}, "methods: got none"),
        ({"k": 0}, "k is 0"),
        ({"tau": 1.0}, "tau is 1.0"),
        ({"head": 2}, "head is 2; allowed: 0 to 1"),
        ({"head": "first"}, "head is 'first'"),
    ],
)
def test_refuses_what_cannot_be_judged(arguments, message):
    with pytest.raises(UserError, match=message):
        evaluate_discovery(Brightness(), Signs(), **arguments)


def test_large_photos_one_by_one_have_the_same_boxes(monkeypatch):
    together = evaluate_discovery(Brightness(), Signs())
    monkeypatch.setattr("dino_tf.evaluate.object_boxes.LARGE", 0)
    assert evaluate_discovery(Brightness(), Signs()) == together


def test_a_head_that_is_not_there_is_told_before_the_work():
    backbone = Brightness()
    backbone.num_heads = 2
    backbone.extract = None
    with pytest.raises(UserError, match="head is 2; allowed: 0 to 1"):
        evaluate_discovery(backbone, Signs(), head=2)
    assert evaluate_discovery(Brightness(), Signs(), head=np.int64(1)) == (
        evaluate_discovery(Brightness(), Signs(), head=1)
    )


def test_refuses_features_that_are_not_finite():
    backbone = Brightness()
    good = backbone.extract
    backbone.extract = lambda i, n: {k: v / 0 for k, v in good(i, n).items()}
    with pytest.raises(UserError, match="the attention of photo 'sign0' are not"):
        evaluate_discovery(backbone, Signs(), ["attention"], indices=[0])


def test_a_network_with_keys_alone_is_served_in_part():
    backbone = Brightness()
    backbone.result_names = ("cls", "keys")
    outcome = run_task(Subject(backbone), Data.of(Signs()))
    assert list(outcome.numbers) == ["discover/lost_corloc", "discover/tokencut_corloc"]
    assert outcome.notes == ["attention: left out, the network has no attention"]
    with pytest.raises(UserError, match="allowed for it: lost, tokencut"):
        run_task(Subject(backbone), Data.of(Signs()), methods=["attention"])
    assert lacks(Subject(backbone), None) is None
    backbone.result_names = ("cls", "tokens")
    assert "keys or attention" in lacks(Subject(backbone), None)


def test_defaults_are_those_of_the_table():
    defaults = TASKS["discover"].defaults()
    assert tuple(defaults.pop("methods")) == run_task.__defaults__[0]
    assert tuple(defaults.values()) == run_task.__defaults__[1:]


def test_a_second_run_costs_no_pass(tmp_path):
    backbone, source = Brightness(), Signs()
    backbone.build((None, 8, 8, 3))
    subject = Subject(backbone, store=Store(tmp_path))
    first = run_task(subject, Data.of(source), methods=["lost"])
    assert len(backbone.passes) == 3
    again = run_task(subject, Data.of(source), methods=["attention", "lost"])
    assert len(backbone.passes) == 6
    third = run_task(subject, Data.of(source), methods=["attention", "lost"], head=1)
    assert len(backbone.passes) == 6
    corloc = "discover/lost_corloc"
    assert first.numbers[corloc] == again.numbers[corloc] == third.numbers[corloc]
    assert third.numbers["discover/attention_corloc"] == 0.0
    run_task(subject, Data.of(source), methods=["lost"], k=7)
    assert len(backbone.passes) == 9


def test_details_tell_heads_and_split():
    outcome = run_task(Subject(Brightness()), Data.of(Signs()))
    details = outcome.details
    assert (details["split"], details["photos"], details["judged"]) == ("train", 4, 3)
    assert details["head"] == 0 and details["unreadable"] == []
    assert details["heads"].keys() == {"0", "1", "mean"}
    assert details["heads"]["0"] == pytest.approx(200 / 3)


def test_split_is_that_of_the_published_numbers():
    asked = []

    def opened(split):
        asked.append(split)
        return Signs() if split != "test" else None

    for spec in ("voc2007:data", "voc2012", "folder:photos"):
        run_task(Subject(Brightness()), Data(spec, opened), methods=["lost"])
    assert asked == ["train", "trainval", "train"]
    with pytest.raises(UserError, match="split: voc2012 has no 'test'"):
        run_task(Subject(Brightness()), Data("voc2012", opened), split="test")


def test_without_annotation_boxes_are_found_and_written_all_the_same(tmp_path):
    outcome = run_task(Subject(Brightness()), Data.of(Signs(annotated=False)))
    assert outcome.numbers == {}
    assert outcome.notes == [
        "attention: the mean of all heads, for want of boxes to judge",
        "no CorLoc: signs has no boxes of objects",
    ]
    assert outcome.details["head"] == "mean" and outcome.details["heads"] == {}
    paths = outcome.write(tmp_path / "new")
    assert [path.name for path in paths] == [
        "boxes-1.png",
        "lost.json",
        "tokencut.json",
        "attention.json",
    ]
    assert len(json.loads(paths[1].read_text())["annotations"]) == 4


def test_boxes_of_whole_photos_are_told():
    class Alike(Brightness):
        def extract(self, images, names):
            found = super().extract(images, names)
            return {**found, "keys": 0 * found["keys"] + 1.0}

    words = "lost: 4 of 4 boxes are whole photos, and tell nothing of objects"
    outcome = run_task(Subject(Alike()), Data.of(Signs()), methods=["lost"])
    assert outcome.notes == [f"{words}; those alone hit 0.0 %"]
    bare = Data.of(Signs(annotated=False))
    outcome = run_task(Subject(Alike()), bare, methods=["lost"])
    assert outcome.notes[-1] == words


def test_unreadable_photos_are_left_out_and_named():
    source = Signs()
    good = source.image_bytes

    def image_bytes(index):
        if index == 1:
            return b"no picture"
        if index == 2:
            raise OSError("gone")
        return good(index)

    source.image_bytes = image_bytes
    outcome = run_task(Subject(Brightness()), Data.of(source), methods=["lost"])
    assert outcome.numbers == {"discover/lost_corloc": 100.0}
    assert outcome.details["unreadable"] == ["sign1", "sign2"]
    assert outcome.notes == [
        "2 photos cannot be read, or too large, left out: sign1, sign2"
    ]
    assert evaluate_discovery(Brightness(), source, ["lost"]) == outcome.numbers
    source.image_bytes = lambda index: b"no picture"
    with pytest.raises(UserError, match="none of 4 photos of signs can be read"):
        run_task(Subject(Brightness()), Data.of(source))


def test_photos_smaller_than_a_patch_are_objects_themselves():
    source = Signs()
    source.sizes = [(5, 7)]
    found = find_boxes(Subject(Brightness()), source, object_boxes.METHODS)
    assert found["lost"]["boxes"].tolist() == [[[0, 0, 7, 5]]]
    assert found["tokencut"]["boxes"].tolist() == [[[0, 0, 7, 5]]]
    # The published boxes by attention are not cut at the photo.
    assert found["attention"]["boxes"].tolist() == [[[0, 0, 8, 8]] * 3]


def test_refined_box_follows_the_object():
    image = np.full((64, 80, 3), 10, np.uint8)
    image[20:44, 28:60] = (200, 60, 40)
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    box = object_boxes.refined_box(image, mask, 16, np.array([16, 16, 64, 48]))
    assert box.tolist() == [28, 20, 60, 44]
    nothing = np.zeros((4, 5), bool)
    kept = object_boxes.refined_box(image, nothing, 16, np.array([1, 2, 3, 4]))
    assert kept.tolist() == [1, 2, 3, 4]


def test_published_figures():
    names = [f"discover/{m}_corloc" for m in ("lost", "attention", "tokencut")]
    for spec, values in {
        "voc2007:data": [61.9, 45.8, 68.8],
        "voc2012": [64.0, 46.2, 72.1],
    }.items():
        figures = {figure.name: figure.value for figure in figures_for(spec, names)}
        assert [figures[name] for name in names] == values
