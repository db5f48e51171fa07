import json

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import json_files, open_source
from dino_tf.datasets.bdd100k_labels import CATEGORIES, read_labels
from dino_tf.datasets.json_files import LeftOut, array_rows
from dino_tf.errors import UserError

EDGES = {"x1": 45.24, "y1": 254.53, "x2": 357.8, "y2": 487.91}
LANE = {"category": "lane", "poly2d": [{"vertices": [[1, 2]]}], "manualShape": True}


def labels(*categories, box=EDGES, **attributes):
    found = [{"category": c, "box2d": box} for c in categories]
    return [one | {"attributes": attributes} for one in found]


# The same two photos as published in 2018, in 2020, and with a file for each photo.
OLD = [
    {"name": "a.jpg", "timestamp": 10000, "labels": [*labels("person", "bike"), LANE]},
    {"name": "b.jpg", "attributes": {"weather": "clear"}, "labels": []},
]
NEW = [
    {"name": "a.jpg", "labels": labels("pedestrian", "bicycle")},
    {"name": "b.jpg", "labels": None},
]
EACH = [
    {"name": "a", "frames": [{"timestamp": 1, "objects": OLD[0]["labels"]}]},
    {"name": "b", "frames": [{"timestamp": 1, "objects": []}]},
]


@pytest.fixture
def file(tmp_path):
    def write(what):
        path = tmp_path / "labels.json"
        path.write_text(what if isinstance(what, str) else json.dumps(what))
        return path

    return write


@pytest.mark.parametrize("form", ["old", "new", "each", "frames"])
def test_all_published_forms_say_the_same(file, tmp_path, form):
    if form == "each":
        path = tmp_path / "train"
        path.mkdir()
        for photo in EACH:
            (path / f"{photo['name']}.json").write_text(json.dumps(photo))
    else:
        path = file({"old": OLD, "new": NEW, "frames": {"frames": NEW}}[form])
    (first, boxes), (second, none) = read_labels(path)
    assert (first, second, len(none)) == ("a", "b", 0)
    np.testing.assert_allclose(boxes.xyxy[0], [45.24, 254.53, 357.8, 487.91], 1e-6)
    assert [CATEGORIES[c] for c in boxes.classes] == ["pedestrian", "bicycle"]
    assert not boxes.difficult.any()


def test_crowds_and_what_the_benchmark_ignores_are_difficult(file):
    found = [
        *labels("trailer", "other person", "van"),
        *labels("car", crowd=True),
        *labels("car", crowd=False),
    ]
    ((_, boxes),) = read_labels(file([{"name": "a.jpg", "labels": found}]))
    names = [CATEGORIES[c] for c in boxes.classes]
    assert names == ["truck", "pedestrian", "car", "car", "car"]
    assert boxes.difficult.tolist() == [True, True, False, True, False]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (labels("dragon"), "of another category: first dragon in a.jpg"),
        (labels("car", box={"x1": 1}), "not four numbers"),
        (labels("car", box=[1, 2, 3, 4]), "not four numbers"),
        (labels("car", box=EDGES | {"x1": float("nan")}), "not four numbers"),
        (labels("car", box=EDGES | {"x1": 400}), "of no size"),
        (labels("car", box=EDGES | {"x1": -9, "x2": -3}), "outside of the photo"),
        (["car"], "of no such form"),
    ],
)
def test_what_is_no_box_is_counted(file, one, reason):
    left_out = LeftOut()
    good = labels("car", box=EDGES | {"x2": 9999})
    rows = list(read_labels(file([{"name": "a.jpg", "labels": one + good}]), left_out))
    assert rows[0][1].xyxy[:, 2].tolist() == [1280]
    assert reason in left_out.lines("labels")[0]


@pytest.mark.parametrize(
    "what",
    [
        "",
        "[",
        "[{}",
        "[3]",
        '[{"name": "a.jpg"} {"name": "b.jpg"}]',
        '[{"name": "a.jpg"}] more',
        '[{"name": "a.jpg", "labels": [}]',
        "[" + '{"labels": [' * 100_000,
        [{"name": 4, "labels": []}],
        [{"name": "a.jpg", "labels": {}}],
        {"images": []},
        {"frames": [3]},
        {"name": "a", "frames": []},
        {"name": "a", "frames": [{}, {}]},
    ],
)
def test_other_files_are_refused_in_one_line(file, what):
    with pytest.raises(UserError) as error:
        list(read_labels(file(what)))
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_long_arrays_are_read_row_by_row(file, monkeypatch):
    monkeypatch.setattr(json_files, "CHUNK", 7)
    rows = [{"a": k, "text": "x" * (3 * k) + "]},{["} for k in range(30)]
    assert list(array_rows(file(json.dumps(rows, indent=1)))) == rows
    assert list(array_rows(file(" [ ] "))) == []
    monkeypatch.setattr(json_files, "MOST_ROW", 50)
    with pytest.raises(UserError, match="an object above 50 letters"):
        list(array_rows(file(rows)))


PLACES = ["images/100k/{}", "100k/{}", "{}", "bdd100k/images/100k/{}"]


def lay_out(root, place, folders):
    for number, name in enumerate(folders):
        folder = root / place.format(name)
        folder.mkdir(parents=True)
        for stem in "ab"[: 2 - number]:
            Image.new("RGB", (64, 36)).save(folder / f"{stem}.jpg")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("judged", ["val", "valid"])
def test_folders_without_labels(tmp_path, place, judged):
    lay_out(tmp_path, place, ("train", judged, "test"))
    train, test = (open_source(f"bdd100k:{tmp_path}", s) for s in ("train", "test"))
    assert (len(train), len(test), test.name) == (2, 1, f"bdd100k/{judged}")
    assert train.class_names == () and train.boxes(0) is None
    assert train.labels(0) == () and train.id(1) == "b.jpg"
    with pytest.raises(UserError, match=f"allowed: train, {judged}, unlabelled"):
        open_source(f"bdd100k:{tmp_path}", "tset")


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("labels/det_20/det_{}.json", NEW),
        ("labels/bdd100k_labels_images_{}.json", OLD),
        ("bdd100k/labels/100k/{}/a.json", EACH[0]),
    ],
)
def test_labels_in_their_usual_places(tmp_path, where, what):
    lay_out(tmp_path, "100k/{}", ("train", "valid"))
    for name in ("train", "val"):
        path = tmp_path / where.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(what))
    for split in ("train", "test"):
        source = open_source(f"bdd100k:{tmp_path}", split)
        assert source.class_names == CATEGORIES
        assert source.labels(0) == (0, 7) and len(source.boxes(0)) == 2
        assert source.about()[0].startswith("2 boxes; ")


def test_missing_folders(tmp_path):
    with pytest.raises(UserError, match="no BDD100K in"):
        open_source(f"bdd100k:{tmp_path}")
    lay_out(tmp_path, "{}", ("train",))
    assert open_source(f"bdd100k:{tmp_path}", "test") is None
