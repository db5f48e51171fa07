"""Copy detection on photos of one hue each, against places worked out by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from hues import Hues, subject, write_hue

from dino_tf.datasets import open_source
from dino_tf.datasets.scenes import Scenes
from dino_tf.errors import UserError
from dino_tf.evaluate.copy import gem, lacks, run_task
from dino_tf.evaluate.subject import Data


@pytest.fixture
def data(tmp_path):
    """Function of {folder: {name: hue}} that returns `Data`."""

    def make(**folders):
        folders = {"original": {"200000": 0, "200100": 40, "200200": 80}} | folders
        for folder, photos in folders.items():
            for name, angle in photos.items():
                file = tmp_path / "c" / folder.replace("__", "/") / f"{name}.png"
                write_hue(file, angle, (10, 7))
        return Data.of(open_source(f"copydays:{tmp_path / 'c'}"))

    return make


def test_attacks_by_hand(data):
    found = data(
        # Nearest is its own original; another is nearer; two are nearer.
        jpegqual__3={"200001": 10, "200101": 5, "200201": 15},
        strong={"200030": 50, "200130": 41, "200131": 60.5},
        crops__50={"200212": 75, "200912": 0},
    )
    outcome = run_task(subject(), found)
    assert outcome.numbers == pytest.approx(
        {
            # Places 3, 1 and 2, the last as 80 is nearer to 60.5 than 40 is.
            "copy/map_strong": 100 * (1 / 6 + 1 + 0.25) / 3,
            "copy/map_crops_50": 100,
            # Places 1, 2 and 3: (0 + 1/3) / 2.
            "copy/map_jpegqual_3": 100 * (1 + 0.25 + 1 / 6) / 3,
            "copy/map_original": 100,
        }
    )
    assert outcome.details["places"]["jpegqual/3"] == {
        "jpegqual/3/200001.png": 1,
        "jpegqual/3/200101.png": 2,
        "jpegqual/3/200201.png": 3,
    }
    assert outcome.notes == [
        "crops/50: 1 of 2 copies have no original and are left out"
    ]
    assert outcome.details["size"] == 12


def test_beyond_the_first_twenty_nothing_is_found(data, tmp_path):
    for i in range(21):
        write_hue(tmp_path / f"far/{i}.png", 10)
    found = data(strong={"200030": 10, "200130": 39})
    outcome = run_task(subject(), found, distractors=f"folder:{tmp_path / 'far'}")
    assert outcome.numbers["copy/map_strong"] == 50
    assert outcome.details["places"]["strong"]["strong/200030.png"] == 22
    (file,) = outcome.write(tmp_path / "out")
    assert Image.open(file).size[1] > 300


def test_what_cannot_be_read_is_not_found(data, tmp_path):
    found = data(strong={"200030": 0, "200130": 40, "200230": 80})
    (tmp_path / "c/original/200100.png").write_bytes(b"broken")
    (tmp_path / "c/strong/200230.png").write_bytes(b"")
    outcome = run_task(subject(), found)
    assert outcome.numbers["copy/map_strong"] == 50
    assert outcome.details["places"]["strong"]["strong/200130.png"] is None
    assert "2 photos of copydays/c cannot be read" in outcome.notes[0]
    assert outcome.write(tmp_path / "out")
    for file in (tmp_path / "c").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match="no copy in"):
        run_task(subject(), found)


def test_whitening(data, tmp_path):
    found = data(strong={"200030": 30, "200130": 41})
    assert run_task(subject(), found).numbers["copy/map_strong"] == 62.5
    # Their mean is near 40, and what differs from it as 30 does is like 0.
    for i, angle in enumerate((0, 30, 60, 90)):
        write_hue(tmp_path / f"w/{i}.png", angle)
    outcome = run_task(subject(), found, whiten=f"folder:{tmp_path / 'w'}")
    assert outcome.numbers["copy/map_strong"] == 100
    assert "whitened by 4 photos, fewer than the 6 numbers" in outcome.notes[0]


def test_constant_features_rank_by_place(data):
    same = dict.fromkeys(("200000", "200100", "200200"), 30)
    outcome = run_task(subject(), data(original=same, strong={"200030": 30}))
    assert outcome.numbers["copy/map_strong"] == 100
    assert "all copies have the same features" in outcome.notes


def test_generalised_mean():
    tokens = np.array([[[1, 2], [3, -5]]], np.float32)
    expected = [[41**0.25, 8**0.25]]
    np.testing.assert_allclose(gem(tokens), expected, rtol=1e-6)


def test_what_is_needed():
    copies = Data.of(open_source("copies:1"))
    assert lacks(subject(), copies) is None
    words = lacks(subject(), Data.of(Scenes(count=1)))
    assert words == "copies of photos: copydays:ROOT, or the generated copies"
    pooled = subject()
    pooled.backbone = Hues()
    pooled.backbone.num_prefix_tokens = 0
    assert lacks(pooled, copies).startswith("a network with CLS and patch tokens")
