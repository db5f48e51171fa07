import json

import numpy as np
import pytest
from PIL import Image

from dino_tf.cli import main
from dino_tf.coco_conversion import coco_content
from dino_tf.datasets import Boxes, open_source

OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin>"
    "<ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


@pytest.fixture
def devkit(tmp_path):
    """Two photos with boxes, one without a file of boxes, one damaged."""
    root = tmp_path / "VOC2007"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    names = ("000001", "000002", "000003", "000004")
    for name in names:
        Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{name}.jpg")
    (root / "JPEGImages/000004.jpg").write_bytes(b"\xff\xd8\xff")
    objects = OBJECT.format("dog", 0, 1, 1, 40, 30) + OBJECT.format(
        "cat", 1, 5, 6, 7, 8
    )
    for name, text in zip(names[:2] + names[3:], (objects, "", objects), strict=True):
        body = f"<annotation>{text}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(body)
    (root / "ImageSets/Main/trainval.txt").write_text("\n".join(names))
    return root


def test_voc_is_converted_and_read_back(devkit, tmp_path, capsys):
    out = tmp_path / "voc.json"
    command = ["data", "coco", f"voc2007:{devkit}", "--out", str(out)]
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 2 photos, 2 boxes, 1 of them crowds, in 20 categories",
        "1 photos or labels left out, without an annotation of boxes: first 000003",
        "1 photos or labels left out, that cannot be read: first 000004",
    ]
    coco = pytest.importorskip("pycocotools.coco").COCO(out)
    assert coco.imgs[1] == {
        "id": 1,
        "file_name": "000001.jpg",
        "width": 40,
        "height": 30,
    }
    dog, cat = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert (dog["bbox"], dog["area"], dog["iscrowd"]) == ([0, 0, 40, 30], 1200, 0)
    assert (cat["bbox"], cat["iscrowd"], cat["ignore"]) == ([4, 5, 3, 3], 1, 1)
    assert [c["name"] for c in coco.loadCats([dog["category_id"]])] == ["dog"]
    ours = open_source(f"coco:{devkit / 'JPEGImages'}:{out}")
    theirs = open_source(f"voc2007:{devkit}")
    assert ours.class_names == theirs.class_names
    for index in range(2):
        for name in ("xyxy", "classes", "difficult"):
            read, first = (getattr(s.boxes(index), name) for s in (ours, theirs))
            np.testing.assert_array_equal(read, first)
    before = out.read_bytes()
    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_labels_of_bdd100k_need_no_photos(tmp_path, capsys):
    box = {"x1": 10.5, "y1": 20, "x2": 50.25, "y2": 80}
    labels = [
        {"name": "a.jpg", "labels": [{"category": "motor", "box2d": box}]},
        {"name": "b.jpg", "labels": [{"category": "lane", "poly2d": []}]},
    ]
    file, out = tmp_path / "det_train.json", tmp_path / "out.json"
    file.write_text(json.dumps(labels))
    assert main(["data", "coco", str(file), "--out", str(out)]) == 0
    coco = pytest.importorskip("pycocotools.coco").COCO(out)
    assert len(coco.imgs) == 2 and len(coco.anns) == 1
    assert coco.anns[1]["bbox"] == [10.5, 20, 39.75, 60]
    assert coco.cats[coco.anns[1]["category_id"]]["name"] == "motorcycle"
    assert (coco.imgs[2]["width"], coco.imgs[2]["height"]) == (1280, 720)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("labels.json --out a.json --split val", "--split: got val"),
        ("labels.json --out a.txt", "allowed: a new .json file"),
        ("labels.json --out a.json", "labels.json has no frames"),
        ("photos --out a.json", "has no boxes of objects"),
        ("scenes:10 --out a.json --split val", "no split 'val'"),
        ("none --out a.json", "no data folder or kind 'none'"),
    ],
)
def test_what_fails_leaves_no_file(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.json").write_text('{"name": "a"}')
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "photos/a.png")
    assert main(["data", "coco", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not list(tmp_path.glob("a.*"))


def test_photos_without_objects_are_images_without_annotations():
    none = Boxes.of([], [], [])
    content = coco_content("empty", ("a",), [("a.jpg", 3, 4, none)])
    assert len(content["images"]) == 1 and content["annotations"] == []
