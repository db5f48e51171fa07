"""`Health` in `fit`: its numbers, its words, and six trainings that it must judge."""

import importlib.util
import math
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from dino_tf.datasets.arrays import ArraySource
from dino_tf.dino import DINO
from dino_tf.errors import UserError
from dino_tf.evaluate.watched import WatchedPhotos
from dino_tf.health import REMEDIES
from dino_tf.loss import DINOLoss
from dino_tf.models.head import DINOHead
from dino_tf.models.vit import VisionTransformer
from dino_tf.muon import Muon, matrix_parts
from dino_tf.optimizers import SGD, AdamW
from dino_tf.schedules import EpochLinear, WarmupCosine
from dino_tf.watch import IN_PYTHON, Health, settings_of


def tiny_model(optimizer=None):
    keras.utils.set_random_seed(0)
    vit = VisionTransformer(
        embed_dim=12, depth=1, num_heads=2, patch_size=8, image_size=16
    )
    model = DINO(vit, DINOHead(16, hidden_dim=12, bottleneck_dim=8), DINOLoss(16))
    model.compile(optimizer or SGD(0.1))
    return model


def views():
    draw = np.random.default_rng(0)
    arrays = {
        "global": draw.normal(size=(16, 2, 16, 16, 3)).astype("float32"),
        "local": draw.normal(size=(16, 1, 8, 8, 3)).astype("float32"),
    }
    data = tf.data.Dataset.from_tensor_slices(arrays)
    return data.batch(8, drop_remainder=True).repeat()


class Measures(WatchedPhotos):
    """Stands for photos: tells the number of the look."""

    def __init__(self):
        self.looks = []

    def measure(self, backbone):
        self.looks.append("features")
        return {"effective_rank": 5.0 + len(self.looks)}

    def objects(self, backbone):
        self.looks.append("objects")
        return {"discover/corloc": 50.0}


def fit(health, epochs=3, model=None):
    model = model or tiny_model()
    return model.fit(
        views(),
        epochs=epochs,
        steps_per_epoch=2,
        verbose=0,
        shuffle=False,
        callbacks=[health],
    ).history


def test_numbers_join_the_history():
    health = Health(Measures(), every=2, objects_every=3, say=None)
    history = fit(health)
    assert history["uniform_loss"] == [pytest.approx(math.log(16))] * 3
    sums = np.add(history["teacher_entropy"], history["kl"])
    np.testing.assert_allclose(sums, history["loss"], atol=1e-5)
    assert history["step"] == [2, 4, 6]
    assert health.photos.looks == ["features", "objects"]
    assert [r.get("effective_rank") for r in health.records] == [None, 6.0, None]
    assert history["discover/corloc"] == [50.0]
    assert health.records[-1]["weight_growth"] == pytest.approx(1, abs=0.2)
    norms = [float(tf.norm(v.value)) for v in health.model.trainable_variables]
    assert history["weight_norm"][-1] == pytest.approx(np.linalg.norm(norms), rel=1e-5)


def test_what_muon_moves_is_no_part_of_the_norm():
    model = tiny_model()
    parts = matrix_parts(model, model.student_backbone)
    model.compile(Muon(1e-4, parts=parts, matrix_rate=1.0))
    health = Health(say=None)
    history = fit(health, model=model)
    pairs = zip(model.trainable_variables, parts, strict=True)
    expected = np.linalg.norm([float(tf.norm(v.value)) for v, n in pairs if not n])
    assert history["weight_norm"][-1] == pytest.approx(expected, rel=1e-5)
    # Its matrices are many times as long as they were.
    assert max(history["weight_growth"]) < 1.01 and health.verdict == "starting"


def test_what_is_said():
    said = []
    health = Health(say=said.append, settings={"optimizer.lr": 0.0})
    # Stands still for the third time after 60 steps.
    model = tiny_model(SGD(0.0))
    model.optimizer.iterations.assign(60)
    fit(health, epochs=5, model=model)
    assert [text.split(":")[0] for text in said] == [
        "starting",
        "starting",
        "flat",
        "Flat",
        "flat",
        "flat",
    ]
    assert "--optimizer.lr (now 0.0)" in said[3]
    assert health.verdict == "flat" and health.advice[0].startswith("Flat")
    assert all(len(line) <= 80 for text in said for line in text.splitlines())


def test_advice_in_fit_is_of_the_model_and_in_its_words():
    keras.utils.set_random_seed(0)
    model = tiny_model(SGD(WarmupCosine(0.0, 0.0, 6, 2)))
    model.dino_loss.teacher_temp = EpochLinear(0.05, 0.08, 2, 2)
    assert settings_of(model, 2) == {
        "head.norm_last_layer": True,
        "head.out_dim": 16,
        "loss.centering": "center",
        "loss.koleo_weight": 0.0,
        "loss.center_momentum": 0.9,
        "loss.teacher_temp": 0.08,
        "loss.warmup_teacher_temp": 0.05,
        "optimizer.clip_grad": 3.0,
        "optimizer.freeze_last_layer_epochs": 0.0,
        "optimizer.lr": 0.0,
        "optimizer.teacher_momentum": 0.996,
        "optimizer.warmup_epochs": 1.0,
        "run.precision": "float32",
    }
    model.optimizer.iterations.assign(60)
    health = Health(say=None)
    fit(health, model=model)
    assert health.advice[1:] == [
        "raise the learning rate: learning_rate of the optimizer (now 0.0)",
        "lower the teacher's momentum: teacher_momentum of DINO (now 0.996)",
        "let the prototypes have lengths (false): norm_last_layer of DINOHead "
        "(now True)",
    ]
    assert set(settings_of(model, 2)) < set(IN_PYTHON)
    told = {option for rows in REMEDIES.values() for _, option, _ in rows}
    assert told == set(IN_PYTHON)


def test_photos_are_looked_at_as_large_as_the_network_was_made_for():
    photos = ArraySource([np.full((40, 50, 3), n, np.uint8) for n in range(3)])
    for size, side in ((None, 16), (24, 24)):
        health = Health(photos, say=None, size=size)
        fit(health, 1)
        assert health.photos.size == health.photos.object_size == side
        assert health.records[-1]["effective_rank"] >= 1
    large = VisionTransformer(
        embed_dim=12, depth=1, num_heads=2, patch_size=14, image_size=518
    )
    model = DINO(large, DINOHead(16, hidden_dim=12, bottleneck_dim=8), DINOLoss(16))
    model.compile(SGD(0.1))
    health = Health(photos, say=None)
    health.set_model(model)
    health.on_train_begin()
    assert health.photos.size == 224


@pytest.mark.parametrize("arguments", [(None, 32), (Measures(), 32), ([1], 0)])
def test_a_size_is_of_a_source(arguments):
    with pytest.raises(UserError, match=f"size is {arguments[1]}; allowed: 1 or more"):
        Health(arguments[0], size=arguments[1])


def test_records_of_an_earlier_start_count():
    model = tiny_model(SGD(0.0))
    model.optimizer.iterations.assign(60)
    health = Health(say=None)
    fit(health, 2, model)
    assert health.verdict == "starting"
    again = Health(say=None, records=health.records)
    fit(again, 1, model)
    assert (again.verdict, len(again.records)) == ("flat", 3)


def test_lines_wait_for_the_end_of_the_progress_line(capsys):
    model = tiny_model()
    model.fit(views(), epochs=2, steps_per_epoch=2, verbose=1, callbacks=[Health()])
    text = capsys.readouterr().out
    assert text.index("starting: ") > text.index("2/2")
    assert text.index("starting: ") < text.index("Epoch 2/2")
    assert text.rstrip().splitlines()[-1].startswith("starting: loss")


@pytest.mark.slow
def test_two_replicas_tell_what_one_does(strategy):
    alone = Health(say=None)
    fit(alone)
    with strategy.scope():
        model = tiny_model(SGD(0.1))
    both = Health(say=None)
    fit(both, model=model)
    for one, other in zip(alone.records, both.records, strict=True):
        # Each replica has a mean answer of its own.
        one.pop("batch_entropy"), other.pop("batch_entropy")
        assert one == pytest.approx(other, rel=2e-3, abs=1e-3)


def test_other_models_and_numbers_are_refused():
    with pytest.raises(UserError, match="every is 0"):
        Health(every=0)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(UserError, match="got Sequential, allowed: DINO"):
        model.fit(np.zeros((4, 2)), np.zeros((4, 1)), callbacks=[Health()], verbose=0)


@pytest.fixture(scope="module")
def six_runs():
    path = Path(__file__).parent / "programs" / "six_runs.py"
    spec = importlib.util.spec_from_file_location("six_runs", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["six_runs"] = module
    spec.loader.exec_module(module)
    return module


HARD = {"views": {}, "rate": 2e-3}
UNIFORM, ONE = "collapsing to uniform", "collapsing to one prototype"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "learning"),
        ({"teacher_temp": 1.0}, UNIFORM),
        ({"center_momentum": 1.0, **HARD}, ONE),
        ({"teacher_temp": 0.1, **HARD}, UNIFORM),
        ({"rate": 0.1}, "diverging"),
        ({"rate": 0.0}, "flat"),
    ],
    ids=["healthy", "warm", "no_center", "no_sharpening", "rate_x_100", "frozen"],
)
def test_six_runs_get_the_right_verdict(six_runs, changes, verdict):
    health = six_runs.watched_run(**changes)
    verdicts = [record["verdict"] for record in health.records]
    assert verdicts[-1] == verdict
    assert set(verdicts) <= {"starting", verdict}
    assert verdicts[-3:] == [verdict] * 3


@pytest.mark.slow
def test_adamw_of_keras_is_watched_too():
    health = Health(say=None)
    fit(health, model=tiny_model(keras.optimizers.AdamW(1e-3)))
    assert health.records[-1]["learning_rate"] == pytest.approx(1e-3)
    assert isinstance(health.model.optimizer, keras.optimizers.AdamW | AdamW)
