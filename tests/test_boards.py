"""Numbers and pictures on TensorBoard and, by a stand-in, Weights & Biases."""

import sys
import types

import keras
import numpy as np
import pytest
from PIL import Image

from dino_tf import boards
from dino_tf.errors import UserError
from dino_tf.run_folder import RunFolder


@pytest.fixture
def sheets(tmp_path):
    paths = []
    for number in range(6):
        paths.append(tmp_path / f"photo{number}.png")
        pixels = np.full((30, 2400, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_pictures_on_tensorboard(tmp_path, sheets):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    send = boards.TensorBoardPictures(tmp_path / "board")
    send.close({})  # nothing was begun
    send(sheets, 5)
    send.close({})
    found = EventAccumulator(str(tmp_path / "board" / "pictures")).Reload()
    tags = found.Tags()["tensors"]
    assert tags == [f"pictures/photo{n}" for n in range(4)]
    (event,) = found.Tensors("pictures/photo3")
    # Keras counts epochs from 0; the longer side is at most 1,200 pixels.
    assert event.step == 4
    assert event.tensor_proto.string_val[:2] == [b"1200", b"15"]


class FakeRun:
    def __init__(self, project):
        self.logged, self.summary, self.finished = [], {}, False
        self.project = project

    def log(self, numbers):
        self.logged.append(numbers)

    def finish(self):
        self.finished = True


@pytest.fixture
def wandb(monkeypatch):
    """A module with the functions of wandb that are used, and what it was asked."""
    module = types.ModuleType("wandb")
    module.asked = []

    def init(**arguments):
        module.asked.append(arguments)
        return FakeRun(arguments["project"])

    class WandbMetricsLogger(keras.callbacks.Callback):
        pass

    module.init, module.Image = init, lambda pixels: pixels.shape
    module.integration = types.ModuleType("wandb.integration")
    module.integration.keras = types.ModuleType("wandb.integration.keras")
    module.integration.keras.WandbMetricsLogger = WandbMetricsLogger
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setitem(sys.modules, "wandb.integration", module.integration)
    monkeypatch.setitem(
        sys.modules, "wandb.integration.keras", module.integration.keras
    )
    return module


def test_weights_and_biases(tmp_path, sheets, wandb):
    folder = RunFolder(tmp_path / "voc")
    sender = boards.WeightsAndBiases("team/dino", folder, {"data": "scenes"})
    (asked,) = wandb.asked
    assert (asked["project"], asked["entity"]) == ("dino", "team")
    assert (asked["name"], asked["resume"]) == ("voc", "allow")
    assert asked["config"] == {"data": "scenes"}
    assert isinstance(sender.callback(), keras.callbacks.Callback)
    sender(sheets, 3)
    (logged,) = sender.run.logged
    assert logged.pop("epoch/epoch") == 2
    assert logged == {f"pictures/photo{n}": (15, 1200, 3) for n in range(4)}
    sender.close({"loss": 5.0})
    assert sender.run.finished and sender.run.summary == {"loss": 5.0}


def test_a_training_that_goes_on_is_the_same_run(tmp_path, wandb):
    folder = RunFolder(tmp_path / "voc")
    for _ in range(2):
        boards.WeightsAndBiases("dino", folder, {})
    first, second = wandb.asked
    assert first["id"] == second["id"] and first["entity"] is None


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="run.wandb needs: pip install wandb"):
        boards.import_wandb()


def test_refused_start_is_one_line(tmp_path, wandb):
    def refuse(**arguments):
        raise RuntimeError("no key\nsecond line")

    wandb.init = refuse
    with pytest.raises(UserError, match=r"dino cannot be begun \(no key\)"):
        boards.WeightsAndBiases("dino", RunFolder(tmp_path), {})


def test_a_full_disk_is_told_as_such(tmp_path):
    import tensorflow as tf

    words = f"{tmp_path}/events.v2; No space left on device\n Failed to flush"
    full = tf.errors.ResourceExhaustedError(None, None, words)
    with pytest.raises(OSError, match="No space left on device: '.*board'"):
        boards.tell_full_disk(full, tmp_path / "board")
    boards.tell_full_disk(tf.errors.ResourceExhaustedError(None, None, "GPU"), "board")
    boards.tell_full_disk(OSError(28, "No space left on device", "a"), "board")
