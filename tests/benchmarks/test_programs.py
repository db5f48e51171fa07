"""Each benchmark on tiny sizes, without a peer: real processes, whole results."""

import json
import sys
import time

import pytest

KEYS = {"machine", "sides", "work"}
SIDE = {"median_seconds", "seconds", "processor_seconds", "first_seconds", "peak_mb"}
TINY = ["--arch", "vit_tiny", "--patch-size", "16", "--sizes", '{"depth": 1}']


def result_of(name, words, tmp_path, monkeypatch, capsys):
    """Runs a benchmark as its command would; its JSON. No line is too long."""
    import turns

    program = __import__(name)
    out = tmp_path / "new" / "out.json"
    line = [f"{name}.py", *words, "--turns", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", line)
    turns.main(program.arguments, program.measure, program.tell)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    return json.loads(out.read_text())


def test_knn(tmp_path, monkeypatch, capsys):
    words = "--train 300 --test 100 --width 16 --classes 4 --k 5 1".split()
    result = result_of("knn", words, tmp_path, monkeypatch, capsys)
    part = result["parts"]["every k"]["sides"]["ours"]
    assert set(part) >= SIDE | {"accuracy", "search_seconds", "votes_seconds"}
    assert len(part["accuracy"]) == 2
    assert part["accuracy"][0][0] > 40


@pytest.mark.slow
def test_step(tmp_path, monkeypatch, capsys):
    words = [*TINY, *"--global-size 32 --local-size 16 --num-local 1".split()]
    words += "--batch 2 --out-dim 16 --steps 1".split()
    words += "--parts muon histograms sinkhorn koleo".split()
    result = result_of("step", words, tmp_path, monkeypatch, capsys)
    assert set(result) == KEYS | {"parts_over_ours"}
    side, parts = (result["sides"][name] for name in ("ours", "with the parts"))
    # The same weights, but another step.
    assert parts["first_losses"][1:] != side["first_losses"][1:]
    assert set(side) >= {"images_per_second", "share_of_matrix_rate", "peak_mb"}
    assert len(side["first_losses"]) == 3


@pytest.mark.slow
def test_network(tmp_path, monkeypatch, capsys):
    words = [*TINY, *"--global-size 32 --local-size 16 --num-local 1".split()]
    words += "--xla off --batch 2 --out-dim 16 --passes 1".split()
    result = result_of("network", words, tmp_path, monkeypatch, capsys)
    for name, numbers in (("forward", 1), ("both", 2)):
        one = result["passes"][name]
        side = one["sides"]["tensorflow"]
        assert set(side) >= SIDE | {"per_second", "operations", "share_of_matrix_rate"}
        assert len(side["results"]) == numbers
        assert one["alike"] and one["over_tensorflow"] == {"tensorflow": 1.0}


@pytest.mark.slow
def test_attend(tmp_path, monkeypatch, capsys):
    words = [*TINY, *"--size 32 --count 3 --chunk 2".split()]
    result = result_of("attend", words, tmp_path, monkeypatch, capsys)
    side = result["sides"]["ours"]
    assert set(side) >= SIDE | {"per_second", "ready_seconds"}
    # A sheet, photo, mean, mask, masked and three heads for each of three photos.
    assert side["files"] == 3 * 8
    assert len(side["seconds"]) == 2


@pytest.mark.slow
def test_views(tmp_path, monkeypatch, capsys):
    words = "--photo 80x60 --photos 4 --batch 2 --global-size 32 --local-size 16"
    words = f"{words} --num-local 1 --runs 2 --stages".split()
    result = result_of("views", words, tmp_path, monkeypatch, capsys)
    assert set(result) == KEYS
    side = result["sides"]["ours"]
    assert set(side) >= SIDE | {"photos_per_second", "processor_ms_per_photo"}
    assert set(side["stages_ms_per_photo"]) >= {"decode", "resize", "normalise"}
    assert len(side["seconds"]) == 2


@pytest.mark.slow
def test_features(tmp_path, monkeypatch, capsys):
    words = [*TINY, *"--count 2 --batch 2".split()]
    result = result_of("features", words, tmp_path, monkeypatch, capsys)
    assert set(result) == KEYS
    assert set(result["sides"]["ours"]) >= SIDE | {"per_second", "ready_seconds"}


@pytest.mark.slow
def test_checkpoint(tmp_path, monkeypatch, capsys):
    words = [*TINY, "--out-dim", "16"]
    result = result_of("checkpoint", words, tmp_path, monkeypatch, capsys)
    assert set(result["parts"]) == {"save", "load"}
    for part in result["parts"].values():
        side = part["sides"]["ours"]
        assert set(side) >= SIDE | {"bytes", "extra_mb", "mb_per_second"}
        # Student, teacher and two moments of 5.9 million numbers in float32.
        assert 80e6 < side["bytes"] < 110e6


@pytest.mark.slow
def test_start(tmp_path):
    import start

    start.copy_ours(tmp_path)
    words = "--preset quickstart --data scenes:64 --pipeline.batch_size 4".split()
    words += "--run.precision float32 --model.depth 1".split()
    program = [sys.executable, start.HERE / "start_ours.py", "main.py"]
    one = start.start([*program, *words], tmp_path)
    order = ("Python started", "TensorFlow imported", "imported", "data and settings")
    order += ("built", "traced", "step 1", "step 2", "step 3")
    assert set(order) <= set(one["moments"])
    times = [one["moments"][name] for name in order]
    assert times == sorted(times) and times[0] > 0
    assert len(one["losses"]) == 3
    side = start.summary({"ours, 1st": [one]})["ours, 1st"]
    assert times[3] < side["computing_begins"] < side["first_step_ends"]


@pytest.mark.slow
def test_start_kept(tmp_path, monkeypatch, capsys):
    import start_kept

    def run_here(what, work, folder):
        if what == "keep":
            return start_kept.keep(work, folder)
        return json.dumps(start_kept.use(work, folder, time.time()))

    # Its fresh processes are spared here: what they do is done in this one.
    monkeypatch.setattr(start_kept, "_run", run_here)
    words = [*TINY, *"--global-size 32 --local-size 16 --num-local 1".split()]
    words += "--batch 2 --out-dim 16".split()
    result = result_of("start_kept", words, tmp_path, monkeypatch, capsys)
    moments = result["moments"]
    assert 0 < moments["imported"] < moments["loaded"] < moments["computing begins"]
    assert moments["computing begins"] < moments["first step ends"]


@pytest.mark.slow
def test_step_floor(tmp_path, monkeypatch, capsys):
    words = [*TINY, *"--global-size 32 --local-size 16 --num-local 1".split()]
    words += "--batch 2 --out-dim 16".split()
    result = result_of("step_floor", words, tmp_path, monkeypatch, capsys)
    assert all(seconds >= 0 for seconds in result["seconds"].values())
    assert result["memory_rate"] > 1e8 and result["products_rate"] > 1e8


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_soak():
    import soak

    result = soak.measure(soak.arguments(["--steps", "20"]))
    assert set(result["held"]) == {"memory_mb", "files", "threads"}
    assert all(min(one["quarters"]) > 0 for one in result["held"].values())
