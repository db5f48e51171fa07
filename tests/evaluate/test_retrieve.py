"""Retrieval on photos of one hue each, average precisions worked out by hand."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from hues import subject, write_hue

from dino_tf.datasets import open_source
from dino_tf.datasets.scenes import Scenes
from dino_tf.errors import UserError
from dino_tf.evaluate import whole_photos
from dino_tf.evaluate.retrieve import lacks, run_task, thumbnail
from dino_tf.evaluate.subject import Data

ANGLES = (10, 20, 30, 40, 50, 60)


def entry(easy=(), hard=(), junk=(), box=None):
    """What answers one query."""
    lists = {"easy": list(easy), "hard": list(hard), "junk": list(junk)}
    return lists | {"bbx": box}


@pytest.fixture
def data(tmp_path):
    """Function of entries (and names of the queries) that returns `Data`."""
    sizes = [(8, 8), (16, 8), (9, 13)]
    for i, angle in enumerate(ANGLES):
        write_hue(tmp_path / f"x/jpg/g{i}.png", angle, sizes[i % 3])
    write_hue(tmp_path / "x/jpg/q.png", 0)

    def make(*entries, queries=None):
        names = [f"g{i}" for i in range(len(ANGLES))]
        queries = queries or ["q"] * len(entries)
        found = {"imlist": names, "qimlist": queries, "gnd": entries}
        (tmp_path / "x/gnd_x.json").write_text(json.dumps(found), encoding="utf-8")
        return Data.of(open_source(f"revisited:{tmp_path / 'x'}"))

    return make


@pytest.mark.parametrize("chunk", [1, 4096])
def test_levels_by_hand(data, monkeypatch, chunk):
    monkeypatch.setattr(whole_photos, "CHUNK", chunk)
    # The list is g0 (junk), g1 (easy), g2, g3 (junk), g4 (hard), g5.
    outcome = run_task(subject(), data(entry([1], [4], [0, 3]), entry()))
    expected = {
        "map_easy": 100,
        "mp1_easy": 100,
        "mp5_easy": 100,
        "mp10_easy": 100,
        # In places 1 and 3 of those that are left.
        "map_medium": 100 * (0.5 + (1 / 2 + 2 / 3) / 4),
        "mp1_medium": 100,
        "mp5_medium": 100 * 2 / 3,
        "mp10_medium": 100 * 2 / 3,
        # In place 2: only g2 is before it.
        "map_hard": 25,
        "mp1_hard": 0,
        "mp5_hard": 50,
        "mp10_hard": 50,
    }
    assert outcome.numbers == pytest.approx(
        {f"retrieve/{name}": value for name, value in expected.items()}
    )
    assert "easy: 1 queries without an answer are left out" in outcome.notes
    assert outcome.details["queries"]["query/q~2"] == {}


def test_distractors_stand_in_the_way(data, tmp_path):
    for i, angle in enumerate((5, 6, 70)):
        write_hue(tmp_path / f"far/{i}.png", angle)
    found = data(entry([0]))
    outcome = run_task(subject(), found, distractors=f"folder:{tmp_path / 'far'}")
    # In place 3: (0 + 1/3) / 2.
    assert outcome.numbers["retrieve/map_easy"] == pytest.approx(100 / 6)
    assert outcome.numbers["retrieve/map_medium"] == pytest.approx(100 / 6)
    assert "retrieve/map_hard" not in outcome.numbers
    assert outcome.details["distractors"] == 3


def test_duplicates_and_the_query_itself(data, tmp_path):
    # g1 and g2 are the same photo: the first one comes first.
    write_hue(tmp_path / "x/jpg/g2.png", 20)
    write_hue(tmp_path / "x/jpg/g1.png", 20)
    outcome = run_task(subject(), data(entry([2], junk=[0])))
    assert outcome.numbers["retrieve/map_easy"] == pytest.approx(25)
    # A query of the gallery counts as its lists say; in none of them, as wrong.
    found = data(entry([1]), queries=["g0"])
    outcome = run_task(subject(), found)
    assert outcome.numbers["retrieve/map_easy"] == pytest.approx(25)
    assert "in the gallery themselves" in " ".join(outcome.notes)
    outcome = run_task(subject(), data(entry([1], junk=[0]), queries=["g0"]))
    assert outcome.numbers["retrieve/map_easy"] == 100 and not [
        note for note in outcome.notes if "themselves" in note
    ]


def test_photos_that_cannot_be_read(data, tmp_path):
    (tmp_path / "x/jpg/g0.png").write_bytes(b"\xff\xd8\xff broken")
    (tmp_path / "x/jpg/g5.png").unlink()
    found = data(entry([0, 1]), entry([5]), entry([1]), queries=["q", "q", "gone"])
    outcome = run_task(subject(), found)
    # Half of the first query's answers are found, none of the second's.
    assert outcome.numbers["retrieve/map_easy"] == pytest.approx(25)
    assert outcome.numbers["retrieve/mp10_easy"] == pytest.approx(100 * 0.1 / 2)
    text = " ".join(outcome.notes)
    assert "3 photos of revisited/x cannot be read" in text
    assert "g0, g5, query/gone" in text and "1 of 3 queries are left out" in text
    with pytest.raises(UserError, match="no query of"):
        run_task(subject(), data(entry([1]), queries=["gone"]))


def test_nothing_to_judge(data):
    with pytest.raises(UserError, match="no query .* has an answer"):
        run_task(subject(), data(entry(junk=[1])))
    with pytest.raises(UserError, match="--size: got 3; allowed: a patch"):
        run_task(subject(), data(entry([1])), size=3)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([0, 0, 8, 16], 100),
        ([8, 0, 16, 16], 25),
        # Without what is outside; edges are rounded.
        ([7.6, -5, 99, 99], 25),
        (None, 100),
    ],
)
def test_box_of_a_query(data, tmp_path, box, expected):
    # Mostly of hue 10; the right half of hue 30.
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:, :8] = (251, 44, 0)
    picture[:, 8:] = (22, 12, 0)
    Image.fromarray(picture).save(tmp_path / "x/jpg/q.png")
    found = data(entry([0], junk=[1, 3, 4, 5], box=box))
    outcome = run_task(subject(), found, queries="box")
    assert outcome.numbers["retrieve/map_easy"] == pytest.approx(expected)
    whole = run_task(subject(), found)
    assert whole.numbers["retrieve/map_easy"] == 100


@pytest.mark.parametrize("box", [[5, 0, 2, 8], [0, 3, 8, 3], [20, 0, 30, 8]])
def test_boxes_that_hold_nothing(data, tmp_path, box):
    found = data(entry([0], box=box))
    with pytest.raises(UserError, match="query query/q: its box .* holds nothing"):
        run_task(subject(), found, queries="box")
    outcome = run_task(subject(), found)
    (file,) = outcome.write(tmp_path / "out")
    assert Image.open(file).size[0] > 600


def test_features_are_kept(data, tmp_path):
    from dino_tf.evaluate.store import Store

    # The fake network has no weights to be known by.
    kept = subject(store=Store(tmp_path / "cache"))
    kept.fingerprint = "hues"
    found = data(entry([1], [4], [0, 3], box=[0, 0, 4, 4]))
    first = run_task(kept, found)
    files = {file.name for file in (tmp_path / "cache").iterdir()}
    assert run_task(kept, found).numbers == first.numbers
    assert {file.name for file in (tmp_path / "cache").iterdir()} == files
    run_task(kept, found, queries="box", multiscale=True)
    assert len(list((tmp_path / "cache").iterdir())) > len(files)


def test_other_data_lack_queries():
    words = lacks(subject(), Data.of(Scenes(count=1)))
    assert words.startswith("queries and what answers them: revisited:ROOT")
    assert lacks(subject(), Data.of(open_source("instances:1"))) is None


@pytest.mark.parametrize(
    ("shape", "size", "least", "expected"),
    [
        ((20, 40), 10, 1, (5, 10)),
        ((40, 20), 10, 1, (10, 5)),
        ((8, 6), 10, 1, (8, 6)),
        ((100, 7), 50, 8, (50, 8)),
    ],
)
def test_thumbnails_keep_their_shape(shape, size, least, expected):
    image = np.full((*shape, 3), 90, np.uint8)
    found = thumbnail(image, size, least)
    assert found.shape == (*expected, 3) and (found == 90).all()
