"""What run folders tell: new ones, old ones, damaged ones."""

import json

import numpy as np
import pytest
from PIL import Image

from dino_tf.config import Config
from dino_tf.report import run_files
from dino_tf.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def draw_photo(at, value=100, views=("original", "attention_mean", "masked")):
    at.mkdir(parents=True)
    for view in views:
        pixels = np.full((30, 40, 3), value, np.uint8)
        Image.fromarray(pixels).save(at / f"{view}.png")


def test_configuration_with_its_reasons():
    text = (
        "data: scenes\npreset: null\npipeline:\n"
        "  # usual on a CPU: 64\n  batch_size: 64\n  workers: 2\n"
        "views:\n  mean: [0.4, 0.5]\n"
    )
    reason = "usual on a CPU: 64"
    assert run_files.configuration(text) == [
        {"key": "data", "value": "scenes", "reason": ""},
        {"key": "preset", "value": "null", "reason": ""},
        {"key": "pipeline.batch_size", "value": "64", "reason": reason},
        {"key": "pipeline.workers", "value": "2", "reason": ""},
        {"key": "views.mean", "value": "[0.4, 0.5]", "reason": ""},
    ]


def test_configuration_of_another_version_is_noted(folder):
    folder.config.write_text("run:\n  no_such_key: 1\n")
    notes = []
    assert run_files.read_config(folder, notes) is None
    assert len(notes) == 1 and "another version" in notes[0]
    assert run_files.read_config(RunFolder(folder.path / "empty"), notes) is None


def test_health_of_the_last_epoch_and_what_was_before(folder):
    folder.add_metrics({"epoch": 1, "loss": 2.0, "verdict": "starting", "advice": []})
    for epoch in (2, 3):
        record = {"epoch": epoch, "verdict": "flat", "advice": ["Do this."]}
        folder.add_metrics(record)
    found = run_files.progress(folder, None)
    assert found["health"] == {
        "verdict": "flat",
        "about": "",
        "advice": ["Do this."],
        "history": [
            {"verdict": "starting", "first": 1, "last": 1},
            {"verdict": "flat", "first": 2, "last": 3},
        ],
    }
    assert (found["finished"], found["epochs"], found["done"]) == (False, None, 3)


def test_a_verdict_without_advice_is_explained(folder):
    folder.add_metrics({"epoch": 1, "verdict": "starting", "advice": []})
    about = run_files.progress(folder, None)["health"]["about"]
    assert about.startswith("It is too early to tell")


def test_matched_views_are_told_beside_the_verdict(folder):
    def about():
        return run_files.progress(folder, None)["health"]["about"]

    views = {"views/matched": 2.34, "views/chance": 0.78125}
    folder.add_metrics({"epoch": 3, "verdict": "learning", "advice": [], **views})
    how = (
        "by chance it would be 0.8 %. Where this stays near chance, as it was at first"
    )
    assert "move. Two altered views of a photo find each other in 2.3 %; " in about()
    assert f"2.3 %; {how}" in about()
    views["views/matched"] = 8.2
    folder.add_metrics({"epoch": 6, "verdict": "flat", "advice": [], **views})
    folder.add_metrics({"epoch": 7, "verdict": "flat", "advice": []})
    words = "Two altered views of a photo find each other in 8.2 %, after epoch 3 in"
    assert about().startswith(f"{words} 2.3 %; {how}")
    for wrong in ("much", None, float("nan"), [1]):
        folder.add_metrics({"epoch": 8, "verdict": "flat", "views/matched": wrong})
    assert "in 8.2 %, after epoch 3" in about()


def test_best_network_and_what_was_evaluated_of_it(folder):
    at = folder.best / "eval"
    draw_photo(at / "knn-scenes", views=("sheet",))
    best = {"epoch": 3, "measure": "knn/watched_top1", "value": 63.28}
    (folder.best / "best.json").write_text(json.dumps(best))
    task = {
        "numbers": {"ours": {"knn/top1": 60.0}},
        "options": {"k": [10, 20], "size": None, "flip": False, "head": "best"},
        "files": ["run/best/eval/knn-scenes/sheet.png"],
    }
    (at / "knn-scenes.json").write_text(json.dumps({"tasks": {"knn": task}}))
    for epoch, words in ((3, "of epoch 3, the last,"), (4, "of epoch 3,")):
        folder.add_metrics({"epoch": epoch})
        name, text = run_files.progress(folder, None)["facts"][-1]
        measure = "by knn/watched_top1 63.3, a rough choice: best/"
        assert (name, text) == ("Best network", f"{words} {measure}")
    (shown,) = run_files.evaluations(folder, [])
    assert shown["title"] == "best: knn-scenes"
    assert shown["tasks"][0]["about"] == "k 10, 20; flip no; head best"
    assert [p["name"] for p in shown["tasks"][0]["pictures"]] == ["sheet.png"]
    (folder.best / "best.json").write_text("[]")
    assert run_files.progress(folder, None)["facts"] == [["Training", "0.0 minutes"]]


def test_old_records_have_no_verdict_and_an_empty_folder_tells_nothing(folder):
    assert run_files.progress(folder, None)["charts"] == []
    folder.add_metrics({"epoch": 1, "loss": 2.0, "seconds": 30})
    found = run_files.progress(folder, Config())
    assert found["health"] is None
    assert ["Training", "0.5 minutes"] in found["facts"]


def test_numbers_stand_beside_those_of_the_untrained_network(folder):
    summary = {"photos": 2000, "knn/top1_k20": 63.25, "untrained/knn/top1_k20": 49.0}
    folder.summary.write_text(json.dumps(summary))
    facts = run_files.progress(folder, None)["facts"]
    assert facts == [
        ["Number of photos", "2,000"],
        ["knn/top1_k20", "63.2 % (untrained network 49.0 %)"],
    ]


def test_attention_over_the_epochs(folder):
    draw_photo(folder.attention / "epoch-0001" / "a", 10)
    draw_photo(folder.attention / "epoch-0002" / "a", 90)
    draw_photo(folder.attention / "epoch-0001" / "b", 10)
    draw_photo(folder.attention / "a", 200)
    config = Config.from_dict({"run": {"epochs": 2}})
    found = run_files.watched(folder, config)
    assert found["kind"] == "attention"
    # The end of the run takes the place of its last epoch.
    assert found["epochs"] == ["epoch 1", "epoch 2"]
    assert found["views"] == ["attention_mean", "masked"]
    first, second = found["photos"]
    assert (first["name"], second["name"]) == ("a", "b")
    frames = first["frames"]["attention_mean"]
    assert frames[0].startswith("data:image/jpeg;base64,") and frames[0] != frames[1]
    assert second["frames"]["masked"][0] and second["frames"]["masked"][1] is None
    assert second["original"]


def test_pictures_are_read_once_and_thinned(folder, monkeypatch):
    monkeypatch.setattr(run_files, "MOST_EPOCHS", 3)
    for epoch in range(1, 11):
        draw_photo(folder.features / f"epoch-{epoch:04d}" / "a", 20 * epoch)
    kept = {}
    found = run_files.watched(folder, None, kept)
    assert found["kind"] == "features"
    assert found["epochs"][-1] == "epoch 10" and len(found["epochs"]) == 3
    monkeypatch.setattr(run_files, "file_uri", None)
    assert run_files.watched(folder, None, kept) == found


def test_nothing_drawn(folder):
    assert run_files.watched(folder, None) is None
    folder.attention.mkdir()
    assert run_files.watched(folder, None) is None


def test_evaluations_whatever_they_hold(folder):
    at = folder.path / "eval"
    draw_photo(at / "knn-scenes", views=("sheet",))
    result = {
        "weights": "result/run",
        "data": "scenes",
        "notes": ["every fifth"],
        "tasks": {
            "knn": {
                "options": {"k": 20},
                "numbers": {
                    "ours": {"knn/top1": 63.0, "bad": float("nan")},
                    "untrained": {"knn/top1": 49.0},
                },
                "published": [{"name": "top1", "value": 70, "network": "ViT"}],
                # As written by a program that ran somewhere else.
                "files": ["old/run/eval/knn-scenes/sheet.png", "gone.png", "a.json"],
            },
            "linear": {"failed": "no labels"},
        },
    }
    (at / "a.json").write_text(json.dumps(result))
    (at / "b.json").write_text('{"my/number": 5, "words": "none"}')
    (at / "c.json").write_text("{half")
    notes = []
    first, second = run_files.evaluations(folder, notes)
    assert notes == ["eval/c.json cannot be read"]
    assert (first["title"], first["about"]) == ("a", "result/run on scenes")
    knn, linear = first["tasks"]
    assert knn["columns"] == ["ours", "untrained"]
    assert knn["rows"] == [["knn/top1", 63.0, 49.0], ["bad", None, None]]
    assert [picture["name"] for picture in knn["pictures"]] == ["sheet.png"]
    assert linear["failed"] == "no labels" and linear["rows"] == []
    assert second["tasks"][0]["rows"] == [["my/number", 5]]
