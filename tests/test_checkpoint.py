"""Checkpoints: nothing half, nothing lost, and resume equals uninterrupted."""

import errno
import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file

from dino_tf.checkpoint import Checkpoints, Place, _checksum_of, state_of
from dino_tf.dino import DINO
from dino_tf.errors import UserError
from dino_tf.loss import DINOLoss
from dino_tf.models.head import DINOHead
from dino_tf.models.vit import VisionTransformer
from dino_tf.optimizers import SGD, AdamW
from dino_tf.schedules import WarmupCosine


def tiny_model(seed=0, width=8, optimizer=None):
    keras.utils.set_random_seed(seed)
    vit = VisionTransformer(
        embed_dim=width,
        depth=2,
        num_heads=2,
        patch_size=8,
        image_size=16,
        drop_path_rate=0.5,
    )
    head = DINOHead(16, hidden_dim=8, bottleneck_dim=4)
    model = DINO(vit, head, DINOLoss(16), WarmupCosine(0.9, 1.0, 10))
    rate = WarmupCosine(1e-2, 1e-4, 10)
    model.compile(optimizer or AdamW(rate, 0.1), run_eagerly=True)
    return model


def batch(number):
    draw = np.random.default_rng(number)
    return {
        "global": tf.constant(draw.normal(size=(4, 2, 16, 16, 3)), "float32"),
        "local": tf.constant(draw.normal(size=(4, 1, 8, 8, 3)), "float32"),
    }


def train(model, numbers):
    return [float(model.train_on_batch(batch(n))) for n in numbers]


def state(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


def saved(folder, model, *places, **options):
    checkpoints = Checkpoints(folder, **options)
    for place in places:
        checkpoints.save(model, place)
        checkpoints.wait()
    return checkpoints


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_resume_equals_uninterrupted(tmp_path):
    whole = tiny_model()
    train(whole, [0, 1])
    # Saving and restoring must leave the saved model alone, too.
    saved(tmp_path, whole, Place(2))
    # Another start: other weights, other states of the random layers.
    resumed = tiny_model(seed=7)
    assert Checkpoints(tmp_path).restore(resumed) == Place(2)
    whole.reset_metrics()
    resumed.reset_metrics()
    assert train(resumed, [2, 3]) == train(whole, [2, 3])
    assert int(resumed.optimizer.iterations.numpy()) == 4
    # The two models may differ in the name of a variable, not in its value.
    for a, b in zip(state(resumed), state(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_saved_later_is_as_it_was_when_asked(tmp_path):
    model, checkpoints = tiny_model(), Checkpoints(tmp_path)
    before = state(model)
    checkpoints.save(model, Place(0, 1))
    for variable in model.student_backbone.trainable_variables:
        variable.assign(variable.value + 1.0)
    checkpoints.wait()
    other = tiny_model(seed=1)
    Checkpoints(tmp_path).restore(other)
    for a, b in zip(state(other), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_place_and_what_is_beside_it_come_back(tmp_path):
    place = Place(3, 17, {"seconds": 0.1, "unreadable": {"a\n": "half"}})
    saved(tmp_path, tiny_model(), place)
    assert Checkpoints(tmp_path).restore(tiny_model(seed=1)) == place
    assert [str(p) for p in (Place(), place)] == ["epoch 0", "epoch 3 and 17 steps"]


def test_center_teacher_seeds_and_gathered_numbers_come_back(tmp_path):
    model = tiny_model()
    train(model, [0])
    saved(tmp_path, model, Place(0, 1))
    other = tiny_model(seed=3)
    Checkpoints(tmp_path).restore(other)
    center = model.dino_loss.center.numpy()
    assert np.abs(center).max() > 0
    np.testing.assert_array_equal(other.dino_loss.center.numpy(), center)
    for a, b in zip(
        other.teacher_backbone.weights, model.teacher_backbone.weights, strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    seeds = [v for v in other.variables if v.path.endswith("seed_generator_state")]
    assert len(seeds) == 1  # the first block drops no path
    assert float(other.signals.sums.numpy()[-1]) == 1.0
    assert float(other.loss_tracker.result()) == float(model.loss_tracker.result()) > 0


def test_scale_of_float16_comes_back(tmp_path):
    def scaled():
        return keras.optimizers.LossScaleOptimizer(SGD(0.1), initial_scale=64.0)

    model = tiny_model(optimizer=scaled())
    train(model, [0])
    model.optimizer.dynamic_scale.assign(16.0)
    saved(tmp_path, model, Place(1))
    other = tiny_model(seed=1, optimizer=scaled())
    Checkpoints(tmp_path).restore(other)
    assert float(other.optimizer.dynamic_scale.numpy()) == 16.0


def test_equal_models_give_equal_bytes_that_safetensors_reads(tmp_path):
    for folder in ("a", "b"):
        model = tiny_model()
        train(model, [0])
        saved(tmp_path / folder, model, Place(1))
    one, other = (names(tmp_path / folder) for folder in ("a", "b"))
    assert one == other
    for name in one:
        bytes_of = [(tmp_path / folder / name).read_bytes() for folder in ("a", "b")]
        assert bytes_of[0] == bytes_of[1]
    arrays = load_file(tmp_path / "a" / "epoch-0001-step-000000.safetensors")
    assert len(arrays) == len(state_of(model, Place(1)))
    assert "00000/dino/backbone/cls_token" in arrays


def test_the_latest_and_every_nth_are_kept(tmp_path):
    model = tiny_model()
    places = [Place(1), Place(2), Place(3), Place(3, 5), Place(4), Place(5)]
    checkpoints = saved(tmp_path, model, *places, keep=2, keep_every=2)
    assert checkpoints.places() == [Place(2), Place(4), Place(5)]
    for step in (1, 2, 3):
        checkpoints.save(model, Place(5, step))
    checkpoints.wait()
    within = [Place(5, 2), Place(5, 3)]
    assert checkpoints.places() == [Place(2), Place(4), Place(5), *within]
    checkpoints.save(model, Place(6))
    checkpoints.wait()
    assert checkpoints.places() == [Place(n) for n in (2, 4, 5, 6)]
    assert names(tmp_path) == [
        f"epoch-000{n}-step-000000.{kind}"
        for n in (2, 4, 5, 6)
        for kind in ("json", "safetensors")
    ]


def test_half_a_checkpoint_is_passed_over(tmp_path):
    checkpoints = saved(tmp_path, tiny_model(), Place(3))
    # Interrupted while the weights were written, and before the JSON file was.
    stem = "epoch-0004-step-000000"
    (tmp_path / f"part-{stem}.safetensors").write_bytes(b"half")
    (tmp_path / f"{stem}.safetensors").write_bytes(b"whole, but not noted")
    (tmp_path / "epoch-x-step-y.json").write_text("{}")
    assert checkpoints.places() == [Place(3)]
    assert checkpoints.restore(tiny_model(seed=2)) == Place(3)


def test_an_empty_or_missing_folder_is_the_beginning(tmp_path):
    model = tiny_model()
    before = state(model)
    assert Checkpoints(tmp_path).restore(model) == Place()
    assert Checkpoints(tmp_path / "missing").restore(model) == Place()
    for a, b in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "other",
    [lambda: tiny_model(optimizer=SGD(0.1)), lambda: tiny_model(width=12)],
    ids=["optimizer", "network"],
)
def test_another_network_or_optimizer_is_refused(tmp_path, other):
    saved(tmp_path, tiny_model(), Place(1))
    model = other()
    before = state(model)
    with pytest.raises(UserError, match="of another network or optimizer"):
        Checkpoints(tmp_path).restore(model)
    for a, b in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(a, b)


def cut(weights, record):
    weights.write_bytes(weights.read_bytes()[:1000])


def flip(weights, record):
    whole = bytearray(weights.read_bytes())
    whole[-100] ^= 1
    weights.write_bytes(whole)


def empty(weights, record):
    record.write_text("")


def list_in_place(weights, record):
    record.write_text("[]")


def another_epoch(weights, record):
    record.write_text(record.read_text().replace('"epoch": 1', '"epoch": 2'))


def of_another_place(weights, record):
    facts = json.loads(record.read_text())
    facts.pop("record_sha256")
    facts["step"] = 3
    text = json.dumps(facts | {"record_sha256": _checksum_of(facts)})
    record.write_text(text)


def deep(weights, record):
    record.write_text("[" * 200_000)


@pytest.mark.parametrize(
    "damage", [cut, flip, empty, list_in_place, another_epoch, of_another_place, deep]
)
def test_the_one_before_takes_the_place_of_a_damaged_one(tmp_path, damage):
    model, said = tiny_model(), []
    saved(tmp_path, model, Place(1), Place(1, 4))
    stem = tmp_path / "epoch-0001-step-000004"
    damage(stem.with_suffix(".safetensors"), stem.with_suffix(".json"))
    checkpoints = Checkpoints(tmp_path, say=said.append)
    assert checkpoints.restore(tiny_model(seed=2)) == Place(1)
    (words,) = said
    assert words.startswith(f"{stem}.safetensors is damaged (")
    assert words.endswith("passed over") and "\n" not in words
    stem = tmp_path / "epoch-0001-step-000000"
    damage(stem.with_suffix(".safetensors"), stem.with_suffix(".json"))
    with pytest.raises(UserError, match="no checkpoint in .* is whole"):
        checkpoints.restore(tiny_model(seed=2))


def test_checkpoints_of_an_older_version_are_not_passed_over(tmp_path):
    (tmp_path / "epoch-0003.weights.h5").write_bytes(b"")
    with pytest.raises(UserError, match="of an older version"):
        Checkpoints(tmp_path).restore(tiny_model())


def test_a_full_disk_leaves_the_one_before(tmp_path, monkeypatch):
    model = tiny_model()
    checkpoints = saved(tmp_path, model, Place(1))
    before = names(tmp_path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    checkpoints.save(model, Place(2))
    with pytest.raises(OSError, match="No space left"):
        checkpoints.wait()
    assert names(tmp_path) == before
    monkeypatch.undo()
    assert Checkpoints(tmp_path).restore(tiny_model(seed=1)) == Place(1)


def test_a_folder_that_turns_read_only_keeps_what_it_holds(tmp_path, permissions_hold):
    model = tiny_model()
    checkpoints = saved(tmp_path, model, Place(1))
    before = names(tmp_path)
    tmp_path.chmod(0o500)
    checkpoints.save(model, Place(2))
    with pytest.raises(PermissionError, match="epoch-0002-step-000000.safetensors"):
        checkpoints.wait()
    assert names(tmp_path) == before
    assert checkpoints.restore(tiny_model(seed=1)) == Place(1)
    tmp_path.chmod(0o700)
    checkpoints.save(model, Place(2))
    checkpoints.wait()
    assert checkpoints.restore(tiny_model(seed=1)) == Place(2)


def test_a_checkpoint_that_may_not_be_read_is_passed_over(tmp_path, permissions_hold):
    said = []
    checkpoints = saved(tmp_path, tiny_model(), Place(1), Place(2), say=said.append)
    (tmp_path / "epoch-0002-step-000000.safetensors").chmod(0)
    assert checkpoints.restore(tiny_model(seed=1)) == Place(1)
    assert "epoch-0002" in said[0] and "Permission denied" in said[0]
