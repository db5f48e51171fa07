"""Data and k-NN splits of a run, before it starts."""

from dino_tf import prepare as module
from dino_tf.config import Config
from dino_tf.errors import UserError
from dino_tf.evaluate.splits import labelled_split
from dino_tf.prepare import choose_data, prepare


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
