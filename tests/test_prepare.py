"""Data and k-NN splits of a run, before it starts."""

import io

import numpy as np
import pytest
from PIL import Image

from dino_tf import prepare as module
from dino_tf.config import Config
from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError
from dino_tf.evaluate.splits import labelled_split
from dino_tf.prepare import choose_data, mean_photo_mb, prepare


def test_data_is_voc_when_it_lies_there(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_voc", lambda year, root: tmp_path)
    config, reasons = choose_data(Config(), lambda text: None)
    assert config.data == "voc2007" and "lies in data" in reasons["data"]


def test_scenes_when_nothing_can_be_downloaded(monkeypatch):
    def fail(*args):
        raise UserError("no network")

    said = []
    monkeypatch.setattr(module, "find_voc", lambda year, root: None)
    monkeypatch.setattr(module, "get_voc", fail)
    prepared = prepare(Config(), said.append)
    config, reasons = prepared.config, prepared.reasons
    assert config.data == "scenes" and config.preset == "quickstart"
    assert len(prepared.test_source) == 1000
    assert "no network" in said[-1] and "folder:PATH" in said[-1]
    assert set(reasons) >= {"data", "preset", "run.precision", "run.strategy"}


def test_knn_without_a_test_split_holds_photos_back():
    from dino_tf.datasets import open_source

    source = open_source("scenes:20")
    voters, judged = labelled_split(source, None)
    assert (len(voters), len(judged)) == (16, 4)
    assert not {voters.id(i) for i in range(16)} & {judged.id(i) for i in range(4)}


def test_knn_takes_a_test_split_of_the_same_classes_only():
    from dino_tf.datasets import open_source

    source, test = open_source("scenes:20"), open_source("scenes:20", "test")
    assert labelled_split(source, test) == (source, test)
    for change in ({"class_names": ()}, {"labels": lambda i: ()}):
        other = open_source("scenes:20", "test")
        vars(other).update(change)
        assert len(labelled_split(source, other)[1]) == 4


def test_size_of_photos_is_that_of_the_decoded_ones():
    small = np.zeros((100, 200, 3), np.uint8)
    large = np.zeros((300, 200, 3), np.uint8)
    source = ArraySource([small, large])
    assert mean_photo_mb(source) == pytest.approx(0.12)
    # They are BMP files, which no one makes smaller.
    assert mean_photo_mb(source, lambda height, width: 2) == pytest.approx(0.12)
    jpegs = type("Jpegs", (), {"__len__": lambda s: 2, "image_bytes": jpeg_bytes})()
    assert mean_photo_mb(jpegs) == pytest.approx(0.06)
    assert mean_photo_mb(jpegs, lambda height, width: height // 50) == pytest.approx(
        0.015
    )


def jpeg_bytes(source, index):
    """Photo 0 is broken."""
    if index == 0:
        return b"nothing"
    stream = io.BytesIO()
    Image.new("RGB", (200, 100)).save(stream, "JPEG")
    return stream.getvalue()
