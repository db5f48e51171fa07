"""Reports of run folders: whole, running, old, and of networks that lack parts."""

import json
import logging
import re
import shutil
import types

import keras
import numpy as np
import pytest

from dino_tf import cli, recipe
from dino_tf.assemble import build_model
from dino_tf.checkpoint import Checkpoints, Place
from dino_tf.config import Config
from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import UserError
from dino_tf.models.backbones import create_backbone
from dino_tf.report.network import Album, Network, views
from dino_tf.report.write import Reporter, write_report
from dino_tf.run_folder import RunFolder

SIZES = {"embed_dim": 12, "depth": 1, "num_heads": 2}


def data_of(path):
    text = path.read_text(encoding="utf-8")
    found = re.search(r'type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found.group(1))


def settings(data):
    model = {"arch": "vit_tiny", "patch_size": 8, "image_size": 32, **SIZES}
    given = {
        "data": data,
        "preset": "quickstart",
        "pipeline": {"batch_size": 4},
        "views": {"global_size": 32, "local_size": 16, "num_local": 1},
        "model": model,
        "head": {"out_dim": 32, "hidden_dim": 16, "bottleneck_dim": 8},
        "run": {"epochs": 2, "attention_size": 32, "eval_size": 32},
    }
    facts = recipe.Facts(num_photos=40)
    return recipe.resolve(Config.from_dict(given), facts)


def make_run(path, data="scenes:40"):
    config, reasons = settings(data)
    folder = RunFolder(path)
    folder.config.write_text(recipe.to_yaml(config, reasons))
    folder.add_metrics({"epoch": 1, "loss": 3.4, "seconds": 2.0})
    return folder, config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder of one epoch with a network that was never trained."""
    folder, _ = make_run(tmp_path_factory.mktemp("run") / "one")
    create_backbone("vit_tiny", 8, 32, **SIZES).save(folder.backbone)
    folder.summary.write_text('{"photos": 40, "loss": 3.4}')
    return folder


def test_report_of_a_finished_run(finished):
    said = []
    path = write_report(finished.path, said.append)
    assert path == finished.path / "report.html"
    assert said[0].startswith(f"written: {path}") and len(said) == 1
    data = data_of(path)
    assert "Finished after 1 epoch." in data["state"] and data["notes"] == []
    assert len(data["explorer"]["photos"]) == 8
    photo = data["explorer"]["photos"][0]
    assert (photo["rows"], photo["columns"], photo["channels"]) == (4, 4, 12)
    assert set(data["map"]["methods"]) >= {"PCA", "t-SNE"}
    assert len(data["map"]["near"][0]) == 6
    assert 0 not in data["map"]["near"][0]
    assert set(data["boxes"][0]["found"]) == {"LOST", "TokenCut", "Attention"}
    assert data["boxes"][0]["truth"]
    assert len(data["components"]) == 8
    assert len(data["views"]["draws"][0]["local"]) == 1
    reasons = {row["key"]: row["reason"] for row in data["configuration"]}
    assert reasons["run.report_every"] == "with the attention pictures"
    assert data["attention"] is None and data["health"] is None
    assert path.stat().st_size < 2_000_000


def test_report_command(finished, capsys):
    assert cli.main(["report", str(finished.path)]) == 0
    assert "written: " in capsys.readouterr().out
    assert cli.main(["report", str(finished.path / "no")]) == 2
    assert "allowed: a run folder" in capsys.readouterr().err


def test_running_run_is_read_from_its_checkpoint(tmp_path):
    folder, config = make_run(tmp_path / "run")
    model = build_model(config, steps=3)
    checkpoints = Checkpoints(folder.checkpoints)
    checkpoints.save(model, Place(1))
    checkpoints.wait()
    said = []
    data = data_of(write_report(folder.path, said.append))
    assert "Not finished: 1 of 2 epochs" in data["state"]
    assert "the network at epoch 1" in data["state"]
    assert len(data["explorer"]["photos"]) == 8
    keras.backend.clear_session()


def test_folder_of_another_version_without_photos_or_network(tmp_path):
    folder, _ = make_run(tmp_path / "run", data=str(tmp_path / "gone"))
    said = []
    data = data_of(write_report(folder.path, said.append))
    assert any("nothing that needs the photos" in line for line in said)
    assert "explorer" not in data and data["charts"]
    folder.config.write_text("run: {not_there: 1}\n")
    data = data_of(write_report(folder.path, said.append))
    assert any("another version" in line for line in data["notes"])
    shutil.copy(folder.metrics, tmp_path / "metrics.jsonl")
    assert write_report(tmp_path, said.append).is_file()


def test_run_without_any_network_yet(tmp_path):
    folder, _ = make_run(tmp_path / "run")
    said = []
    data = data_of(write_report(folder.path, said.append))
    assert any("no checkpoint is there yet" in line for line in said)
    assert "map" not in data and data["views"]


def photos(count, labels=None):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 255, (count, 40, 56, 3), dtype=np.uint8)
    return ArraySource(images, labels)


def test_two_photos_without_labels():
    source, (config, _) = photos(2), settings("scenes:40")
    backbone = create_backbone("vit_tiny", 8, 32, **SIZES)
    network = Network(backbone, Album(source, 8), config)
    notes = []
    found = network.map(("pca", "tsne"), notes)["map"]
    assert list(found["methods"]) == ["PCA"] and found["labels"] == [[], []]
    assert found["near"] == [[1], [0]]
    assert len(network.patches(notes)["explorer"]["photos"]) == 2
    assert network.boxes(notes)["boxes"][0]["truth"] == []
    assert views(source, config)["views"]["sizes"] == [32, 16]
    assert notes == []


def test_one_photo_makes_no_map():
    (config, _), backbone = settings("x"), create_backbone("vit_tiny", 8, 32, **SIZES)
    notes = []
    assert Network(backbone, Album(photos(1), 8), config).map(("pca",), notes) == {}
    assert notes == ["no map and no neighbours: they take two photos"]


def test_network_without_attention(tiny_application):
    (config, _), source = settings("scenes:40"), photos(5)
    backbone = create_backbone(tiny_application, image_size=32)
    network, notes = Network(backbone, Album(source, 8), config), []
    assert network.boxes(notes) == {}
    assert notes == ["no boxes: the network has neither keys nor attention"]
    assert len(network.patches(notes)["components"]) == 5


def test_features_that_are_not_finite_are_noted():
    (config, _), backbone = settings("x"), create_backbone("vit_tiny", 8, 32, **SIZES)
    backbone.set_weights([np.full(w.shape, np.nan) for w in backbone.get_weights()])
    network, notes = Network(backbone, Album(photos(5), 8), config), []
    assert network.patches(notes) == {} and network.map(("pca",), notes) == {}
    assert len(notes) == 2
    with pytest.raises(UserError, match="not finite"):
        network.boxes(notes)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_updates_wait_until_they_are_cheap(finished, tmp_path, monkeypatch):
    folder, config = make_run(tmp_path / "run")
    source, clock, looked = photos(5), Clock(), []
    log = logging.getLogger("test")
    reporter = Reporter(folder, config, source, source, log, print, clock)
    monkeypatch.setattr(
        Reporter, "_look_at", lambda self, *arguments: looked.append(arguments)
    )
    model = types.SimpleNamespace(teacher_backbone="teacher")
    clock.now = 99.0
    reporter.update(1, model)
    assert not folder.report.exists()
    # One second of a hundred for the files, five of five hundred for the network.
    clock.now = 101.0
    reporter.update(2, model)
    assert folder.report.exists() and not looked
    clock.now = 501.0
    reporter.update(3, model)
    assert looked == [("teacher", "epoch 3")]


def test_an_error_does_not_stop_the_training(tmp_path, monkeypatch, caplog):
    folder, config = make_run(tmp_path / "run")
    said, log = [], logging.getLogger("test")
    reporter = Reporter(folder, config, photos(5), photos(5), log, said.append)
    # Neither the network nor the file can be had.
    folder.report.mkdir()
    (folder.report / "in the way").touch()
    reporter.finish(None)
    assert len(said) == 2
    assert all(line.startswith("the report could not be written: ") for line in said)
    assert "Traceback" in caplog.text


def test_training_writes_the_network_of_its_end(tmp_path):
    folder, config = make_run(tmp_path / "run")
    source = photos(5, [0, 1, 0, 1, 0])
    log = logging.getLogger("test")
    reporter = Reporter(folder, config, source, source, log, print)
    reporter.finish(create_backbone("vit_tiny", 8, 32, **SIZES))
    data = data_of(folder.report)
    assert "the network at the end of the run" in data["state"]
    assert data["map"]["labels"] == [[0], [1], [0], [1], [0]]
