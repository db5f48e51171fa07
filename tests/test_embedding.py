"""`embed`: the same features in every format, resumed, refused, with any names."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dino_tf import embedding
from dino_tf.datasets.arrays import ArraySource
from dino_tf.embed_formats import harmless
from dino_tf.embedding import embed
from dino_tf.errors import UserError
from dino_tf.evaluate.features import extract_summaries
from dino_tf.models.backbones import create_backbone
from dino_tf.models.loading import load_backbone
from dino_tf.pipeline import evaluation_dataset

ROOT = Path(__file__).resolve().parents[1]
EVERY = ("cls", "mean", "patches")
NAMES = [
    "plain.jpg",
    'a "quoted", name',
    "two\nlines",
    "=SUM(A1:A9)",
    "-1",
    "'tick",
    "@x",
    "+y",
    "\ttab",
    "ßüδ 猫/😀.png",
    "broken",
    "cr\rlf",
]
CLASSES = ["=cmd|' /C calc'!A0", "cat, the", "dog\nhouse"]


class Named(ArraySource):
    """Images with names of their own, of which the one called "broken" is."""

    def id(self, index):
        return NAMES[index]

    def image_bytes(self, index):
        if NAMES[index] == "broken":
            return b"no picture"
        return super().image_bytes(index)


def photos(labels=None, count=12):
    images = np.random.default_rng(1).integers(0, 256, (count, 30, 26, 3), np.uint8)
    return Named(images, labels, CLASSES if labels else None)


@pytest.fixture
def source():
    return photos([i % 3 if i % 4 else None for i in range(len(NAMES))])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "backbone.keras"
    sizes = {"embed_dim": 8, "depth": 2, "num_heads": 2, "num_registers": 2}
    create_backbone("vit_tiny", 8, 16, **sizes).save(path)
    return path


@pytest.fixture
def run(weights):
    """Function (data, out, **options) -> `Embedded`, and what was said."""

    def run(data, out, **options):
        said = []
        data = data if isinstance(data, (str, dict)) else {"train": data}
        options = {"size": 16, "batch_size": 4, "cache": None, **options}
        return embed(weights, data, out, say=said.append, **options), said

    return run


GOOD = [name for name in NAMES if name != "broken"]


def arrays_of(path):
    with np.load(path) as file:
        return dict(file)


def test_npz(run, source, weights, tmp_path):
    done, said = run(source, tmp_path / "f.npz", tokens=EVERY)
    assert (done.photos, done.unreadable, done.resumed) == (11, ["broken"], 0)
    assert said[0] == "1 unreadable, passed over: broken"
    found = arrays_of(tmp_path / "f.npz")
    assert found["names"].tolist() == GOOD
    assert set(found["splits"]) == {"train"}
    assert found["class_names"].tolist() == CLASSES
    assert found["labels"].tolist() == [-1, 1, 2, 0, -1, 2, 0, 1, -1, 0, 2]
    backbone = load_backbone(weights)
    wanted = extract_summaries(
        backbone, evaluation_dataset(source, 16, 4), ("cls", "mean_patch")
    )
    np.testing.assert_allclose(found["cls"], wanted["cls"], atol=1e-5)
    np.testing.assert_allclose(found["mean"], wanted["mean_patch"], atol=1e-5)
    assert found["patches"].shape == (11, 4, 8)
    np.testing.assert_allclose(found["patches"].mean(axis=1), found["mean"], atol=1e-5)
    facts = json.loads(str(found["facts"]))
    assert (facts["size"], facts["grid"], facts["unreadable"]) == (16, [2, 2], 1)
    assert [file.name for file in tmp_path.iterdir()] == ["f.npz"]


def test_csv_gives_numbers_and_names_back(run, source, tmp_path):
    run(source, tmp_path / "f.npz", tokens=("cls", "mean"))
    run(source, tmp_path / "f.csv", tokens=("cls", "mean"))
    with open(tmp_path / "f.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:5] == ["name", "split", "label", "class", "cls_0"]
    assert header[-1] == "mean_7"
    arrays = arrays_of(tmp_path / "f.npz")
    numbers = np.array([row[4:] for row in rows], np.float32)
    np.testing.assert_array_equal(numbers[:, :8], arrays["cls"])
    np.testing.assert_array_equal(numbers[:, 8:], arrays["mean"])
    assert [row[0].removeprefix("'") for row in rows] == GOOD
    assert not any(row[0].startswith(("=", "+", "-", "@", "\t")) for row in rows)
    assert rows[1][2:4] == ["1", "cat, the"]
    assert rows[3][2:4] == ["0", "'" + CLASSES[0]]
    assert rows[0][2:4] == ["", ""]


def test_harmless_texts():
    for first in "=+-@\t\r\n＝":
        assert harmless(f"{first}1+1") == f"'{first}1+1"
    assert harmless("'x") == "''x"
    assert harmless("a=b") == "a=b"
    assert harmless("") == ""


def test_csv_of_patches(run, source, tmp_path):
    run(source, tmp_path / "f.npz", tokens="patches")
    run(source, tmp_path / "f.csv", tokens="patches", dtype="float16")
    with open(tmp_path / "f.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[4:6] == ["patch", "patches_0"]
    assert [row[4] for row in rows[:5]] == ["0", "1", "2", "3", "0"]
    found = np.array([row[5:] for row in rows], np.float16).reshape(11, 4, 8)
    wanted = arrays_of(tmp_path / "f.npz")["patches"].astype(np.float16)
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(UserError, match="got cls patches, allowed in .csv: patches al"):
        run(source, tmp_path / "g.csv", tokens=("patches", "cls"))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_parquet(run, source, tmp_path, dtype):
    parquet = pytest.importorskip("pyarrow.parquet")
    run(source, tmp_path / "f.npz", tokens=EVERY, dtype=dtype)
    run(source, tmp_path / "f.parquet", tokens=EVERY, dtype=dtype)
    table, arrays = parquet.read_table(tmp_path / "f.parquet"), None
    arrays = arrays_of(tmp_path / "f.npz")
    assert arrays["cls"].dtype == dtype
    assert table["name"].to_pylist() == GOOD
    assert table["label"].to_pylist()[:3] == [None, 1, 2]
    assert table["class"].to_pylist()[:3] == [None, "cat, the", "dog\nhouse"]
    for name in EVERY:
        flat = table[name].combine_chunks().flatten().to_numpy()
        assert flat.dtype == dtype
        np.testing.assert_array_equal(flat, arrays[name].ravel())
    assert json.loads(table.schema.metadata[b"dino_tf"])["tokens"] == list(EVERY)


def test_several_labels_a_photo(run, tmp_path):
    labels = [[0, 2], [], [1], *[[] for _ in NAMES[3:]]]
    run(photos(labels), tmp_path / "f.npz")
    found = arrays_of(tmp_path / "f.npz")["labels"]
    assert found.dtype == bool
    assert found[:3].astype(int).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    run(photos(labels), tmp_path / "f.csv")
    with open(tmp_path / "f.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1][2] == "0|2"
    parquet = pytest.importorskip("pyarrow.parquet")
    run(photos(labels), tmp_path / "f.parquet")
    table = parquet.read_table(tmp_path / "f.parquet")
    assert table["label"].to_pylist()[:3] == [[0, 2], [], [1]]


def test_both_splits_and_no_labels(run, tmp_path):
    splits = {"train": photos(), "test": photos(count=3)}
    done, said = run(splits, tmp_path / "f.npz", split="all")
    found = arrays_of(tmp_path / "f.npz")
    # "broken" is so in train alone, though test has names that are in train, too.
    assert done.unreadable == ["train/broken"]
    assert found["splits"].tolist() == ["train"] * 11 + ["test"] * 3
    assert found["names"].tolist() == GOOD + NAMES[:3]
    assert "labels" not in found
    with pytest.raises(UserError, match="split: got 'test', allowed: train, all"):
        run({"train": photos()}, tmp_path / "g.npz", split="test")
    splits["test"] = photos([0] * 12)
    with pytest.raises(UserError, match="one at a time, as their classes differ"):
        run(splits, tmp_path / "g.npz", split="all")


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_an_interrupted_run_goes_on(run, source, tmp_path, monkeypatch, suffix):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    run(source, whole, tokens=("cls", "mean"))
    append, calls = embedding.Rows.append, []

    def stop(rows, *batch):
        calls.append(1)
        if len(calls) == 2:
            # As after a kill: rows that no state tells of.
            with open(rows.folder / "cls.rows", "ab") as file:
                file.write(b"torn")
            raise KeyboardInterrupt
        append(rows, *batch)

    monkeypatch.setattr(embedding.Rows, "append", stop)
    with pytest.raises(KeyboardInterrupt):
        run(source, cut, tokens=("cls", "mean"))
    monkeypatch.undo()
    assert not cut.exists() and (tmp_path / f"cut{suffix}.part").is_dir()
    for options, words in (
        ()
        if suffix != ".npz"
        else (
            ({"size": 8}, "size 8 -> 16|size 16 -> 8"),
            ({"dtype": "float16"}, "dtype float32 -> float16"),
            ({"tokens": "cls"}, "tokens"),
            ({"data": photos()}, "data"),
        )
    ):
        given = {"data": source, "tokens": ("cls", "mean"), **options}
        with pytest.raises(UserError, match=f"begun with other settings .*({words})"):
            run(given.pop("data"), cut, **given)
    done, said = run(source, cut, tokens=("cls", "mean"))
    assert done.resumed == 4
    assert said[0] == "going on after 4 of 12 photos"
    assert done.unreadable == ["broken"]
    assert cut.read_bytes() == whole.read_bytes()
    assert not (tmp_path / f"cut{suffix}.part").exists()


def test_other_weights_than_those_begun_with(run, source, tmp_path, monkeypatch):
    out = tmp_path / "f.npz"

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedding, "format_of", lambda *a: full)
    with pytest.raises(UserError, match="No space left on device; the same command go"):
        run(source, out)
    monkeypatch.undo()
    other = tmp_path / "other.keras"
    create_backbone("vit_tiny", 8, 16, embed_dim=8, depth=2, num_heads=2).save(other)
    with pytest.raises(UserError, match="other settings .*weights"):
        embed(other, {"train": source}, out, size=16, batch_size=4, cache=None)
    done, _ = run(source, out)
    assert (done.photos, done.resumed) == (11, 11)


def test_a_kept_file_is_never_overwritten(run, source, tmp_path):
    (tmp_path / "f.npz").write_text("mine")
    with pytest.raises(UserError, match="f.npz is there already; allowed: a new name"):
        run(source, tmp_path / "f.npz")
    assert (tmp_path / "f.npz").read_text() == "mine"
    (tmp_path / "g.npz.part").mkdir()
    (tmp_path / "g.npz.part" / "mine").write_text("")
    with pytest.raises(UserError, match="g.npz.part is no unfinished run of embed"):
        run(source, tmp_path / "g.npz")
    assert (tmp_path / "g.npz.part" / "mine").exists()


def test_features_that_an_evaluation_kept(weights, source, tmp_path, monkeypatch):
    from dino_tf.evaluation import subject_of

    cache = tmp_path / "cache"
    subject = subject_of(weights, cache=cache)
    kept = subject.summaries(source, 16, ("cls",))
    monkeypatch.setattr(embedding, "evaluation_dataset", None)
    out, data = tmp_path / "f.npz", {"train": source}
    options = {"size": 16, "cache": cache, "say": lambda line: None}
    done = embed(weights, data, out, tokens=("cls", "mean"), **options)
    assert (done.photos, done.unreadable) == (11, ["broken"])
    np.testing.assert_array_equal(arrays_of(out)["cls"], kept["cls"])


def test_networks_without_cls(source, tmp_path, tiny_application):
    options = {"size": 32, "cache": None, "batch_size": 4, "say": lambda line: None}
    data = {"train": source}
    out = tmp_path / "f.npz"
    embed(f"random:{tiny_application}", data, out, tokens=EVERY, **options)
    found = arrays_of(out)
    assert found["patches"].shape == (11, 16, 12)
    np.testing.assert_allclose(found["mean"], found["cls"], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "f.txt"}, "--out: got .*f.txt, allowed: a new .npz, .csv, .parquet f"),
        ({"out": "none/f.npz"}, None),
        ({"tokens": ("cls", "keys")}, "--tokens: got keys, allowed: cls, mean, patch"),
        ({"tokens": ()}, "--tokens: got none"),
        ({"dtype": "int8"}, "--dtype: got int8, allowed: float32, float16"),
        ({"batch_size": 0}, "--batch-size: got 0, allowed: 1 or more"),
        ({"size": 15}, "--size: got 15"),
    ],
)
def test_options(run, source, tmp_path, options, message):
    out = tmp_path / options.pop("out", "f.npz")
    if message is None:
        assert run(source, out, **options)[0].path.is_file()
        return
    with pytest.raises(UserError, match=message):
        run(source, out, **options)
    assert list(tmp_path.iterdir()) == []


def test_no_readable_photo(run, tmp_path, monkeypatch):
    broken = photos(count=2)
    monkeypatch.setattr(broken, "image_bytes", lambda index: b"no")
    with pytest.raises(UserError, match="none of 2 photos can be read: "):
        run(broken, tmp_path / "f.npz")
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_float16_has_not(run, source, tmp_path, monkeypatch):
    forward = embedding._features

    def large(backbone, tokens):
        one = forward(backbone, tokens)
        return lambda images: {n: 1e6 * (v + 9) for n, v in one(images).items()}

    monkeypatch.setattr(embedding, "_features", large)
    with pytest.raises(UserError, match="not finite in float16; allowed: float32"):
        run(source, tmp_path / "f.npz", dtype="float16")


def test_parquet_without_pyarrow(run, source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match="f.parquet needs: pip install pyarrow"):
        run(source, tmp_path / "f.parquet")


@pytest.mark.slow
def test_a_killed_run_goes_on(weights, tmp_path):
    program = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1])\n"
        "from dino_tf import embedding\n"
        "append = embedding.Rows._save\n"
        "def kill(rows):\n"
        "    if rows.count == 24:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    append(rows)\n"
        "embedding.Rows._save = kill\n"
        "embedding.embed(sys.argv[2], 'scenes:40', sys.argv[3], size=32,\n"
        "                batch_size=8, cache=None)\n"
    )
    whole, cut = tmp_path / "whole.npz", tmp_path / "cut.npz"
    words = [sys.executable, "-c", program, str(ROOT), str(weights), str(cut)]
    assert subprocess.run(words, capture_output=True).returncode == -9
    assert not cut.exists()
    said, options = [], {"size": 32, "batch_size": 8, "cache": None}
    embedding.embed(weights, "scenes:40", cut, say=said.append, **options)
    assert "going on after 16 of 40 photos" in "\n".join(said)
    embedding.embed(weights, "scenes:40", whole, say=said.append, **options)
    assert cut.read_bytes() == whole.read_bytes()
