"""Ground truth of revisited Oxford and Paris, from well-meant and other files."""

import io
import json
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import open_source
from dino_tf.errors import UserError


def photo(path, size=(8, 6)):
    """Writes a JPEG file of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 60, 30)).save(path, "JPEG")


def truth(**changes):
    """A ground truth of three photos and one query."""
    entry = {"bbx": [1.0, 0, 7, 5], "easy": [0], "hard": np.array([2]), "junk": []}
    found = {"imlist": ["a", "b.jpg", "c"], "qimlist": ["q"], "gnd": [entry]}
    entry |= changes.pop("entry", {})
    return found | changes


@pytest.fixture
def root(tmp_path):
    """A folder with photos of the ground truth; `b.jpg` is named by its extension."""
    for name in ("a.jpg", "b.jpg", "c.JPG", "q.jpeg"):
        photo(tmp_path / "jpg" / name)
    return tmp_path


def written(root, found, name="gnd_x.pkl", protocol=2):
    """The SPEC of a folder with this ground truth."""
    (root / name).write_bytes(pickle.dumps(found, protocol=protocol))
    return f"revisited:{root}"


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_read(root, protocol):
    source = open_source(written(root, truth(), protocol=protocol))
    assert len(source) == 4 and source.gallery == 3
    assert [source.id(i) for i in range(4)] == ["a", "b.jpg", "c", "query/q"]
    (query,) = source.queries
    assert query.photo == 3 and query.box == (1, 0, 7, 5)
    assert [x.tolist() for x in (query.easy, query.hard, query.junk)] == [[0], [2], []]
    for index in range(4):
        assert Image.open(io.BytesIO(source.image_bytes(index))).size == (8, 6)
    assert open_source(f"revisited:{root}", "test") is None


def test_json_says_the_same(root):
    entry = {"easy": [], "hard": [1, 2], "junk": [0]}
    text = json.dumps(truth() | {"gnd": [entry]})
    (root / "gnd_x.json").write_text(text, encoding="utf-8")
    for spec in (f"revisited:{root}", f"revisited:{root}/gnd_x.json"):
        (query,) = open_source(spec).queries
        assert query.box is None and query.hard.tolist() == [1, 2]


def test_a_missing_photo_is_told_when_it_is_read(root):
    source = open_source(written(root, truth(imlist=["a", "gone", "c"])))
    with pytest.raises(OSError, match="gone.jpg"):
        source.image_bytes(1)


class Call:
    """Its pickle calls a function of the system."""

    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Call(), "it names"),
        (truth(imlist=["../a", "b", "c"]), "allowed: names below jpg/"),
        (truth(imlist=["/etc/x", "b", "c"]), "allowed: names below jpg/"),
        (truth(imlist="abc"), "imlist is no list"),
        (truth(qimlist=["q", "q2"]), "an entry for each"),
        (truth(qimlist=[], gnd=[]), "qimlist is no list"),
        ({"imlist": ["a"]}, "lacks a part"),
        (truth(entry={"hard": [3]}), "hard is not all of 0 to 2"),
        (truth(entry={"easy": [0.5]}), "easy is not all of 0 to 2"),
        (truth(entry={"easy": [float("nan")]}), "easy is not all of 0 to 2"),
        (truth(entry={"easy": ["x"]}), "other than numbers"),
        (truth(entry={"bbx": [1, 2, 3, 10**400]}), "other than numbers"),
        (truth(entry={"bbx": [1, 2, 3]}), "bbx is not of four numbers"),
        (truth(gnd=[{"easy": [], "hard": []}]), "lacks junk"),
        (truth(gnd=[[]]), "no dictionary"),
        (truth(imlist=["x", "y", "z"], qimlist=["w"]), "none of the 4 photos"),
    ],
)
def test_what_is_no_ground_truth_is_refused(root, found, words):
    with pytest.raises(UserError, match=words):
        open_source(written(root, found))


@pytest.mark.parametrize("data", [b"", b"cos\nsystem\n(S'true'\ntR.", b"\x80\x04]q"])
def test_damaged_files_are_refused(root, data):
    (root / "gnd_x.pkl").write_bytes(data)
    with pytest.raises(UserError, match="ground truth"):
        open_source(f"revisited:{root}")


def test_the_file_must_be_clear(root):
    with pytest.raises(UserError, match="files of ground truth: none"):
        open_source(f"revisited:{root}")
    written(root, truth())
    written(root, truth(), "gnd_y.pkl")
    with pytest.raises(UserError, match="gnd_x.pkl, gnd_y.pkl; allowed: one"):
        open_source(f"revisited:{root}")
    with pytest.raises(UserError, match="no such folder"):
        open_source(f"revisited:{root}/nowhere")
    with pytest.raises(UserError, match="no split 'val'"):
        open_source(f"revisited:{root}", "val")


def test_the_generated_stand_in_has_what_it_says():
    source = open_source("instances:3")
    assert source.gallery == 21 and len(source) == 24
    assert source.id(0) == f"{source.id(21).removeprefix('query/')}_easy0"
    query = source.queries[1]
    assert query.photo == 22 and query.easy.tolist() == [7, 8, 9]
    assert query.hard.tolist() == [10, 11, 12] and query.junk.tolist() == [13]
    left, top, right, bottom = query.box
    assert 0 <= left < right <= 96 and 0 <= top < bottom <= 96
    sides = {Image.open(io.BytesIO(source.image_bytes(i))).size for i in range(24)}
    assert (96, 96) in sides and sides <= {(96, 96), (96, 72), (72, 96)}
    again = open_source("instances:3")
    assert again.image_bytes(5) == source.image_bytes(5)
    assert again.stamp() == source.stamp() != open_source("instances:2").stamp()
    with pytest.raises(UserError, match="instances:0"):
        open_source("instances:0")
