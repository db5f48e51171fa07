"""`main.py evaluate`: from weights and data to table, JSON, page and pictures."""

import json
import types

import numpy as np
import pytest

from dino_tf import evaluation, tasks
from dino_tf.cli import main
from dino_tf.datasets.arrays import ArraySource
from dino_tf.errors import Diverged, UserError
from dino_tf.evaluate.published import Figure
from dino_tf.evaluate.subject import Outcome
from dino_tf.evaluation import evaluate_weights, untrained_like
from dino_tf.models.vit import VisionTransformer

SIZES = dict(patch_size=8, embed_dim=16, depth=2, num_heads=2, image_size=16)


@pytest.fixture
def weights(tmp_path):
    """A file of a small network."""
    network = VisionTransformer(**SIZES)
    network.build(None)
    network.save(tmp_path / "net.keras")
    return tmp_path / "net.keras"


@pytest.fixture
def toy(monkeypatch):
    """Two tasks: one that answers, one that needs what the data lack."""

    def run_task(subject, data, factor, shout):
        if shout:
            raise UserError("toy was told to fail")
        share = float(np.mean(np.abs(subject.backbone.get_weights()[0]))) * factor

        def write(folder):
            folder.mkdir(parents=True)
            (folder / "words.txt").write_text("words")
            return [folder / "words.txt"]

        return Outcome({"toy/size": share}, {"depth": 2}, write, ["a note"])

    modules = {
        "toy": types.SimpleNamespace(lacks=lambda s, d: None, run_task=run_task),
        "never": types.SimpleNamespace(lacks=lambda s, d: "masks <of> gold"),
    }
    monkeypatch.setattr(tasks.Task, "load", lambda self: modules[self.module])
    options = {
        "--factor": {"type": float, "default": 1.0},
        "--shout": {"type": bool, "default": False},
    }
    listed = {
        "toy": tasks.Task("sizes", "toy", options),
        "never": tasks.Task("nothing", "never", {}),
    }
    for home in (tasks, evaluation):
        monkeypatch.setattr(home, "TASKS", listed)
    figure = Figure("toy/size", "scenes", "ViT-X", 5.0, "table 1")
    monkeypatch.setattr("dino_tf.evaluate.published.FIGURES", (figure,))


def test_a_task_writes_table_file_page_and_pictures(weights, toy, tmp_path):
    said = []
    out = tmp_path / "new" / "toy.json"
    options = {"factor": 1000.0}
    result = evaluate_weights(
        "toy", weights, "scenes:20", out, options, cache=None, say=said.append
    )
    kept = json.loads(out.read_text())
    assert kept == result
    task = kept["tasks"]["toy"]
    assert task["options"] == {"factor": 1000.0, "shout": False}
    assert set(task["numbers"]) == {"ours", "untrained"}
    assert task["numbers"]["ours"] != task["numbers"]["untrained"]
    assert kept["metrics"] == task["numbers"]["ours"]
    assert kept["untrained"] == task["numbers"]["untrained"]
    assert task["files"] == [str(tmp_path / "new" / "toy" / "words.txt")]
    assert task["details"] == {"depth": 2} and task["notes"] == ["a note"]
    assert kept["photos"] == {"train": 20, "test": 5}
    text = "\n".join(said)
    assert "published: toy/size 5, ViT-X (table 1)" in text and "a note" in text
    assert all(len(line) <= 80 for line in said[1].splitlines())
    assert "ViT-X" in (tmp_path / "new" / "toy.html").read_text()


def test_all_goes_on_without_what_cannot_be_done(weights, toy, tmp_path):
    said, out = [], tmp_path / "all.json"
    result = evaluate_weights(
        "all", weights, "scenes:20", out, cache=None, untrained=False, say=said.append
    )
    assert list(result["tasks"]) == ["toy"]
    assert "left out: never, which needs masks <of> gold" in said
    assert (tmp_path / "all" / "toy" / "words.txt").is_file()


def test_all_leaves_out_what_is_skipped(weights, toy, tmp_path):
    quiet = {"cache": None, "untrained": False, "say": lambda _: None}
    out, data = tmp_path / "all.json", "scenes:20"
    result = evaluate_weights("all", weights, data, out, skip=["never"], **quiet)
    assert list(result["tasks"]) == ["toy"]
    with pytest.raises(UserError, match="needs masks"):
        evaluate_weights("all", weights, data, tmp_path / "b.json", skip=["toy"])
    with pytest.raises(UserError, match="got every task"):
        evaluate_weights("all", weights, data, out, skip=["toy", "never"])
    with pytest.raises(UserError, match="no task 'knm'"):
        evaluate_weights("all", weights, data, out, skip=["knm"])
    with pytest.raises(UserError, match="with the task all"):
        evaluate_weights("toy", weights, data, out, skip=["never"])


@pytest.mark.parametrize("place", ["--out", "--cache"])
def test_where_nothing_can_be_written_no_work_begins(weights, toy, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    wrong, fine = tmp_path / "file" / "new" / "a.json", tmp_path / "b.json"
    out, cache = (wrong, None) if place == "--out" else (fine, wrong)
    with pytest.raises(UserError, match=f"{place}: nothing can be written in .*file;"):
        evaluate_weights("toy", "no weights", "scenes:20", out, cache=cache)


def test_a_task_without_numbers_is_not_compared(weights, toy, tmp_path, monkeypatch):
    seen, said = [], []

    def run_task(subject, data, **options):
        seen.append(subject)
        return Outcome({}, {}, lambda folder: [folder / "boxes.json"])

    module = types.SimpleNamespace(lacks=lambda s, d: None, run_task=run_task)
    monkeypatch.setattr(tasks.Task, "load", lambda self: module)
    out = tmp_path / "a.json"
    evaluate_weights("toy", weights, "scenes:20", out, cache=None, say=said.append)
    assert len(seen) == 1
    assert said[0] == "toy: no numbers; 1 files"
    assert json.loads(out.read_text())["tasks"]["toy"]["numbers"] == {"ours": {}}


def test_training_that_diverges_stops_one_task_and_not_all(
    weights, toy, tmp_path, monkeypatch
):
    def diverge(subject, data, **options):
        raise Diverged("the loss is nan")

    listed = {name: tasks.TASKS["toy"] for name in ("first", "second")}
    monkeypatch.setattr(evaluation, "TASKS", listed)
    true, calls = tasks.TASKS["toy"].load(), []

    def load(self):
        calls.append(1)
        run = diverge if len(calls) == 3 else true.run_task
        return types.SimpleNamespace(lacks=true.lacks, run_task=run)

    monkeypatch.setattr(tasks.Task, "load", load)
    out = tmp_path / "all.json"
    quiet = {"cache": None, "untrained": False, "say": lambda _: None}
    found = evaluate_weights("all", weights, "scenes:20", out, **quiet)["tasks"]
    assert found["first"] == {"failed": "the loss is nan"}
    assert "toy/size" in found["second"]["numbers"]["ours"]


def test_data_that_one_task_cannot_read_do_not_stop_the_others(
    weights, toy, tmp_path, monkeypatch
):
    def refuse(subject, data):
        raise UserError("mask 3 is no whole PNG file")

    true = tasks.Task.load
    damaged = types.SimpleNamespace(lacks=refuse)
    monkeypatch.setattr(
        tasks.Task, "load", lambda self: damaged if not self.options else true(self)
    )
    said, quiet = [], {"cache": None, "untrained": False}
    arguments = "all", weights, "scenes:20", tmp_path / "a.json"
    found = evaluate_weights(*arguments, **quiet, say=said.append)["tasks"]
    assert list(found) == ["toy"]
    words = "which cannot be done: mask 3 is no whole PNG file"
    assert f"left out: never, {words}" in said
    with pytest.raises(UserError, match=f"never on scenes:20, {words}"):
        evaluate_weights("never", weights, "scenes:20", **quiet)


def test_all_keeps_what_was_found_before_a_failure(weights, toy, tmp_path, monkeypatch):
    listed = {"toy": tasks.TASKS["toy"], "second": tasks.TASKS["toy"]}
    failing = dict(listed["second"].options, **{"--shout": {"default": True}})
    listed["second"] = tasks.Task("sizes", "toy", failing)
    monkeypatch.setattr(evaluation, "TASKS", listed)
    out = tmp_path / "all.json"
    evaluate_weights("all", weights, "scenes:20", out, cache=None, say=lambda _: None)
    found = json.loads(out.read_text())["tasks"]
    assert found["second"] == {"failed": "toy was told to fail"}
    assert "toy/size" in found["toy"]["numbers"]["ours"]
    assert "toy was told to fail" in out.with_suffix(".html").read_text()


@pytest.mark.parametrize("place", ["toy.json", "toy.html", "toy/mine.txt"])
def test_nothing_is_overwritten(weights, toy, tmp_path, place):
    taken = tmp_path / place
    taken.parent.mkdir(exist_ok=True)
    taken.write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        evaluate_weights("toy", weights, "scenes:20", tmp_path / "toy.json")
    assert taken.read_text() == "mine"


def test_names_of_files_are_chosen_where_none_is_given(
    weights, toy, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    quiet = {"cache": None, "untrained": False, "say": lambda _: None}
    evaluate_weights("toy", weights, "scenes:20", **quiet)
    evaluate_weights("toy", weights, "scenes:20", **quiet)
    names = sorted(path.name for path in (tmp_path / "result/eval").glob("*.json"))
    assert len(names) == 2
    assert names[1] == names[0].replace(".json", "-2.json") or names[0].endswith(
        "-2.json"
    )
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("run:\n  eval_size: 16\n")
    (run / "backbone.keras").write_bytes(weights.read_bytes())
    evaluate_weights("toy", run, "scenes:20", **quiet)
    assert (run / "eval" / "toy-scenes.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("toys", "w", "scenes"), "no task 'toys'; allowed: toy, never, all"),
        (
            ("never", "w", "scenes:20"),
            "never on scenes:20, which needs masks <of> gold",
        ),
        (("toy", "w", "scenes:20", "x.txt"), "allowed: a new .json file"),
        (("toy", "w", "scenes:20", None, {"size": 3}), "allowed: factor, shout"),
        (("toy", "w", "nowhere"), "no data folder or kind 'nowhere'"),
    ],
)
def test_mistakes_are_named(weights, toy, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    arguments = [str(weights) if a == "w" else a for a in arguments]
    with pytest.raises(UserError) as error:
        evaluate_weights(*arguments, cache=None)
    assert words in str(error.value)


def test_a_second_evaluation_takes_the_kept_features(weights, tmp_path, monkeypatch):
    import dino_tf.evaluate.subject as module

    made, true = [], module.extract_summaries
    count = lambda *given: made.append(1) or true(*given)  # noqa: E731
    monkeypatch.setattr(module, "extract_summaries", count)
    for name in ("a.json", "b.json"):
        arguments = (
            f"evaluate knn --weights {weights} --data scenes:40 --size 16 --k 3 "
            f"--out {tmp_path / name} --cache {tmp_path / 'cache'}"
        )
        assert main(arguments.split()) == 0
    # Training and test photos, of this network and of the untrained one.
    assert len(made) == 4
    first, second = (
        json.loads((tmp_path / n).read_text()) for n in ("a.json", "b.json")
    )
    assert first["tasks"]["knn"]["numbers"] == second["tasks"]["knn"]["numbers"]


def test_a_cache_called_none_keeps_nothing(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = (
        f"evaluate knn --weights {weights} --data scenes:20 --size 16 --k 3 "
        "--untrained false --out a.json --cache none"
    )
    assert main(arguments.split()) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a", "a.html", "a.json", "net.keras"]


def test_which_photos_are_judged_is_told(weights, tmp_path):
    import shutil

    from dino_tf.datasets.scenes import Scenes

    source = Scenes(count=20, size=32)
    for split, names in (("train", "ab"), ("test", "bc")):
        for i in range(20):
            folder = tmp_path / "photos" / split / names[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.bmp").write_bytes(source.image_bytes(i))
    said = []
    quiet = {"cache": None, "untrained": False, "say": said.append}
    spec = f"folder:{tmp_path / 'photos'}"
    options = {"k": [3], "size": 16}
    evaluate_weights("knn", weights, spec, tmp_path / "a.json", options, **quiet)
    assert "every fifth" not in "".join(said)
    shutil.rmtree(tmp_path / "photos" / "test")
    result = evaluate_weights(
        "knn", weights, spec, tmp_path / "b.json", options, **quiet
    )
    (note,) = result["notes"]
    assert note in said and note.endswith(
        "every fifth training photo is judged by the others"
    )
    assert "every fifth" in (tmp_path / "b.html").read_text()


def test_a_random_network_is_the_same_each_time(toy, tmp_path):
    quiet = {"cache": None, "say": lambda _: None}
    one, two = (
        evaluate_weights(
            "toy", "random:vit_tiny/16", "scenes:20", tmp_path / f"{i}.json", **quiet
        )
        for i in (1, 2)
    )
    assert one["network"] == two["network"]
    assert one["metrics"] == two["metrics"] and not one["untrained"]


def test_untrained_is_the_same_for_equal_seeds_and_no_copy(weights):
    from dino_tf.evaluate.subject import Subject
    from dino_tf.models.loading import load_backbone

    source = ArraySource(np.zeros((2, 16, 16, 3), np.uint8))
    subject = Subject(load_backbone(weights), size=16)
    one, two = (untrained_like(subject, source) for _ in range(2))
    assert one.fingerprint == two.fingerprint != subject.fingerprint


def test_half_precision_is_evaluated_in_full(weights, tmp_path):
    import keras

    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = VisionTransformer(**SIZES)
        half.build(None)
    finally:
        keras.config.set_dtype_policy("float32")
    exact = evaluation.in_float32(half)
    assert {layer.dtype_policy.name for layer in exact._flatten_layers()} == {"float32"}
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)
    plain = VisionTransformer(**SIZES)
    plain.build(None)
    plain.set_weights(half.get_weights())
    np.testing.assert_array_equal(exact(images), plain(images))
    assert evaluation.in_float32(plain) is plain


def test_untrained_batch_norms_have_seen_photos(tiny_application):
    from dino_tf.evaluate.subject import Subject
    from dino_tf.models.backbones import create_backbone

    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3))
    source = ArraySource(images.astype(np.uint8))
    subject = Subject(create_backbone(tiny_application), size=32)
    fresh = untrained_like(subject, source).backbone
    moving = [w for w in fresh.weights if "moving_mean" in w.path]
    assert moving and all(np.abs(w.numpy()).max() > 0 for w in moving)
