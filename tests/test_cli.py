"""The command line: commands, precedence, exit codes, one-line errors."""

import errno
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from dino_tf import cli
from dino_tf.errors import Diverged, Interrupted, UserError
from dino_tf.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def trained(monkeypatch):
    """Configurations that reach a stand-in for `dino_tf.training.train`."""
    configs = []
    module = types.SimpleNamespace(train=configs.append)
    monkeypatch.setitem(sys.modules, "dino_tf.training", module)
    return configs


def complaint(capsys, *argv):
    assert cli.main(list(argv)) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize("argv", [[], ["train"]])
def test_train_is_the_default_command(trained, argv):
    assert cli.main(argv) == 0
    (config,) = trained
    assert (config.data, config.preset) == ("auto", None)
    assert config.given == frozenset()


@pytest.mark.parametrize("command", [[], ["train"]])
def test_options_without_and_with_the_command(trained, command):
    argv = ["--preset", "imagenet", "--run.epochs", "2", "--views.mean", "[0,0,0]"]
    assert cli.main(command + argv) == 0
    (config,) = trained
    assert (config.run.epochs, config.pipeline.batch_size) == (2, 1024)
    assert config.views.mean == (0.0, 0.0, 0.0)
    assert config.given == {"preset", "run.epochs", "views.mean"}


def test_later_source_wins(trained, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(
        "preset: imagenet\nrun: {epochs: 5, seed: 6}\npipeline: {batch_size: 8}\n"
    )
    assert cli.main(["--run.seed", "7", "--config", str(file)]) == 0
    (config,) = trained
    assert config.head.out_dim == 65536  # preset before default
    assert config.pipeline.batch_size == 8  # file before preset
    assert config.run.epochs == 5
    assert config.run.seed == 7  # command line before file


def test_second_file_wins_over_the_first(trained, tmp_path):
    for name, seed in (("a.yaml", 1), ("b.yaml", 2)):
        (tmp_path / name).write_text(f"run: {{seed: {seed}}}")
    files = ["--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")]
    assert cli.main(files) == 0
    assert trained[0].run.seed == 2


def test_asked_for_default_is_told_from_silence(trained):
    assert cli.main(["--run.epochs", "100", "--pipeline.workers", "null"]) == 0
    assert trained[0].given == {"run.epochs", "pipeline.workers"}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--preset quikstart", "did you mean quickstart?"),
        ("--run.epoch 2", "unknown option --run.epoch; did you mean --run.epochs?"),
        ("train --epochs=2", "unknown option --epochs; did you mean --run.epochs?"),
        ("--run.epochs 2.5", "run.epochs: got '2.5', allowed: a whole number"),
        ("--views.aspect 1,2", "views.aspect: got '1,2', allowed: 2 numbers"),
        ("--run.strategy x", "run.strategy: got 'x', allowed: auto, none, mirrored"),
        ("--loss.student_temp 0", "loss.student_temp: got 0.0, allowed: above 0"),
        ("--preset", "--preset: expected one argument"),
        ("--config /none.yaml", "/none.yaml: allowed is a YAML file"),
        (
            "trian",
            "no command 'trian', allowed: train, attend, picture, evaluate, embed, "
            "report, export, data, presets",
        ),
        ("train photos", "got 'photos' too much; did you mean --data photos?"),
        ("embed photos --weights a --out b", "too much; did you mean --data photos?"),
        ("/", "photos to train on are given by --data /"),
        ("attend photos", "attend: missing are weights"),
        ("attend a --weights b --sise 3", "did you mean --size?"),
        ("attend a --weights b --keep-mas 3", "did you mean --keep-mass?"),
        ("attend a --weights b --kind feature", "allowed: attention, features"),
        ("attend a --weights b --drawing x", "allowed: overlay, side, map, masked"),
        ("embed --weights b --data c", "embed: missing are out"),
        ("embed --weights b --data c --out d --tokens x", "cls, mean, patches"),
        ("attend a --weights b --size x", "--size: got 'x', allowed: a whole number"),
        (
            "evaluate discover --weights a --data b --head x",
            "--head: got 'x', allowed: a whole number, or best, mean",
        ),
        ("picture", "picture: allowed kinds are heads, overlay, layers"),
        ("picture head --weights a", "picture: allowed kinds are heads, overlay"),
        ("picture heads a", "picture: missing are weights"),
        ("picture heads a --weights b --sise 3", "did you mean --size?"),
        ("picture filters a --weights b", "picture: got 'a' too much"),
        ("picture map --weights a", "picture: missing are data"),
        (
            "picture map --weights a --data b --method mds",
            "--method: got 'mds', allowed: pca, tsne, umap",
        ),
        ("data", "data: allowed are get NAME, check SPEC"),
        ("data gt", "data: allowed are get NAME, check SPEC"),
        ("data get coco", "got 'coco', allowed: voc2007, voc2012"),
        ("data check /none", "/none"),
        ("presets --all", "got --all, allowed: no option"),
    ],
)
def test_mistakes_are_answered_in_one_line(capsys, trained, argv, words):
    assert words in complaint(capsys, *argv.split())
    assert trained == []


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("a\nb"), 2), (Diverged("nan"), 3), (KeyboardInterrupt(), 130)],
)
def test_exit_codes(capsys, monkeypatch, error, code):
    def train(config):
        raise error

    module = types.SimpleNamespace(train=train)
    monkeypatch.setitem(sys.modules, "dino_tf.training", module)
    assert cli.main([]) == code
    assert capsys.readouterr().err.count("\n") == 1


def test_other_errors_are_not_swallowed(monkeypatch):
    def train(config):
        raise ZeroDivisionError

    module = types.SimpleNamespace(train=train)
    monkeypatch.setitem(sys.modules, "dino_tf.training", module)
    with pytest.raises(ZeroDivisionError):
        cli.main([])


@pytest.fixture
def called(monkeypatch):
    """Function that puts a stand-in into a module; the arguments of its calls."""

    def put(module, name):
        calls = []
        stand_in = {name: lambda **named: calls.append(named)}
        monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**stand_in))
        return calls

    return put


def test_attend_hands_its_arguments_on(called):
    calls = called("dino_tf.attend", "attend")
    assert cli.main("attend a b --weights w --keep-mass 0.5".split()) == 0
    argv = "attend a --weights w --kind features --num-heads 3 --part student"
    assert cli.main(argv.split()) == 0
    argv = "attend c.mp4 d --weights w --film --fps 5 --drawing side --head 2 --frames"
    assert cli.main(argv.split()) == 0
    plain = {"weights": "w", "out": None, "size": 480, "keep_mass": None}
    plain |= {"num_heads": None, "part": None, "kind": "attention"}
    plain |= {"film": False, "fps": None, "drawing": None, "head": None}
    plain |= {"frames": False}
    asked = {"num_heads": 3, "part": "student", "kind": "features"}
    filmed = {"film": True, "fps": 5.0, "drawing": "side", "head": "2", "frames": True}
    assert calls == [
        plain | {"paths": ["a", "b"], "keep_mass": 0.5},
        plain | {"paths": ["a"]} | asked,
        plain | {"paths": ["c.mp4", "d"]} | filmed,
    ]


def test_picture_hands_its_arguments_on(monkeypatch):
    calls = []
    module = types.SimpleNamespace(
        make_pictures=lambda *args, **named: calls.append((*args, named))
    )
    monkeypatch.setitem(sys.modules, "dino_tf.pictures", module)
    argv = "picture heads a b --weights w --keep-mass 0.5 --part student --out o"
    assert cli.main(argv.split()) == 0
    assert cli.main("picture map --weights w --data s --method pca".split()) == 0
    options = {"paths": ["a", "b"], "data": None, "split": "train", "count": 8}
    options |= {"size": 480, "keep_mass": 0.5}
    named = {"weights": "w", "out": "o", "num_heads": None, "part": "student"}
    assert calls[0] == ("heads", {**named, "options": options})
    assert calls[1][0] == "map"
    assert calls[1][1]["options"]["method"] == "pca"
    assert calls[1][1]["options"]["thumbnails"] is False


def test_embed_hands_its_arguments_on(called):
    calls = called("dino_tf.embedding", "embed")
    argv = "embed --weights w --data d --out o.npz"
    assert cli.main(argv.split()) == 0
    argv += " --tokens mean patches --split all --dtype float16 --cache none --size 64"
    assert cli.main([*argv.split(), "--batch-size", "2"]) == 0
    plain = {"weights": "w", "data": "d", "out": "o.npz", "split": "train"}
    plain |= {"tokens": ["cls"], "size": None, "batch_size": 64, "dtype": "float32"}
    plain |= {"num_heads": None, "part": None, "cache": "result/cache"}
    asked = {"tokens": ["mean", "patches"], "split": "all", "dtype": "float16"}
    asked |= {"cache": None, "size": 64, "batch_size": 2}
    assert calls == [plain, plain | asked]


def test_export_hands_its_arguments_on(monkeypatch):
    calls = []
    module = types.SimpleNamespace(
        export=lambda *args, **named: calls.append((*args, named))
    )
    monkeypatch.setitem(sys.modules, "dino_tf.export", module)
    argv = "export --weights w --format onnx --out o --size 8 16 --num-heads 3"
    assert cli.main([*argv.split(), "--part", "student"]) == 0
    named = {"num_heads": 3, "part": "student"}
    assert calls == [("w", "onnx", "o", [8, 16], named)]


def test_presets_are_listed(capsys):
    assert cli.main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "] == list(PRESETS)
    assert max(map(len, lines)) <= 80


def test_data_get_names_folder(capsys, monkeypatch):
    from dino_tf.datasets import voc_archives

    monkeypatch.setattr(voc_archives, "get_voc", lambda year, folder, _: (year, folder))
    assert cli.main(["data", "get", "voc2012", "--data-dir", "d"]) == 0
    assert capsys.readouterr().out == "(2012, 'd')\n"


def test_data_check_counts_classes_and_unreadable_photos(capsys, tmp_path):
    from PIL import Image

    for name in ("cat/a.png", "cat/b.png", "dog/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "dog" / "d.png").write_bytes(b"no picture")
    assert cli.main(["data", "check", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 photos")
    assert [line.split() for line in lines[1:3]] == [["cat", "2"], ["dog", "2"]]
    assert lines[3] == "1 unreadable (25.0%)"
    assert "d" in lines[4]


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["train", "--help"],
        ["attend", "-h"],
        ["picture", "-h"],
        ["picture", "components", "-h"],
        ["embed", "-h"],
        ["export", "-h"],
    ],
)
def test_help_fits_80_columns(capsys, monkeypatch, argv):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["main.py"])
    assert cli.main(argv) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "usage: " in text


@pytest.mark.parametrize(("argv", "code"), [(["--help"], 0), (["--preset", "x"], 2)])
def test_answers_come_without_tensorflow(argv, code):
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from dino_tf.cli import main; "
        f"code = main({argv!r}); "
        "assert not {'tensorflow', 'keras'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == code, done.stderr.decode()


def test_files_and_signals_have_a_line_and_a_code(monkeypatch, capsys):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "result/a.json")
    stopped = Interrupted("stopped by SIGTERM after epoch 3, which is saved", 15)
    for error, code, words in (
        (full, 1, "error: result/a.json: No space left on device\n"),
        (OSError("timed out"), 1, "error: timed out\n"),
        (stopped, 143, f"{stopped}; the same command goes on from there\n"),
    ):

        def fail(argv, error=error):
            raise error

        monkeypatch.setattr(cli, "_run", fail)
        assert cli.main([]) == code
        assert capsys.readouterr().err == words


def test_a_result_folder_that_takes_no_runs(tmp_path, capsys, permissions_hold):
    result = tmp_path / "result"
    result.mkdir(mode=0o500)
    argv = ["--preset", "quickstart", "--data", "scenes:64"]
    assert cli.main([*argv, "--run.result_dir", str(result)]) == 1
    *_, last = capsys.readouterr().err.splitlines()
    folder = result / "quickstart-scenes"
    assert last == f"error: {folder}: Permission denied"
