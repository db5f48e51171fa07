import json

import numpy as np
import pytest
from PIL import Image

from dino_tf.cli import main
from dino_tf.datasets import open_source
from dino_tf.errors import UserError

ABSENT = object()


def content(**changes):
    """Two photos; ids of categories have gaps and are out of order."""
    whole = {
        "images": [
            {"id": 7, "file_name": "b/two.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "one.png"},
        ],
        "annotations": [
            box(1, 7, 90, [1, 2, 10.5, 20]),
            box(2, 3, 18, [0, 0, 40, 30], iscrowd=1),
            box(3, 7, 18, [30, 20, 100, 100], segmentation=[[1, 2, 3]]),
        ],
        "categories": [{"id": 90, "name": "hair drier"}, {"id": 18, "name": "dog"}],
    }
    return {k: v for k, v in (whole | changes).items() if v is not ABSENT}


def box(number, photo, kind, bbox, **more):
    one = {"id": number, "image_id": photo, "category_id": kind, "bbox": bbox}
    return one | more


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    (folder / "b").mkdir(parents=True)
    for name in ("one.png", "b/two.png", "../outside.png"):
        Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(folder / name)
    return folder


@pytest.fixture
def spec(images, tmp_path):
    """Function of what the file holds that returns the SPEC."""

    def write(what):
        text = what if isinstance(what, str) else json.dumps(what)
        (tmp_path / "boxes.json").write_text(text)
        return f"coco:{images}:{tmp_path / 'boxes.json'}"

    return write


def test_boxes_classes_and_crowds(spec):
    source = open_source(spec(content()))
    assert source.name == "coco/boxes" and source.category_ids == (18, 90)
    assert source.class_names == ("dog", "hair drier")
    assert [source.id(i) for i in range(2)] == ["b/two.png", "one.png"]
    first, second = (source.record(i) for i in range(2))
    assert first.labels == (0, 1) and second.labels == (0,)
    # The second one is cut off at the photo; the other photo's size is unknown.
    np.testing.assert_array_equal(
        first.boxes.xyxy, [[1, 2, 11.5, 22], [30, 20, 40, 30]]
    )
    assert first.boxes.classes.tolist() == [1, 0]
    assert second.boxes.difficult.tolist() == [True]
    assert first.mask is None and first.image[:4] == b"\x89PNG"
    assert source.about() == ["3 boxes in 2 photos, 1 of them crowds"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (box(9, 7, 90, [1, 1, 0, 5]), "of no size: first [1.0, 1.0, 0.0, 5.0]"),
        (box(9, 7, 90, [9, 1, -4, 5]), "of no size"),
        (box(9, 7, 90, [41, 1, 4, 5]), "outside of the photo"),
        (box(9, 7, 90, [-9, 1, 4, 5]), "outside of the photo"),
        (box(9, 7, 90, [1, float("nan"), 4, 5]), "not four numbers: first 9"),
        (box(9, 7, 90, [1, float("inf"), 4, 5]), "not four numbers"),
        (box(9, 7, 90, [10**400, 1, 4, 5]), "not four numbers"),
        (box(9, 7, 90, [1, 2, 3]), "not four numbers"),
        (box(9, 7, 90, "1234"), "not four numbers"),
        (box(9, 7, 90, [1, True, 4, 5]), "not four numbers"),
        (box(9, 7, 90, None), "not four numbers"),
        (box(9, 8, 90, [1, 1, 4, 5]), "of a photo that is not listed"),
        (box(9, [7], 90, [1, 1, 4, 5]), "of a photo that is not listed"),
        (box(9, 7, 1, [1, 1, 4, 5]), "of a category that is not listed"),
        (box(9, 7, {}, [1, 1, 4, 5]), "of a category that is not listed"),
        (box(3, 7, 90, [1, 1, 4, 5]), "with an id that came before: first 3"),
        ("box", "of no such form: first the one at 3"),
    ],
)
def test_what_is_no_box_is_counted_and_named(spec, entry, reason):
    whole = content()
    source = open_source(spec(content(annotations=[*whole["annotations"], entry])))
    assert len(source.boxes(0)) == 2 and len(source.boxes(1)) == 1
    (line,) = source.about()[1:]
    assert line.startswith("1 annotations left out, ") and reason in line


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("{", "no JSON file"),
        ("[" * 100_000, "no JSON file"),
        ('{"images": [' + "1" * 5000 + "]}", "no JSON file"),
        ([1], "no file of COCO"),
        (content(images={}), "no file of COCO"),
        (content(images=[]), "lists no photo"),
        (content(annotations={}), "annotations is of the type dict"),
        (content(categories=3), "categories is of the type int"),
        (content(categories=ABSENT), "annotations and no categories"),
        (content(categories=[{"id": 1}]), "has the category"),
        (content(categories=[{"id": 1, "name": "a"}] * 2), "has the category"),
        (content(images=[{"id": 1, "file_name": "one.png"}] * 2), "has the photo"),
        (content(images=[{"id": [], "file_name": "one.png"}]), "has the photo"),
        (content(images=[{"id": 1, "file_name": "../outside.png"}]), "has the photo"),
        (content(images=[{"id": 1, "file_name": "a\\..\\b.png"}]), "has the photo"),
        (content(images=[{"id": 1, "file_name": "/etc/passwd"}]), "has the photo"),
        (content(images=[{"id": 1, "file_name": "C:\\a.png"}]), "has the photo"),
        (content(images=[{"id": 1, "file_name": "a\0.png"}]), "has the photo"),
        (content(images=[{"id": 1, "file_name": 4}]), "has the photo"),
        (content(images=[{"id": 1, "file_name": "no.png"}]), "none of the 1 photos"),
        (
            content(images=[{"id": 1, "file_name": "one.png", "width": "40"}]),
            "width of the photo 1 is '40'",
        ),
    ],
)
def test_wrong_files_are_told_in_one_line(spec, what, words):
    with pytest.raises(UserError, match=words) as error:
        open_source(spec(what))
    assert "\n" not in str(error.value)


def test_test_photos_have_no_annotations(spec):
    source = open_source(spec(content(annotations=ABSENT)))
    assert source.boxes(0) is None and source.labels(0) == ()
    assert source.about() == ["no boxes: the file has no annotations"]
    without = open_source(spec(content(annotations=[])))
    assert len(without.boxes(0)) == 0


def test_splits_by_files_and_by_layout(spec, images, tmp_path):
    one = spec(content())
    assert open_source(one, "test") is None
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content(images=content()["images"][1:])))
    assert len(open_source(f"{one}:{other}", "test")) == 1
    with pytest.raises(UserError, match="no split 'val'; allowed: train"):
        open_source(one, "val")
    with pytest.raises(UserError, match="names no folder and file"):
        open_source(f"coco:{images}:{tmp_path / 'no.json'}")
    root = tmp_path / "root"
    (root / "annotations").mkdir(parents=True)
    with pytest.raises(UserError, match="no annotations/instances_NAME.json"):
        open_source(f"coco:{root}")
    for name in ("train2014", "train2017", "val2017"):
        (root / name).symlink_to(images)
        text = json.dumps(content())
        (root / "annotations" / f"instances_{name}.json").write_text(text)
    names = [open_source(f"coco:{root}", s).name for s in ("train", "test")]
    assert names == ["coco/instances_train2017", "coco/instances_val2017"]
    assert open_source(f"coco:{root}", "train2014").name.endswith("train2014")


def test_data_check_tells_boxes(spec, capsys):
    whole = content()
    bad = box(4, 7, 90, [0, 0, 0, 0])
    path = spec(content(annotations=[*whole["annotations"], bad]))
    assert main(["data", "check", path]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  dog                  2",
        "  hair drier           1",
        "0 unreadable (0.0%)",
        "3 boxes in 2 photos, 1 of them crowds",
        "1 annotations left out, of no size: first [0.0, 0.0, 0.0, 0.0]",
    ]


def test_stamp_changes_with_the_boxes(spec):
    first = open_source(spec(content())).stamp()
    assert open_source(spec(content(annotations=[]))).stamp() != first
