"""Sheets of found boxes, and COCO files that other programs read."""

import json

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets.arrays import ArraySource
from dino_tf.evaluate.discovery_files import (
    TITLES,
    coco_annotations,
    draw_boxes,
    draw_sheet,
    file_name,
    write_files,
)

SIZES = [(60, 80), (40, 90), (70, 50)]


@pytest.fixture
def source():
    return ArraySource([np.full((*size, 3), 90, np.uint8) for size in SIZES])


@pytest.fixture
def facts():
    extension = np.array(["bmp"] * 3)
    return {"index": np.arange(3), "size": np.array(SIZES), "extension": extension}


@pytest.fixture
def boxes():
    found = [(0, 0, 16, 32), (16, 16, 96, 48), (16, 0, 50, 70)]
    return {index: np.array(box) for index, box in enumerate(found)}


def test_coco_form(source, facts, boxes):
    content = coco_annotations(source, facts, boxes, "LOST")
    assert content["categories"] == [
        {"id": 1, "name": "object", "supercategory": "object"}
    ]
    assert content["images"][1] == {
        "id": 2,
        "file_name": "00000001.bmp",
        "width": 90,
        "height": 40,
    }
    # Cut at the photo, which is 90 wide and 40 high.
    assert content["annotations"][1] == {
        "id": 2,
        "image_id": 2,
        "category_id": 1,
        "bbox": [16, 16, 74, 24],
        "area": 74 * 24,
        "iscrowd": 0,
        "score": 1.0,
    }


def test_pycocotools_reads_it(tmp_path, source, facts, boxes):
    coco = pytest.importorskip("pycocotools.coco")
    write_files(tmp_path / "new", source, facts, {"lost": boxes}, {})
    truth = coco.COCO(str(tmp_path / "new" / "lost.json"))
    assert truth.getImgIds() == [1, 2, 3]
    (annotation,) = truth.loadAnns(truth.getAnnIds(imgIds=[3], catIds=[1]))
    assert annotation["bbox"] == [16, 0, 34, 70]
    # Boxes found are answers as well as ground truth: against themselves all hit.
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    answers = truth.loadRes(json.loads(json.dumps(truth.dataset["annotations"])))
    judge = evaluation.COCOeval(truth, answers, "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)


def test_file_names():
    assert file_name("2008_000123", "jpg") == "2008_000123.jpg"
    assert file_name("cats/tom.JPEG", "jpg") == "cats/tom.JPEG"
    assert file_name("v1.5/scan", "png") == "v1.5/scan.png"
    assert file_name("scan", "") == "scan"


def test_files_of_all_methods(tmp_path, source, facts, boxes):
    methods = {method: boxes for method in TITLES}
    paths = write_files(tmp_path / "new", source, facts, methods, {0: boxes[0][None]})
    assert [path.name for path in paths] == [
        "boxes-1.png",
        "lost.json",
        "tokencut.json",
        "tokencut_refined.json",
        "attention.json",
    ]
    assert all(path.is_file() for path in paths)
    assert Image.open(paths[0]).width > 400


def test_boxes_lie_where_they_should():
    picture = np.full((40, 50, 3), 90, np.uint8)
    drawn = draw_boxes(picture, [((10, 5, 30, 25), (255, 0, 0), 2)])
    red = (drawn == (255, 0, 0)).all(axis=-1)
    expected = np.zeros((40, 50), bool)
    expected[5:25, 10:30] = True
    expected[7:23, 12:28] = False
    np.testing.assert_array_equal(red, expected)
    assert picture.max() == 90


def test_equal_boxes_are_all_seen(source, boxes):
    methods = {method: boxes for method in TITLES}
    truth = {2: boxes[2][None]}
    pixels = np.asarray(draw_sheet(source, [0, 1, 2], methods, truth))
    # Beyond the legend in the lowest line.
    photos = pixels[:-40].reshape(-1, 3)
    for _, colour in TITLES.values():
        assert (photos == colour).all(axis=1).sum() > 100


def test_a_photo_that_went_away_leaves_a_gap(source, boxes):
    source.image_bytes = lambda index: b""
    assert draw_sheet(source, [0], {"lost": boxes}, {}).width > 100
