"""Copydays in its own layout: which copy is one of which original."""

import io
from pathlib import Path

import pytest
from PIL import Image

from dino_tf.datasets import open_source
from dino_tf.datasets.copydays import sources_of_copies
from dino_tf.errors import UserError


def layout(root, **folders):
    """Writes folders of photos; `a__b` is `a/b`."""
    for folder, names in folders.items():
        for name in names.split():
            file = root / folder.replace("__", "/") / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 4)).save(file, "JPEG")
    return f"copydays:{root}"


def test_the_layout_of_inria_is_read(tmp_path):
    spec = layout(
        tmp_path,
        original="200000.jpg 200100.jpg",
        jpegqual__3="200001.jpg 200101.jpg",
        jpegqual__10="200002.jpg",
        crops__50="200012.jpg 200112.jpg",
        strong="200020.jpg 200021.jpg 200120.jpg 200930.jpg",
    )
    source = open_source(spec)
    assert source.originals == (0, 1) and len(source) == 11
    names = ["strong", "crops/50", "jpegqual/3", "jpegqual/10"]
    assert list(source.attacks) == names
    found = source.attacks["strong"]
    assert [source.id(i) for i, _ in found][:2] == ["strong/200020.jpg"] + [
        "strong/200021.jpg"
    ]
    assert [answers for _, answers in found] == [(0,), (0,), (1,), ()]
    assert source.attacks["jpegqual/10"] == ((10, (0,)),)
    assert open_source(spec, "test") is None


@pytest.mark.parametrize(
    ("copies", "originals", "strong", "expected"),
    [
        ("200001 200101", "200000 200100", False, [(0,), (1,)]),
        # One is missing: the names tell, not the place.
        ("200101", "200000 200100", False, [(1,)]),
        # The first four characters are the same in all: the whole name tells.
        ("000007 000009", "000005 000007 000009", False, [(1,), (2,)]),
        # Neither: the place in the folder.
        ("a b", "c d", False, [(0,), (1,)]),
        ("a b c", "c d", False, [(), (), (0,)]),
        # Of strong attacks nothing but the first four characters tells.
        ("000007", "000005 000007", True, [(0, 1)]),
        ("b", "c", True, [()]),
    ],
)
def test_what_is_a_copy_of_what(copies, originals, strong, expected):
    copies, originals = (
        [Path(f"{name}.jpg") for name in names.split()] for names in (copies, originals)
    )
    assert sources_of_copies(copies, originals, strong) == expected


def test_other_layouts_are_refused(tmp_path):
    with pytest.raises(UserError, match="folders of photos: none"):
        open_source(f"copydays:{tmp_path}")
    spec = layout(tmp_path, original="200000.jpg")
    with pytest.raises(UserError, match="folders of photos: original; allowed"):
        open_source(spec)
    with pytest.raises(UserError, match="no such folder"):
        open_source(f"{spec}/nowhere")
    with pytest.raises(UserError, match="lacks a folder"):
        open_source("copydays")


def test_the_generated_stand_in_has_what_it_says():
    source = open_source("copies:2")
    assert source.originals == (0, 1) and len(source) == 16
    assert source.attacks["strong"] == ((2, (0,)), (3, (1,)))
    assert list(source.attacks)[1:3] == ["jpegqual/3", "jpegqual/10"]
    assert source.id(1) == "original/200100" and source.id(3) == "strong/200101"
    sizes = [Image.open(io.BytesIO(source.image_bytes(i))).size for i in range(16)]
    assert sizes[:2] == [(192, 192)] * 2
    # A crop without half of the surface has 0.707 of each side.
    assert source.attacks["crops/50"][0] == (12, (0,)) and sizes[12] == (136, 136)
    assert len(source.image_bytes(4)) < len(source.image_bytes(6))
    again = open_source("copies:2")
    assert [again.image_bytes(i) for i in (2, 12)] == [
        source.image_bytes(i) for i in (2, 12)
    ]
    assert again.stamp() == source.stamp() != open_source("copies:1").stamp()
    with pytest.raises(UserError, match="copies:x"):
        open_source("copies:x")
