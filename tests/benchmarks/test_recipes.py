"""The study of recipes: its grid, its arithmetic, and a whole small one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dino_tf.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "recipes"
sys.path.insert(0, str(FOLDER))

import cuts  # noqa: E402
import findings  # noqa: E402
import grid as grids  # noqa: E402
import study  # noqa: E402
import trials  # noqa: E402

GRID = """
about: two rates
photos_seen: 48
seeds: [0, 1]
against: slow
base: {pipeline.batch_size: 8}
sources:
  drawn:
    data: "scenes:32"
    values:
      views.global_size: 32
      views.local_size: 16
      views.num_local: 1
      model.arch: vit_tiny
      model.patch_size: 8
      model.embed_dim: 16
      model.depth: 1
      model.num_heads: 1
      head.hidden_dim: 16
      head.bottleneck_dim: 8
      head.out_dim: 16
  photos: {}
settings:
  slow: {optimizer.lr: 1.0e-4}
  fast: {optimizer.lr: 1.0e-2}
"""


@pytest.fixture
def grid_file(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_text(GRID)
    return file


def test_one_seed_of_everything_comes_first(grid_file):
    names = [trial.name for trial in grids.read(grid_file).trials()]
    assert names == ["drawn/slow/0", "drawn/fast/0", "drawn/slow/1", "drawn/fast/1"]


def test_sources_take_their_photos_from_the_command_line(grid_file):
    grid = grids.read(grid_file, ["photos=folder:x"])
    trial = next(iter(grid.trials(["fast"], ["photos"], [7])))
    assert (trial.data, trial.seed, trial.photos_seen) == ("folder:x", 7, 48)
    assert trial.values == {"pipeline.batch_size": 8, "optimizer.lr": 1e-2}


def test_values_of_the_base_are_replaced_on_the_command_line(grid_file):
    replaced = ["init=a/run", "views.global_scale=[0.5, 1]", "pipeline.batch_size=4"]
    grid = grids.read(grid_file, ["photos=folder:x"], replaced)
    values = next(iter(grid.trials(["slow"], ["photos"]))).values
    assert (values["init"], values["pipeline.batch_size"]) == ("a/run", 4)
    assert values["views.global_scale"] == [0.5, 1]


def test_what_a_grid_leaves_open_is_asked_for(grid_file):
    grid_file.write_text(GRID.replace("base: {", "base: {init: null, "))
    with pytest.raises(UserError, match="init is left open; give --set init=VALUE"):
        grids.read(grid_file)
    assert grids.read(grid_file, [], ["init=run"]).base["init"] == "run"


def test_trials_of_other_values_are_no_part_of_a_grid(grid_file):
    grid = grids.read(grid_file, ["photos=folder:x"])
    trial = next(iter(grid.trials(["fast"], ["photos"])))
    found = {**vars(trial), "recipe": trials.recipe_of(trial.values), "found": {}}
    assert grid.has(found)
    for key, value in {
        "source": "others",
        "setting": "slow",
        "photos_seen": 49,
        "data": "folder:y",
        "recipe": None,
        "values": {**trial.values, "init": "run"},
    }.items():
        assert not grid.has({**found, key: value})
    found.pop("data")
    assert grid.has(found)


@pytest.mark.parametrize(
    "entry",
    ["init", "init=", "inti=x", "init=[0", "run.seed=7", "optimizer.lr=0.1"],
)
def test_what_is_wrong_in_a_replacement_is_named(grid_file, entry):
    with pytest.raises(UserError, match="--set"):
        grids.read(grid_file, [], [entry])


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("grids/*.yaml")), ids=lambda p: p.stem
)
def test_the_grids_here_can_be_read(path):
    replaced = ["init=run"] if path.stem == "from_weights" else []
    names = grids.read(path, [], replaced).sources
    data = [f"{name}=photos" for name in names]
    wanted = list(grids.read(path, data, replaced).trials())
    assert {trial.source for trial in wanted} == set(names)


def test_trainings_for_their_health_are_long_enough_for_a_verdict():
    grid = grids.read(FOLDER / "grids" / "health.yaml")
    for trial in grid.trials():
        photos = int(trial.data.removeprefix("scenes:")) * 3 / 4
        assert trial.photos_seen / photos >= 4
        assert trial.photos_seen / trial.values["pipeline.batch_size"] > 60


def test_another_recipe_makes_another_trial(grid_file, tmp_path, monkeypatch):
    grid_file.write_text(GRID.replace("slow: {", "slow: {run.recipe: published, "))
    wanted = list(grids.read(grid_file).trials(seeds=[0]))
    before = [trials.folder_of(trial, tmp_path) for trial in wanted]
    monkeypatch.setattr(trials, "FEW_RATE", 1.0)
    after = [trials.folder_of(trial, tmp_path) for trial in wanted]
    assert after[0] == before[0] and after[1] != before[1]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("optimizer.lr: 1.0e-2", "optimizer.rl: 1", "optimizer.rl.*optimizer.lr"),
        ("photos_seen: 48", "photos: 48", "got 'photos', allowed: about, photos_seen"),
        ("against: slow", "against: still", "got 'still', allowed: slow, fast"),
        ("seeds: [0, 1]", "seeds: [0", "grid.yaml: while parsing"),
        ("  fast: {", "  Fast one: {", "name 'Fast one'"),
        ('data: "scenes:32"', "dta: x", "sources: drawn: got 'dta', allowed: data"),
        ("  fast: {", "  no: {", "name False; allowed"),
        ("fast: {optimizer.lr: 1.0e-2}", "fast: 3", "settings: fast: got 3"),
        ("base: {pipeline.batch_size: 8}", "base: quickstart", "base: got a list or a"),
        (
            "against: slow",
            "against: [slow]",
            r"against: got \['slow'\]; allowed: a name",
        ),
        ('data: "scenes:32"', "data: 3", "drawn: data: got 3; allowed: text"),
        ("photos_seen: 48", "photos_seen: 1e5", "got '1e5'; allowed: a whole number"),
        ("  photos: {}", "  photos: {photos_seen: -1}", "photos_seen: got -1; allowed"),
        ("seeds: [0, 1]", "seeds: 3", "seeds: got 3; allowed"),
        ("seeds: [0, 1]", "seeds: []", "seeds: got .*; allowed"),
        ("seeds: [0, 1]", "seeds: [1, 1]", "seeds: got .*; allowed: each once"),
        ("base: {", "base: {data: scenes, ", "got data; give it as a source"),
        ("fast: {", "fast: {run.seed: 3, ", "fast: got run.seed; give seeds"),
        ("base: {", "base: {run.epochs: 3, ", "got run.epochs; give photos_seen"),
        ("base: {", "base: {run.tensorboard: true, ", "a study keeps it as it is"),
    ],
)
def test_what_is_wrong_in_a_grid_is_named(grid_file, old, new, words):
    grid_file.write_text(GRID.replace(old, new))
    with pytest.raises(UserError, match=words):
        grids.read(grid_file)


@pytest.mark.parametrize("entry", ["photos", "=x", "other=folder:x"])
def test_data_for_no_source_is_refused(grid_file, entry):
    with pytest.raises(UserError, match="allowed:"):
        grids.read(grid_file, [entry])


def test_a_source_without_photos_is_asked_for(grid_file):
    with pytest.raises(UserError, match="give --data photos=SPEC"):
        list(grids.read(grid_file).trials(sources=["photos"]))
    grid_file.write_text(GRID.replace('data: "scenes:32"', "photos_seen: 9"))
    with pytest.raises(UserError, match="give --data drawn=SPEC"):
        list(grids.read(grid_file).trials())


def test_the_cut_holds_every_photo_once(tmp_path):
    from dino_tf.datasets import open_source

    assert cuts.cut("scenes:10", tmp_path / "cut") == (7, 3)
    parts = [open_source(f"shards:{tmp_path / 'cut'}", s) for s in ("train", "test")]
    names = [{part.id(i) for i in range(len(part))} for part in parts]
    whole = open_source("scenes:10")
    assert names[1] == {whole.id(0), whole.id(4), whole.id(8)}
    assert names[0] | names[1] == {whole.id(i) for i in range(10)}


def result(setting, seed, knn, verdict="learning"):
    return {
        "source": "s",
        "setting": setting,
        "seed": seed,
        "final": False,
        "photos_seen": 10,
        "found": {"knn": knn, "loss": 1.0},
        "verdicts": ["starting", verdict],
        "curves": [],
    }


def test_gains_are_taken_seed_by_seed():
    results = [
        result("a", 0, 30.0),
        result("a", 1, 40.0),
        result("b", 0, 33.0),
        result("b", 1, 45.0, "collapsing to uniform"),
    ]
    first, second = findings.summarise(results, "a", {"a": {}, "b": {}})["trials"]
    assert first["knn"]["mean"] == 35 and first["knn_gain"]["mean"] == 0
    assert second["knn_gain"]["mean"] == 4
    assert second["knn_gain"]["sd"] == pytest.approx(2**0.5)
    assert (first["unwell"], second["unwell"]) == (0, 1)
    assert second["seeds"] == [0, 1] and "corloc" not in second
    assert (first["no_verdict"], second["no_verdict"]) == (0, 0)


def test_what_was_unwell_on_the_way_counts_and_so_does_a_missing_verdict():
    results = [result("a", 0, 30.0), result("a", 1, 40.0), result("a", 2, 40.0)]
    results[0]["verdicts"] = ["starting", "collapsing to one prototype", "learning"]
    results[1]["verdicts"] = ["starting", "starting"]
    (row,) = findings.summarise(results, "a", {"a": {}})["trials"]
    assert (row["unwell"], row["no_verdict"]) == (1, 1)


def test_other_photos_under_one_name_are_no_other_seeds():
    results = [
        {**result("a", seed, knn), "data": data}
        for seed, knn, data in [(0, 30.0, "x"), (0, 90.0, "y"), (1, 34.0, "x")]
    ]
    assert findings.told_apart(results[:1]) == results[:1]
    told = findings.told_apart(results)
    first, second = findings.summarise(told, "a", {"a": {}})["trials"]
    assert [row["source"] for row in (first, second)] == ["s (x)", "s (y)"]
    assert (first["knn"]["mean"], second["knn"]["mean"]) == (32.0, 90.0)
    assert second["knn_gain"]["mean"] == 0


def test_a_training_that_diverged_ended_unwell(grid_file, tmp_path, monkeypatch):
    def main(arguments, log):
        raise trials.Failed("no number", status)

    monkeypatch.setattr(trials, "_main", main)
    trial = next(iter(grids.read(grid_file).trials(["slow"])))
    status = 2
    with pytest.raises(trials.Failed, match="no number"):
        trials.run(trial, tmp_path / "out")
    status = 3
    found = trials.run(trial, tmp_path / "out")
    assert trials.state(trial, tmp_path / "out") == trials.DONE
    assert findings.words(found) == "diverging"
    (row,) = findings.summarise([found], "slow", {"slow": {}})["trials"]
    assert row["unwell"] == 1 and "knn" not in row


def test_a_study_that_is_stopped_says_how_it_goes_on(grid_file, monkeypatch, capsys):
    def interrupted(trial, out):
        raise KeyboardInterrupt

    monkeypatch.setattr(trials, "run", interrupted)
    assert study.main([str(grid_file), "--out", str(grid_file.parent / "out")]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_trials_of_an_older_version_lack_a_measure():
    results = [result("a", 0, 30.0), result("b", 0, 33.0), result("b", 1, 34.0)]
    for new, matched in zip(results[1:], (5.0, 7.0), strict=True):
        new["found"]["matched"] = matched
    first, second = findings.summarise(results, "a", {"a": {}, "b": {}})["trials"]
    assert "matched" not in first and "matched_gain" not in second
    assert second["matched"]["mean"] == 6.0


def test_the_page_shows_matched_views_and_what_others_do_not_have(tmp_path):
    import page

    results = [result("a", 0, 30.0), result("b", 0, 33.0)]
    results[1]["found"]["matched"] = 7.5
    views = {"views/matched": 7.5, "views/chance": 0.8}
    results[1]["curves"] = [{"epoch": 1, "kl": 0.1, **views}]
    summary = findings.summarise(results, "a", {"a": {}, "b": {}})
    page.write(tmp_path / "study.html", "x", summary, results)
    text = (tmp_path / "study.html").read_text()
    assert "<th>views matched in training</th>" in text and "<td>7.5</td>" in text


def test_curves_of_a_training_that_diverged_lie_where_the_others_do():
    import page

    whole, short = result("a", 0, 30.0), result("a", 1, 30.0)
    whole["epochs"] = short["epochs"] = 5
    whole["curves"] = [{"epoch": e, "kl": 1.0} for e in range(1, 6)]
    short["curves"] = [{"epoch": e, "kl": 3.0} for e in range(1, 3)]
    assert page._mean_curve([whole, short], "kl") == ([2.0, 4.0], [2.0, 2.0])


def test_the_page_has_the_photos_that_were_seen_in_whole_epochs(tmp_path):
    import page

    results = [{**result("a", 0, 30.0), "photos": 4, "epochs": 2}, result("b", 0, 33.0)]
    results[0]["curves"] = [{"epoch": e, "kl": 1.0} for e in (1, 2)]
    summary = findings.summarise(results, "a", {"a": {}, "b": {}})
    assert [row["seen"] for row in summary["trials"]] == [8, 10]
    assert summary["trials"][1]["knn_gain"]["mean"] == 3
    page.write(tmp_path / "study.html", "x", summary, results)
    assert "<td>a</td><td>8</td>" in (tmp_path / "study.html").read_text()
    assert page._mean_curve(results[:1], "kl")[0] == [4, 8]


def test_standard_errors_are_told_and_older_trials_have_none():
    old, new = result("a", 0, 30.0), result("b", 0, 33.0)
    new["found"] |= {"knn_all": 50.0, "knn_all_error": 1.14}
    first, second = findings.summarise([old, new], "a", {"a": {}, "b": {}})["trials"]
    assert "knn_all" not in first and "knn_all_gain" not in second
    assert second["knn_all"]["mean"] == 50 and "knn_all_classes" not in second
    words = "at most: k-NN of each photo by all others ± 1.1 points for one network"
    assert words in findings.words_on_errors([first, second])
    assert findings.words_on_errors([first]) == ""


@pytest.mark.slow
def test_a_study_ends_and_is_not_done_twice(grid_file, tmp_path, capsys):
    out = tmp_path / "out"
    words = [str(grid_file), "--out", str(out), "--seeds", "0", "--only", "slow"]
    command = [sys.executable, FOLDER / "study.py", *words]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    # Without another start of Python and TensorFlow.
    assert study.main(words) == 0
    assert capsys.readouterr().out.strip() == "[1/1] drawn/slow/0: done"
    (row,) = json.loads((out / "study.json").read_text())["trials"]
    assert row["setting"] == "slow" and row["seeds"] == [0]
    assert 0 <= row["corloc"]["mean"] <= 100 and row["knn_gain"]["mean"] == 0
    assert 0 <= row["matched"]["mean"] <= 100
    assert 0 <= row["knn_all_classes"]["mean"] <= 100
    (file,) = out.glob("trials/*/*/left_out.json")
    assert json.loads(file.read_text())["photos"] == 32
    text = (out / "study.html").read_text()
    assert "slow" in text and "Standard error from the choice of photos" in text
