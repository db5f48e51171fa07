"""The main job end to end, on a network of a few thousand weights."""

import errno
import json
import os
import signal
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image

from dino_tf.checkpoint import Checkpoints, Place
from dino_tf.config import Config, Model
from dino_tf.errors import Diverged, Interrupted, UserError
from dino_tf.initial import evaluation_size
from dino_tf.models.loading import load_backbone
from dino_tf.run_lock import only_writer
from dino_tf.run_pictures import watch_list
from dino_tf.saving import Saving
from dino_tf.training import train

TINY = {
    "data": "scenes:40",
    "preset": "quickstart",
    "pipeline": {"batch_size": 8, "workers": 1},
    "views": {"global_size": 32, "local_size": 16, "num_local": 2},
    "model": {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3},
    "head": {"out_dim": 32, "hidden_dim": 32, "bottleneck_dim": 16},
    "run": {
        "epochs": 2,
        "attention_photos": 2,
        "attention_size": 32,
        "attention_every": 1,
        "eval_size": 32,
        "tensorboard": False,
    },
}


# For runs whose pictures, or also whose health, are not looked at.
UNDRAWN = {"attention_every": 0, "attention_photos": 0, "report_every": 0}
UNDRAWN = {f"run.{key}": value for key, value in UNDRAWN.items()}
BARE = {**UNDRAWN, "run.health_photos": 0}


def tiny(tmp_path, **changes):
    settings = {k: dict(v) if isinstance(v, dict) else v for k, v in TINY.items()}
    settings["run"]["result_dir"] = str(tmp_path / "result")
    flat = {**Config.from_dict(settings).flatten(), **changes}
    return Config.from_dict({k: v for k, v in flat.items() if v is not None})


def quiet(text):
    """Takes the place of `print`."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("finished")
    said = []
    run = train(tiny(tmp_path, **{"run.tensorboard": True}), said.append)
    return run, "\n".join(said)


def records(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_run_folder_holds_everything(finished):
    run, _ = finished
    names = {p.name for p in run.path.iterdir()}
    assert names == {
        ".lock",
        "config.yaml",
        "train.log",
        "metrics.jsonl",
        "tensorboard",
        "checkpoints",
        "attention",
        "backbone.keras",
        "summary.json",
        "report.html",
    }
    assert [r["epoch"] for r in records(run.path)] == [1, 2]
    assert Checkpoints(run.path / "checkpoints").places() == [Place(1), Place(2)]


def test_the_report_says_that_the_run_is_finished(finished):
    run, _ = finished
    page = (run.path / "report.html").read_text()
    assert "Finished after 2 epochs" in page and "Not finished" not in page


def test_attention_pictures_are_written(finished):
    run, _ = finished
    folder = run.path / "attention"
    sheets = sorted(folder.glob("*.png"))
    assert len(sheets) == 2
    singles = {p.name for p in (folder / sheets[0].stem).iterdir()}
    assert {"original.png", "attention_mean.png", "attention_head2.png"} <= singles
    assert {"mask.png", "masked.png"} <= singles
    assert len(list((folder / "epoch-0001").glob("*.png"))) == 2
    assert np.asarray(Image.open(sheets[0])).std() > 10


def test_summary_has_loss_knn_and_time(finished):
    run, said = finished
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary == run.summary
    assert 0 < summary["loss"] < 10
    assert 0 <= summary["knn/top1_k20"] <= 100
    assert 0 <= summary["untrained/knn/top1_k20"] <= 100
    assert 0 < summary["training_seconds"] < summary["seconds"]
    assert "knn/top1_k20" in said and str(run.path) in said


def test_choices_are_said_with_their_reason(finished):
    run, said = finished
    reason = "a batch part of 8 photos fits the memory"
    assert reason in " ".join(said.split())
    text = (run.path / "config.yaml").read_text()
    assert f"# {reason}\n  accumulate_steps: 1" in text
    assert Config.from_yaml(run.path / "config.yaml").head.out_dim == 32
    assert "of training" in said


def test_saved_backbone_is_the_teacher(finished):
    run, _ = finished
    images = np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype("float32")
    np.testing.assert_allclose(
        load_backbone(run.path)(images),
        run.model.teacher_backbone(images),
        atol=1e-5,
    )


def test_schedules_are_recorded(finished):
    run, _ = finished
    first, last = records(run.path)
    assert first["learning_rate"] > last["learning_rate"] > 0
    assert 0.04 < first["weight_decay"] < last["weight_decay"] <= 0.4
    assert first["teacher_momentum"] < last["teacher_momentum"] <= 1
    assert last["step"] == 10


def test_health_is_recorded(finished):
    run, said = finished
    for record in records(run.path):
        assert {
            "uniform_loss",
            "teacher_entropy",
            "kl",
            "prototypes_used",
            "center_norm",
            "gradient_norm",
            "feature_std",
            "effective_rank",
            "views/matched",
            "views/chance",
            "discover/corloc",
            "segment/jaccard",
            "knn/watched_top1",
        } <= record.keys()
        total = record["teacher_entropy"] + record["kl"]
        assert total == pytest.approx(record["loss"], abs=1e-4)
        # Ten steps are too few to tell.
        assert (record["verdict"], record["advice"]) == ("starting", [])
    assert run.summary["verdict"] == "starting" and run.summary["best"] is None
    assert said.count("\nstarting: loss ") == 2 and "  verdict: starting" in said


def test_tensorboard_has_numbers_and_pictures(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = finished
    found = {
        name: EventAccumulator(str(run.path / "tensorboard" / name)).Reload().Tags()
        for name in ("train", "pictures")
    }
    scalars = set(found["train"]["tensors"])
    assert {"epoch_loss", "epoch_kl", "epoch_knn/watched_top1"} <= scalars
    assert {"epoch_learning_rate", "epoch_effective_rank"} <= scalars
    assert len(found["pictures"]["tensors"]) == 2


def test_the_best_network_is_kept_and_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("dino_tf.watch.judge", lambda records, out_dim: "learning")
    run = train(tiny(tmp_path, **UNDRAWN), quiet)
    facts = json.loads((run.path / "best" / "best.json").read_text())
    values = [r["knn/watched_top1"] for r in records(run.path)]
    assert facts["value"] == max(values) and run.summary["best"] == facts
    assert facts["epoch"] == len(values) - values[::-1].index(max(values))
    assert load_backbone(run.path / "best").built
    # It is evaluated as the run is.
    network = run.model.teacher_backbone
    assert evaluation_size(run.path / "best", network) == 32


def test_finished_run_is_not_overwritten(finished):
    run, _ = finished
    before = (run.path / "summary.json").read_bytes()
    config = tiny(run.path.parent.parent, **BARE, **{"run.epochs": 1})
    second = train(config, quiet)
    assert second.path.name == f"{run.path.name}-2"
    assert (run.path / "summary.json").read_bytes() == before


TIMES = ("seconds", "images_per_second")


def without_times(folder):
    return [{k: v for k, v in r.items() if k not in TIMES} for r in records(folder)]


def same_files(one, other, *names):
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def stop_at(monkeypatch, epoch, batch, number=signal.SIGTERM):
    """A signal comes after a batch of an epoch, both counted from 0."""
    end = Saving.on_train_batch_end

    def send(self, index, logs=None):
        if (self.epoch, self.passed + index) == (epoch, batch):
            os.kill(os.getpid(), number)
            while self.stop.asked is None:
                time.sleep(0.01)
        end(self, index, logs)

    monkeypatch.setattr(Saving, "on_train_batch_end", send)


@pytest.mark.parametrize(("epoch", "batch"), [(0, 1), (1, 0)])
def test_a_stopped_run_ends_in_the_bytes_of_one_that_was_not(
    undisturbed, tmp_path, monkeypatch, epoch, batch
):
    stop_at(monkeypatch, epoch, batch)
    config, said = tiny(tmp_path, **{"run.name": "parts"}), []
    keras.utils.clear_session()
    with pytest.raises(Interrupted, match=f"SIGTERM after epoch {epoch}"):
        train(config, said.append)
    assert any("SIGTERM: stopping after this step" in line for line in said)
    folder = tmp_path / "result" / "parts"
    assert not (folder / ".holder.json").exists()
    monkeypatch.undo()
    keras.utils.clear_session()
    parts = train(config, said.append)
    assert any("continuing" in line for line in said)
    assert parts.path == folder
    assert without_times(folder) == without_times(undisturbed)
    checkpoints = sorted(p.name for p in (undisturbed / "checkpoints").iterdir())
    same_files(undisturbed / "checkpoints", folder / "checkpoints", *checkpoints)
    same_files(undisturbed, folder, "backbone.keras")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Folder of a run that nothing stopped."""
    keras.utils.clear_session()  # names of layers are numbered anew
    folder = tmp_path_factory.mktemp("whole")
    return train(tiny(folder, **{"run.name": "whole"}), quiet).path


def test_two_runs_of_one_seed_end_in_the_same_bytes(undisturbed, tmp_path):
    keras.utils.clear_session()
    again = train(tiny(tmp_path, **{"run.name": "whole"}), quiet).path
    files = [p.relative_to(undisturbed) for p in undisturbed.rglob("*") if p.is_file()]
    kept = [f for f in files if f.suffix in (".safetensors", ".json", ".png", ".keras")]
    assert len(kept) > 20
    same_files(undisturbed, again, *(f for f in kept if f.name != "summary.json"))
    assert without_times(again) == without_times(undisturbed)


def test_a_run_that_is_being_written_is_left_alone(tmp_path):
    config = tiny(tmp_path, **{"run.name": "one"})
    folder = tmp_path / "result" / "one"
    folder.mkdir(parents=True)
    with only_writer(folder):
        with pytest.raises(UserError, match=f"written by process {os.getpid()} on"):
            train(config, quiet)
        assert not (folder / "config.yaml").exists()


def test_a_full_disk_stops_the_run_and_it_goes_on(tmp_path, monkeypatch):
    sync, calls = os.fsync, []

    def full(descriptor):
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        calls.append(name)
        if "part-epoch-0002" in name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    config = tiny(tmp_path, **BARE, **{"run.name": "full"})
    with pytest.raises(OSError, match="No space left"):
        train(config, quiet)
    monkeypatch.undo()
    assert "No space left" in (tmp_path / "result/full/train.log").read_text()
    said = []
    train(config, said.append)
    assert any("continuing" in line and "after epoch 1" in line for line in said)


def test_missing_package_is_named_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="run.wandb needs: pip install wandb"):
        train(tiny(tmp_path, **{"run.wandb": "dino"}), quiet)
    assert not (tmp_path / "result").exists()


def test_no_photo_needs_to_be_watched(tmp_path):
    run = train(tiny(tmp_path, **BARE, **{"run.epochs": 1}), quiet)
    assert "effective_rank" not in records(run.path)[0]
    assert records(run.path)[0]["verdict"] == "starting"


def test_unfinished_run_with_other_settings_is_refused(tmp_path, monkeypatch):
    stop_at(monkeypatch, 0, 0)
    name = {"run.name": "one", "run.health_photos": 0, "run.report_every": 0}
    with pytest.raises(Interrupted):
        train(tiny(tmp_path, **name), quiet)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"run.seed 0 -> 5.*allowed: the same"):
        train(tiny(tmp_path, **name, **{"run.seed": 5}), quiet)
    changes = {"run.attention_photos": 1, "run.tensorboard": False}
    with pytest.raises(UserError, match="allowed: --run.accept_changes true"):
        train(tiny(tmp_path, **name, **changes), quiet)
    accept = {"run.accept_changes": True}
    with pytest.raises(UserError, match=r"attention_photos.* alone would do"):
        train(tiny(tmp_path, **name, **changes, **accept, **{"run.seed": 5}), quiet)
    run = train(tiny(tmp_path, **name, **changes, **accept), quiet)
    assert run.path.name == "one" and run.config.run.attention_photos == 1


def test_divergence_stops_with_its_own_error(tmp_path):
    config = tiny(tmp_path, **{"optimizer.lr": 1e30, "optimizer.clip_grad": 0.0})
    said = []
    with pytest.raises(Diverged, match="the loss is"):
        train(config, said.append)
    folder = next((tmp_path / "result").iterdir())
    last = records(folder)[-1]
    assert last["verdict"] == "diverging" and "loss" not in last
    assert any("--optimizer.lr (now 1e+30)" in text for text in said)
    assert "Diverged" in (folder / "train.log").read_text()
    assert not (folder / "summary.json").exists()


def photos(folder, good, bad):
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i in range(good):
        pixels = draw.integers(0, 255, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"good {i}.jpg")
    for i in range(bad):
        (folder / f"bad{i}.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return f"folder:{folder}"


def test_unreadable_photos_are_counted_and_named(tmp_path):
    data = photos(tmp_path / "photos", 17, 1)
    config = tiny(tmp_path, data=data, **{"run.epochs": 2})
    run = train(config, quiet)
    assert run.summary["unreadable"] == 1
    assert (run.path / "train.log").read_text().count(
        "over: bad0"
    ) == 1  # in two epochs
    assert not any(k.startswith("knn/") for k in run.summary)


def test_too_many_unreadable_photos_stop_the_run(tmp_path):
    data = photos(tmp_path / "photos", 8, 8)
    config = tiny(tmp_path, data=data, **{"run.epochs": 1})
    with pytest.raises(UserError, match="of 16 images cannot be read"):
        train(config, quiet)
    (log,) = tmp_path.rglob("train.log")
    named = [line for line in log.read_text().splitlines() if "passed over" in line]
    assert len(named) == 8


def test_no_photo_that_tensorflow_can_read(tmp_path, monkeypatch):
    # As with a format that Pillow alone understands, so that the folder is let in.
    check = "dino_tf.datasets.folder._require_readable"
    monkeypatch.setattr(check, lambda *_, **__: None)
    data = photos(tmp_path / "photos", 0, 16)
    with pytest.raises(UserError, match="of 16 images cannot be read"):
        train(tiny(tmp_path, data=data, **{"run.epochs": 1}), quiet)


def test_batch_larger_than_the_data(tmp_path):
    with pytest.raises(UserError, match="pipeline.batch_size"):
        train(tiny(tmp_path, **{"pipeline.batch_size": 64}), quiet)


def test_mirrored_run(tmp_path):
    config = tiny(tmp_path, **{"run.strategy": "mirrored", "run.epochs": 1})
    run = train(config, quiet)
    assert run.model.distribute_strategy.num_replicas_in_sync == 2
    assert np.isfinite(run.summary["loss"])


def with_network(arch, tmp_path, **changes):
    """Configuration with a network of `keras.applications`."""
    sizes = {"views.global_size": 64, "views.local_size": 32, "run.eval_size": 64}
    config = tiny(tmp_path, **{**sizes, **changes})
    config.model = Model(arch=arch)
    return config


def check_run(run, arch, said):
    """Two epochs of a network without attention, its pictures, and its weights."""
    assert [r["epoch"] for r in records(run.path)] == [1, 2]
    assert np.isfinite(run.summary["loss"]) and "knn/top1_k20" in run.summary
    told = "\n".join(said)
    assert told.count(f"{arch} has no attention") == 1
    assert "by timed passes of the network" in told
    assert f"feature pictures of 2 photos: {run.path / 'features'}" in told
    assert len(list((run.path / "features").glob("*.png"))) == 2
    assert len(list((run.path / "features" / "epoch-0002").glob("*.png"))) == 2
    assert not (run.path / "attention").exists()
    images = np.random.default_rng(0).normal(size=(2, 32, 64, 3)).astype("float32")
    np.testing.assert_allclose(
        load_backbone(run.path)(images),
        run.model.teacher_backbone(images),
        atol=1e-5,
    )


@pytest.mark.parametrize(("strategy", "replicas"), [("none", 1), ("mirrored", 2)])
def test_network_of_keras(tiny_application, tmp_path, strategy, replicas):
    said, changes = [], {"run.strategy": strategy}
    run = train(with_network(tiny_application, tmp_path, **changes), said.append)
    check_run(run, tiny_application, said)
    assert run.model.distribute_strategy.num_replicas_in_sync == replicas


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("keras:MobilNet", "nearest is keras:MobileNet"),
        ("keras:InceptionV3", "views.global_size: keras:InceptionV3 got .* 48 x 48"),
    ],
)
def test_network_that_does_not_fit_is_refused_before_a_folder_is_made(
    tmp_path, arch, words
):
    config = with_network(arch, tmp_path, **{"views.global_size": 48})
    with pytest.raises(UserError, match=words):
        train(config, quiet)
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize("name", ["sgd", "lars"])
def test_other_optimizers(tmp_path, name):
    config = tiny(tmp_path, **BARE, **{"optimizer.name": name, "run.epochs": 1})
    assert np.isfinite(train(config, quiet).summary["loss"])


def test_bfloat16_run_restores_the_policy(tmp_path):
    config = tiny(tmp_path, **{"run.precision": "mixed_bfloat16", "run.epochs": 1})
    run = train(config, quiet)
    assert run.model.student_backbone.compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"


def test_watch_list_is_spread_evenly():
    assert watch_list(100, 4) == [0, 25, 50, 75]
    assert watch_list(3, 8) == [0, 1, 2]


@pytest.mark.slow
def test_real_photos(tmp_path, shared_dir):
    config = Config.from_dict(
        {
            "data": f"voc2007:{shared_dir / 'VOCdevkit'}",
            "preset": "voc2007_cpu",
            "pipeline": {"batch_size": 64},
            "views": {"global_size": 64, "local_size": 32, "num_local": 2},
            "model": {"depth": 1},
            "run": {
                "epochs": 1,
                "result_dir": str(tmp_path),
                "attention_every": 0,
                "attention_photos": 2,
                "attention_size": 240,
                "eval_size": 64,
            },
        }
    )
    run = train(config, quiet)
    assert run.summary["photos"] == 1792
    assert len(list((run.path / "attention").glob("*.png"))) == 2
    assert 6.0 < run.summary["loss"] < 9.0
