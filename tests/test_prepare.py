"""Data and k-NN splits of a run, before it starts."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from dino_tf import prepare as module
from dino_tf.cluster import Cluster
from dino_tf.config import Config
from dino_tf.datasets.arrays import ArraySource
from dino_tf.distribute import Hardware
from dino_tf.errors import UserError
from dino_tf.evaluate.splits import labelled_split
from dino_tf.prepare import (
    choose_data,
    mean_photo_mb,
    prepare,
    require_same,
    shared_facts,
)


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


class TwoWorkers:
    """The chief of two workers; the other one answers with `changes`."""

    is_chief, ended = True, False
    cluster = Cluster((("worker", 0, "a:1"), ("worker", 1, "b:1")), 0, "a test")

    def __init__(self, changes):
        self.changes = changes

    def gather(self, value=None):
        known = {k: v for k, v in self.changes.items() if value and k in value}
        return [value, value and value | known]

    @contextlib.contextmanager
    def chief_first(self):
        yield

    def end_together(self):
        self.ended = True


def test_all_workers_choose_by_the_least_that_one_of_them_has():
    here = Hardware(2, "A", (9, 0), 80.0, 16, True, 64.0, 1, "a: 0,1 of x,y")
    other = {
        "compute_capability": [8, 0],
        "gpu_memory_gb": 40.0,
        "num_cores": 4,
        "cpu_has_bf16": False,
        "memory_gb": None,
        "gpus": "b: 0,1 of v,w",
    }
    assert shared_facts(TwoWorkers(other), here) == {
        "num_gpus": 2,
        "gpu_name": "A",
        "compute_capability": (8, 0),
        "gpu_memory_gb": 40.0,
        "num_cores": 4,
        "cpu_has_bf16": False,
        "memory_gb": 64.0,
        "num_cpu_devices": 1,
        "num_workers": 2,
        "workers_reason": "a test",
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_gpus": 1}, r"GPUs: got worker 0 \(a:1\) 2, worker 1 \(b:1\) 1; allowed"),
        ({}, r"worker 0 \(a:1\) and worker 1 \(b:1\) use the same GPUs \(a: all of x"),
    ],
)
def test_gpus_that_workers_cannot_share(changes, words):
    workers = TwoWorkers(changes)
    with pytest.raises(UserError, match=words):
        shared_facts(workers, Hardware(2, gpus="a: all of x,y"))
    assert workers.ended


def test_workers_must_know_the_same():
    require_same(TwoWorkers({}), {"data": "scenes", "optimizer.lr": 0.1})
    workers = TwoWorkers({"data": "voc2007", "optimizer.lr": "0.2"})
    told = "worker 1 (b:1) has data voc2007, not scenes; optimizer.lr 0.2, not 0.1. "
    with pytest.raises(UserError) as raised:
        require_same(workers, {"data": "scenes", "optimizer.lr": 0.1, "run.seed": 0})
    assert str(raised.value).startswith(told)
    assert workers.ended


def test_other_photos_under_the_same_name_are_seen():
    config = Config.from_dict({"data": "scenes:80", "preset": "quickstart"})
    prepared = prepare(config, lambda text: None, TwoWorkers({}))
    assert prepared.config.run.strategy == "multi_worker"
    assert prepared.reasons["run.strategy"] == "a test"
    workers = TwoWorkers({"digest of names": "0"})
    with pytest.raises(UserError, match=r"worker 1 \(b:1\) has digest of names 0, not"):
        prepare(config, lambda text: None, workers)


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


@pytest.mark.parametrize(
    ("num_gpus", "cache", "looks"), [(1, "auto", 1), (1, "disk", 0), (0, "auto", 0)]
)
def test_size_of_photos_is_looked_at_where_it_is_asked_for(
    num_gpus, cache, looks, monkeypatch
):
    asked = []
    monkeypatch.setattr(module, "find_hardware", lambda: Hardware(num_gpus))
    monkeypatch.setattr(module, "mean_photo_mb", lambda *given: asked.append(given))
    values = {"data": "scenes:80", "preset": "quickstart", "pipeline.cache": cache}
    prepare(Config.from_dict(values), lambda text: None)
    assert len(asked) == looks


def jpeg_bytes(source, index):
    """Photo 0 is broken."""
    if index == 0:
        return b"nothing"
    stream = io.BytesIO()
    Image.new("RGB", (200, 100)).save(stream, "JPEG")
    return stream.getvalue()
