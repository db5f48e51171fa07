"""Jaccard of attention on photos with one bright square; see `conftest.squares`."""

from types import SimpleNamespace

import numpy as np
import pytest

from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError
from dino_tf.evaluate import segment_attention
from dino_tf.evaluate.last_block import LastBlock
from dino_tf.evaluate.segment_attention import attention_over, evaluate_attention
from dino_tf.evaluate.store import Store
from dino_tf.evaluate.subject import Data, Subject

NUMBERS = ("best_head", "fixed_head", "mean_attention")
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def numbers(*values):
    named = zip(NUMBERS, values, strict=True)
    return {f"segment/jaccard_{name}": pytest.approx(value) for name, value in named}


def test_best_and_fixed_heads_of_whole_patches(brightness, squares):
    """All four equal patches, and all 16, are kept at a share of 1.

    Head 0 is the square: photo 0 gives 1 and photo 1 gives 1 and 0. Head 1 is the
    other 16 patches: 0; and 0 for the square and 4 of 16 for the dark object. Both
    heads together have all 20: 4 of 20 each time.
    """
    found = evaluate_attention(brightness, squares, 0, 1.0, **HALF)
    assert found == numbers(100 * (1 + 1.25 / 2) / 2, 100 * 1.5 / 2, 20)


def test_objects_of_one_class_together(brightness, squares):
    """Then photo 1 has one object of 8 patches: 4 of 8 from either head."""
    found = evaluate_attention(brightness, squares, 0, 1.0, "class", **HALF)
    assert found == numbers(75, 75, 100 * (4 / 20 + 8 / 20) / 2)


def test_square_and_masks_of_another_size(brightness, squares):
    """40 x 40 pixels are 5 rows: the square becomes 2.5 patches high."""
    large = [np.kron(squares.objects(i), np.ones((2, 2), np.uint8)) for i in (0, 1)]
    images = np.full((2, 32, 40, 3), 5, np.uint8)
    images[:, 8:24, 16:32] = 250
    source = ArraySource(images, masks=large)
    same = evaluate_attention(brightness, squares.subset([0, 1]), 0, 1.0, **HALF)
    assert evaluate_attention(brightness, source, 0, 1.0, **HALF) == same
    found = evaluate_attention(brightness, source.subset([0]), 40, 1.0, **HALF)
    # Patch rows 1, 2, 3 of 5 are bright: rows 13 to 51 of 64, of which 32 are true.
    assert found == numbers(100 * 32 / 39, 100 * 32 / 39, 20)


def test_what_no_patch_covers_is_not_judged(brightness):
    images = np.full((1, 20, 27, 3), 5, np.uint8)
    images[0, :8, :8] = 250
    mask = np.zeros((40, 54), np.uint8)
    mask[:16, :16], mask[32:], mask[:, 48:] = 1, 1, 2
    maps, seen = attention_over(LastBlock(brightness), images[0], mask, 0)
    assert maps.shape == (3, 2, 3) and seen.shape == (32, 48)
    found = evaluate_attention(brightness, ArraySource(images, masks=[mask]), 0, **HALF)
    assert found["segment/jaccard_best_head"] == 100


def test_a_second_run_costs_no_pass(brightness, squares, tmp_path, monkeypatch):
    subject = Subject(brightness, store=Store(tmp_path), **HALF)
    monkeypatch.setattr(Subject, "fingerprint", "0123")
    data = Data.of(squares.subset([1, 2]), squares)
    first = segment_attention.run_task(subject, data, 0, 1.0)
    passes = brightness.calls
    again = segment_attention.run_task(subject, data, 0, 1.0)
    assert passes == brightness.calls > 0
    assert (
        again.numbers
        == first.numbers
        == evaluate_attention(brightness, squares, 0, 1.0, **HALF)
    )
    assert first.details == {
        "split": "squares",
        "size": 0,
        "objects": "instance",
        "photos": 2,
        "jaccard_per_head": [75.0, 6.25],
    }
    assert first.notes == ["attention: 2 photos of squares show no object"]
    other = segment_attention.run_task(subject, data, 0, 1.0, split="train")
    assert other.numbers == numbers(62.5, 50, 20)


def test_photos_that_cannot_be_read_are_named(brightness, squares):
    source = squares.subset(range(len(squares)))
    bad = next(i for i in range(4) if (source.objects(i) == 1).any())
    readable = source.image_bytes
    source.image_bytes = lambda i: b"no picture" if i == bad else readable(i)
    outcome = segment_attention.run_task(
        Subject(brightness, **HALF), Data.of(source, source), 0, 1.0
    )
    assert outcome.details["photos"] == 1
    (note,) = [n for n in outcome.notes if "cannot be read" in n]
    assert note == f"attention: 1 photos cannot be read: {source.id(bad)}"


@pytest.mark.parametrize(
    ("evaluated", "patch", "side"), [(224, 16, 480), (112, 16, 240), (32, 4, 68)]
)
def test_size_is_in_proportion_to_that_of_the_network(evaluated, patch, side):
    network = SimpleNamespace(patch_size=patch)
    assert segment_attention.size_of(Subject(network, size=evaluated)) == side


def test_files(brightness, squares, tmp_path):
    subject = Subject(brightness, **HALF)
    outcome = segment_attention.run_task(subject, Data.of(squares), 0, 1.0)
    sheet, table = outcome.write(tmp_path / "new")
    assert sheet.read_bytes()[:4] == b"\x89PNG"
    assert table.read_text().split() == [
        "photo,best_head,mean_attention,head_0,head_1",
        "00000000,1.0000,0.2000,1.0000,0.0000",
        "00000001,0.6250,0.2000,0.5000,0.1250",
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 7}, "size: got 7, allowed: 0 or at least a patch, 8"),
        ({"size": -8}, "size: got -8"),
        ({"keep_mass": 0}, "keep_mass is 0; allowed: above 0"),
        ({"objects": "boxes"}, "objects: got 'boxes'"),
    ],
)
def test_wrong_options_are_named(brightness, squares, options, words):
    with pytest.raises(UserError, match=words):
        evaluate_attention(brightness, squares, **options)


def test_photos_that_cannot_be_judged(brightness, squares):
    with pytest.raises(UserError, match="no photo of 'squares' shows an object"):
        evaluate_attention(brightness, squares.subset([2, 3]))
    small = ArraySource(np.zeros((1, 7, 9, 3), np.uint8), masks=[np.ones((7, 9))])
    with pytest.raises(UserError, match="9 x 7 pixels, less than a patch of 8"):
        evaluate_attention(brightness, small, 0)
    turned = ArraySource(np.zeros((1, 16, 32, 3), np.uint8), masks=[np.ones((32, 16))])
    with pytest.raises(UserError, match="mask of '00000000' has 16 x 32 pixels"):
        evaluate_attention(brightness, turned)
