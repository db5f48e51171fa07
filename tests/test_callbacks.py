"""Callbacks beside the training, with models and clocks made for the test."""

import itertools
import json
import logging
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from dino_tf import callbacks
from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import Diverged, UserError
from dino_tf.muon import Muon
from dino_tf.optimizers import AdamW
from dino_tf.run_folder import RunFolder
from dino_tf.schedules import EpochLinear, WarmupCosine


def fake_model(optimizer=None, step=3):
    optimizer = optimizer or AdamW(WarmupCosine(1.0, 0.0, 10, 5), 0.04)
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    inner.iterations.assign(step)
    return SimpleNamespace(
        optimizer=optimizer,
        teacher_momentum=0.99,
        dino_loss=SimpleNamespace(teacher_temp=EpochLinear(0.04, 0.07, 4, 1)),
    )


def attached(callback, model=None):
    callback.set_model(model or fake_model())
    return callback


@pytest.fixture
def clock(monkeypatch):
    """Makes every look at the clock one second later than the one before."""
    seconds = itertools.count(100.0)
    fake = SimpleNamespace(perf_counter=lambda: next(seconds))
    monkeypatch.setattr(callbacks, "time", fake)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), np.float32("nan")])
def test_stops_when_the_loss_is_not_finite(loss):
    callback = attached(callbacks.StopWhenNotFinite())
    callback.on_train_batch_end(0, {"loss": 5.5})
    callback.on_train_batch_end(1, None)
    with pytest.raises(Diverged, match="at step 3: training stopped"):
        callback.on_train_batch_end(2, {"loss": loss})


def test_a_loss_that_is_no_number_names_the_rate_of_muon():
    callback = attached(callbacks.StopWhenNotFinite())
    callback.model.optimizer = Muon(0.1)
    with pytest.raises(Diverged, match="--optimizer.lr, --optimizer.muon_lr, --run"):
        callback.on_train_batch_end(0, {"loss": float("nan")})


def test_throughput_leaves_the_first_step_out(clock):
    callback = callbacks.Throughput(batch_size=64)
    callback.on_epoch_begin(0)
    logs = [{}, {}, {}]
    for number, log in enumerate(logs):
        callback.on_train_batch_end(number, log)
    # The clock starts after the first step; then 64 in 1 second, 128 in 2.
    assert logs == [{}, {"images_per_second": 64.0}, {"images_per_second": 64.0}]
    log = {}
    callback.on_epoch_end(0, log)
    assert log == {"images_per_second": 42.7}


def test_throughput_of_an_epoch_of_one_step(clock):
    callback, log = callbacks.Throughput(8), {}
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(0, log)
    callback.on_epoch_end(0, log)
    assert log == {}


def test_record_of_an_epoch(tmp_path, clock):
    folder, said, finished = RunFolder(tmp_path), [], []
    logger = logging.getLogger("test_record_of_an_epoch")
    callback = callbacks.EpochRecord(
        folder,
        logger,
        epochs=3,
        measure=lambda epoch, model: {"knn/top1_k20": 50.0 + epoch, "advice": []},
        say=said.append,
        finish=finished.append,
    )
    attached(callback)
    logs = [{"loss": 5.0 - epoch} for epoch in range(3)]
    for epoch in range(3):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, logs[epoch])
    assert finished == folder.read_metrics()
    # Callbacks that come later find the numbers, and nothing but numbers.
    assert logs[2]["knn/top1_k20"] == 53.0 and "advice" not in logs[2]
    first, second, third = folder.read_metrics()
    assert first == {
        "epoch": 1,
        "step": 3,
        "learning_rate": pytest.approx(0.5),
        "weight_decay": 0.04,
        "teacher_momentum": 0.99,
        "teacher_temp": pytest.approx(0.06),
        "loss": 5.0,
        "seconds": 1.0,
        "knn/top1_k20": 51.0,
        "advice": [],
    }
    assert (second["epoch"], third["loss"]) == (2, 3.0)
    # An epoch takes two looks at the clock; after the last nothing is left.
    assert said == ["about 4 s left", "about 2 s left"]


def test_record_is_plain_json(tmp_path):
    folder = RunFolder(tmp_path)
    logger = logging.getLogger("test_record_is_plain_json")
    callback = callbacks.EpochRecord(folder, logger, 1, lambda e, m: {}, print)
    attached(callback)
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {"loss": 5.0})
    assert json.loads(folder.metrics.read_text())["epoch"] == 1


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay"),
    [
        # Step 2 is the last that was done.
        (lambda: AdamW(WarmupCosine(1, 0, 10, 5), WarmupCosine(0, 1, 4)), 0.5, 0.5),
        (lambda: AdamW(0.1, 0.2), 0.1, 0.2),
        (lambda: keras.optimizers.AdamW(0.1, weight_decay=0.3), 0.1, 0.3),
        (lambda: keras.optimizers.SGD(0.1), 0.1, 0.0),
        (lambda: keras.optimizers.LossScaleOptimizer(AdamW(0.1, 0.2)), 0.1, 0.2),
    ],
    ids=["schedules", "numbers", "keras_adamw", "no_decay", "float16"],
)
def test_values_of_schedules(optimizer, rate, decay):
    values = callbacks.schedule_values(fake_model(optimizer()))
    assert values["step"] == 3
    assert values["learning_rate"] == pytest.approx(rate)
    assert values["weight_decay"] == pytest.approx(decay)
    assert all(type(value) in (int, float) for value in values.values())


@pytest.mark.parametrize(("every", "acted"), [(0, []), (1, [1, 2, 3, 4]), (3, [3])])
def test_acts_every_few_epochs(every, acted):
    numbers = []
    model = fake_model()
    callback = attached(
        callbacks.Every(every, lambda epoch, given: numbers.append((epoch, given))),
        model,
    )
    for epoch in range(4):
        callback.on_epoch_end(epoch)
    assert numbers == [(epoch, model) for epoch in acted]


class ColourFeatures(keras.Model):
    """Trained by nothing; its features are the first pixel's colour."""

    def __init__(self):
        super().__init__()
        self.weight = self.add_weight((1,), name="weight")

    def call(self, images, training=None):
        return images[:, 0, 0] + 0 * self.weight


def coloured(count, seed):
    labels = np.arange(count) % 3
    images = np.random.default_rng(seed).integers(0, 60, (count, 16, 16, 3))
    images[np.arange(count), :, :, labels] += 180
    return ArraySource(images.astype(np.uint8), labels)


def test_evaluations_join_the_history_of_fit():
    data = coloured(30, 0), coloured(9, 1)
    tasks = {"knn": {"k": [3], "size": 16}}
    model = ColourFeatures()
    model.compile("sgd", loss="mse")
    images, targets = np.zeros((4, 16, 16, 3)), np.zeros((4, 3))
    evaluate = callbacks.EvaluateEvery(tasks, data, every=2)
    history = model.fit(images, targets, epochs=4, callbacks=[evaluate], verbose=0)
    assert history.history["knn/top1_k3"] == [100.0, 100.0]
    assert len(history.history["loss"]) == 4


def test_the_teacher_is_evaluated():
    evaluate = callbacks.EvaluateEvery({"knn": {"k": [3], "size": 16}}, coloured(30, 0))
    evaluate.set_model(SimpleNamespace(teacher_backbone=ColourFeatures()))
    logs = {}
    evaluate.on_epoch_end(0, logs)
    assert logs == {"knn/top1_k3": 100.0, "knn/top5_k3": 100.0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("kmm", coloured(3, 0)), "no task 'kmm'"),
        (({"knn": {"n": 3}}, coloured(3, 0)), "allowed: size, k, temperature"),
        (("knn", coloured(3, 0), 0), "every is 0"),
    ],
)
def test_wrong_evaluations_are_named_before_training(arguments, words):
    with pytest.raises(UserError) as error:
        callbacks.EvaluateEvery(*arguments)
    assert words in str(error.value)


def test_missing_labels_are_named_before_training():
    images = np.zeros((3, 16, 16, 3), np.uint8)
    evaluate = callbacks.EvaluateEvery("knn", ArraySource(images))
    evaluate.set_model(ColourFeatures())
    with pytest.raises(UserError, match="missing is labelled photos"):
        evaluate.on_train_begin()
