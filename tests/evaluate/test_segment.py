"""The parts of the task `segment`: which run, and what comes of them."""

import inspect

import numpy as np
import pytest

from dino_tf.datasets.arrays import ArraySource
from dino_tf.datasets.scenes import Scenes
from dino_tf.errors import UserError
from dino_tf.evaluate import segment, segment_attention, segment_saliency
from dino_tf.evaluate.published import data_name, figures_for
from dino_tf.evaluate.subject import Data, Subject
from dino_tf.models.vit import VisionTransformer
from dino_tf.tasks import TASKS

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
ATTENTION = {
    "segment/jaccard_best_head",
    "segment/jaccard_fixed_head",
    "segment/jaccard_mean_attention",
}
SALIENCY = {
    "segment/saliency_max_f",
    "segment/saliency_iou",
    "segment/saliency_accuracy",
}


@pytest.fixture
def subject(brightness):
    return Subject(brightness, **HALF)


@pytest.fixture
def classes(squares):
    """Photos of two classes."""
    images = np.zeros((2, 16, 24, 3), np.uint8)
    masks = [squares.mask(0)[:16, :24]] * 2
    return ArraySource(images, masks=masks, class_names=("cat", "dog"))


def test_binary_masks_get_all_parts(subject, squares):
    outcome = segment.run_task(subject, Data.of(squares), size=0)
    assert set(outcome.numbers) == ATTENTION | SALIENCY
    assert set(outcome.details) == {"attention", "saliency"}
    assert len(outcome.notes) == 3
    assert outcome.notes[2].startswith("linear: left out, it needs photos with class")


def test_masks_of_classes_get_saliency_when_asked(subject, classes):
    data = Data.of(classes)
    own = segment.run_task(subject, data, ["attention"], size=0)
    assert set(own.numbers) == ATTENTION
    assert not [note for note in own.notes if "left out" in note]
    asked = segment.run_task(subject, data, ["saliency"], bilateral=True)
    assert set(asked.numbers) == SALIENCY | {f"{name}_bilateral" for name in SALIENCY}


def test_options_reach_their_parts(subject, squares):
    data = Data.of(squares.subset([2]), squares)
    every = segment.run_task(
        subject, data, size=0, keep_mass=1.0, objects="class", split="test", tau=0.1
    )
    assert every.details["attention"]["objects"] == "class"
    assert every.numbers["segment/jaccard_best_head"] == pytest.approx(75)


def test_files_of_all_parts(subject, squares, tmp_path):
    outcome = segment.run_task(subject, Data.of(squares), size=0)
    names = [path.name for path in outcome.write(tmp_path)]
    assert names == ["attention.png", "attention.csv", "saliency.png", "saliency.csv"]


def test_what_is_missing_is_said(subject, squares):
    plain = Data.of(ArraySource(np.zeros((2, 16, 16, 3), np.uint8)))
    assert segment.lacks(subject, Data.of(squares)) is None
    words = "photos with masks or photos with class masks, to learn from and to judge"
    assert segment.lacks(subject, plain) == words
    subject.backbone.result_names = ("cls", "tokens")
    words = "a network whose last block has attention"
    assert segment.lacks(subject, Data.of(squares)).startswith(words)
    with pytest.raises(UserError, match=f"saliency on squares: missing is {words}"):
        segment.run_task(subject, Data.of(squares), ["saliency"])
    with pytest.raises(UserError, match=f"segment on squares: missing is {words} or"):
        segment.run_task(subject, Data.of(squares))


def test_unknown_parts_are_named(subject, squares):
    with pytest.raises(UserError, match="got 'probe', allowed: attention, saliency"):
        segment.run_task(subject, Data.of(squares), ["probe"])


def test_the_command_line_has_the_same_options():
    """Options that differ would be ignored, or defaults that no table shows."""
    task = TASKS["segment"]
    given = inspect.signature(task.load().run_task).parameters
    assert {k: p.default for k, p in list(given.items())[2:]} == task.defaults()
    taken = {name for part in segment.PARTS.values() for name in part.options.values()}
    assert taken == set(task.defaults()) - {"parts"}
    for part in segment.PARTS.values():
        own = inspect.signature(part.load().run_task).parameters
        assert set(own) == {"subject", "data", *part.options}
        for name, theirs in part.options.items():
            # The task's None is the size of the subject.
            assert (
                own[name].default == task.defaults()[theirs] or theirs == "linear_size"
            )


def test_classes_by_a_linear_map_are_a_part():
    network = VisionTransformer(
        patch_size=8, embed_dim=16, depth=2, num_heads=2, image_size=16
    )
    network.build(None)
    outcome = segment.run_task(
        Subject(network, size=16), Data.of(Scenes(count=10, size=32)), size=32, epochs=1
    )
    assert "segment/linear_miou" in outcome.numbers
    assert set(outcome.details) == {"attention", "linear"}


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("masks:/data/ECSSD", "ecssd"),
        ("masks:/data/ECSSD/images:/data/ECSSD/ground_truth_mask/", "ecssd"),
        ("masks:DUTS-TE", "duts"),
        ("masks:sets/DUTS_Test/img:sets/DUTS_Test/gt", "duts"),
        ("masks:DUT_OMRON", "dutomron"),
        ("masks:DUT-OMRON-image:pixelwiseGT-new-PNG", "dutomron"),
        ("masks:photos:masks", "photos"),
    ],
)
def test_data_of_published_figures(spec, name):
    assert data_name(spec) == name


def test_published_figures():
    def values(spec, numbers):
        return [figure.value for figure in figures_for(spec, numbers)]

    assert values("masks:ECSSD", SALIENCY) == [80.3, 71.2, 91.8]
    both = SALIENCY | {f"{name}_bilateral" for name in SALIENCY}
    assert values("masks:DUT-OMRON", both) == [60.0, 53.3, 88.0, 69.7, 61.8, 89.7]
    assert values("voc2012", ATTENTION) == [45.9, 44.7, 27.3, 23.7, 22.0, 21.8]


@pytest.mark.parametrize(
    ("parts", "given", "words"),
    [
        (["attention"], {"tau": 0.3}, "--tau: got 0.3; .* run: attention$"),
        (["saliency"], {"keep_mass": 0.5}, "--keep-mass: got 0.5; .* run: saliency$"),
        (["saliency"], {"linear_size": 32}, "--linear-size: got 32; "),
        (None, {"epochs": 3}, "--epochs: got 3; .* run: attention, saliency$"),
    ],
)
def test_options_of_parts_that_do_not_run_are_refused(
    subject, squares, parts, given, words
):
    with pytest.raises(UserError, match=words):
        segment.run_task(subject, Data.of(squares), parts, **given)


@pytest.mark.parametrize("part", [segment_attention, segment_saliency])
def test_numbers_and_pictures_share_a_trace(squares, tmp_path, monkeypatch, part):
    backbone = VisionTransformer(8, 1, 1, patch_size=8, image_size=16)
    backbone.build()
    traces, extract = [], VisionTransformer.extract_from
    monkeypatch.setattr(
        VisionTransformer,
        "extract_from",
        lambda *given: traces.append(given[2]) or extract(*given),
    )
    outcome = part.run_task(Subject(backbone), Data.of(squares))
    outcome.write(tmp_path / "new")
    assert len(traces) == 1
