"""Options from other programs, end to end: runs that stop, go on, start from one."""

import signal

import numpy as np
import pytest

from dino_tf.config import Config
from dino_tf.errors import Interrupted
from dino_tf.models.loading import load_backbone
from dino_tf.saving import Saving
from dino_tf.training import train

SETTINGS = {
    "data": "scenes:40",
    "preset": "quickstart",
    "pipeline": {"batch_size": 8, "workers": 1},
    "views": {"global_size": 32, "local_size": 16, "num_local": 1},
    "model": {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3},
    "head": {"out_dim": 32, "hidden_dim": 32, "bottleneck_dim": 16},
    "run": {
        "name": "run",
        "epochs": 1,
        "attention_photos": 1,
        "attention_size": 32,
        "attention_every": 0,
        "eval_size": 32,
        "health_photos": 0,
        "report_every": 0,
        "tensorboard": False,
    },
}
NEW = ("centering", "koleo_weight", "lr_scaling", "layer_decay", "patch_embed_lr")
NEW += ("freeze_patch_embed", "freeze_blocks", "freeze_backbone_epochs")
NEW += ("layer_scale", "init")


def config_of(folder, **changes):
    flat = {**Config.from_dict(SETTINGS).flatten(), **changes}
    flat["run.result_dir"] = str(folder)
    return Config.from_dict({k: v for k, v in flat.items() if v is not None})


def quiet(text):
    """Takes the place of `print`."""


def stop_after(monkeypatch, steps):
    """Stops a training once it has done so many steps."""
    end, done = Saving.on_train_batch_end, []

    def ask(self, index, logs=None):
        done.append(index)
        if len(done) == steps:
            self.stop.asked = signal.SIGTERM
        end(self, index, logs)

    monkeypatch.setattr(Saving, "on_train_batch_end", ask)


@pytest.mark.slow
def test_a_folder_of_a_time_before_the_options_goes_on(tmp_path, monkeypatch):
    stop_after(monkeypatch, 2)
    with pytest.raises(Interrupted):
        train(config_of(tmp_path), quiet)
    monkeypatch.undo()
    file = tmp_path / "run" / "config.yaml"
    lines = file.read_text().splitlines(keepends=True)
    old = [
        x for x in lines if not x.startswith("  ") or x.split(":")[0].strip() not in NEW
    ]
    assert len(lines) - len(old) == len(NEW)
    file.write_text("".join(old))
    said = []
    run = train(config_of(tmp_path), said.append)
    assert run.path.name == "run" and any("continuing" in text for text in said)


@pytest.mark.slow
def test_front_of_the_weights_that_a_run_starts_from_stays(tmp_path):
    first = train(config_of(tmp_path / "first", **{"model.layer_scale": 0.1}), quiet)
    start = load_backbone(first.path)
    changes = {"init": str(first.path), "optimizer.freeze_blocks": 1}
    second = train(config_of(tmp_path / "second", **changes), quiet)
    assert second.config.model.layer_scale == 0.1
    end = load_backbone(second.path)
    moved = {
        a.path.partition("/")[2]
        for a, b in zip(start.weights, end.weights, strict=True)
        if np.any(a.numpy() != b.numpy())
    }
    assert moved and all(p.startswith(("blocks.1/", "norm/")) for p in moved)
