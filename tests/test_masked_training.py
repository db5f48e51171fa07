"""Runs with all options of others: resuming, what is written."""

import json
import os
import signal
import time

import keras
import pytest

from dino_tf.config import Config
from dino_tf.errors import Interrupted
from dino_tf.models.loading import load_backbone
from dino_tf.saving import Saving
from dino_tf.training import train

SETTINGS = {
    "data": "scenes:24",
    "preset": "quickstart",
    "pipeline": {"batch_size": 8, "workers": 1},
    "views": {"global_size": 32, "local_size": 16, "num_local": 1},
    "model": {
        "patch_size": 8,
        "embed_dim": 16,
        "depth": 1,
        "num_heads": 2,
        "layer_scale": 1e-2,
        "num_registers": 2,
        "init": "mimetic",
    },
    "head": {"out_dim": 16, "hidden_dim": 16, "bottleneck_dim": 8, "ibot_out_dim": 12},
    "loss": {"ibot_weight": 1.0, "centering": "sinkhorn", "koleo_weight": 0.1},
    "optimizer": {
        "accumulate_steps": 2,
        "lr_scaling": "sqrt",
        "layer_decay": 0.9,
        "patch_embed_lr": 0.2,
        "freeze_backbone_epochs": 1,
    },
    "run": {
        "epochs": 2,
        "high_res_epochs": 1,
        "attention_photos": 1,
        "attention_size": 32,
        "attention_every": 0,
        "health_photos": 0,
        "tensorboard": False,
        "name": "masked",
    },
}


def start(folder, said):
    keras.utils.clear_session()  # names of layers are numbered anew
    config = Config.from_dict(SETTINGS)
    config.run.result_dir = str(folder)
    return train(config, said.append)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    said = []
    return start(tmp_path_factory.mktemp("whole"), said), "\n".join(said)


def test_what_a_run_tells(undisturbed):
    run, said = undisturbed
    assert "2 epochs (the last 1 with crops of 48 and 24 pixels)" in said
    lines = (run.path / "metrics.jsonl").read_text().splitlines()
    for record in map(json.loads, lines):
        assert record["ibot"] > 0
        total = record["teacher_entropy"] + record["kl"]
        assert total == pytest.approx(record["loss"], abs=1e-4)
    assert '"Masked patches"' in (run.path / "report.html").read_text()


def test_the_network_of_a_run_has_no_mask_token(undisturbed):
    run, _ = undisturbed
    backbone = load_backbone(run.path)
    assert not any("mask" in weight.path for weight in backbone.weights)
    assert backbone.image_size == (32, 32)


def test_a_stopped_run_ends_in_the_same_bytes(undisturbed, tmp_path, monkeypatch):
    end = Saving.on_train_batch_end

    def send(self, index, logs=None):
        if (self.epoch, self.passed + index) == (0, 1):
            os.kill(os.getpid(), signal.SIGTERM)
            while self.stop.asked is None:
                time.sleep(0.01)
        end(self, index, logs)

    monkeypatch.setattr(Saving, "on_train_batch_end", send)
    said = []
    with pytest.raises(Interrupted):
        start(tmp_path, said)
    monkeypatch.undo()
    run = start(tmp_path, said)
    assert any("continuing" in line for line in said)
    whole = undisturbed[0].path
    for file in sorted((whole / "checkpoints").iterdir()):
        other = run.path / "checkpoints" / file.name
        assert file.read_bytes() == other.read_bytes(), file.name
    backbones = [folder / "backbone.keras" for folder in (whole, run.path)]
    assert backbones[0].read_bytes() == backbones[1].read_bytes()
