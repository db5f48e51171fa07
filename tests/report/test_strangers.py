"""Run folders of strangers: a page and notes, or one line; nothing from elsewhere."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from dino_tf.report import run_files
from dino_tf.report.jpeg import file_uri
from dino_tf.report.run_records import MOST_LETTERS, read_object, read_records, text
from dino_tf.report.write import write_report
from dino_tf.run_folder import RunFolder

EVIL = "</script><img src=x onerror=alert(1)>'\"\u2028\u2029\x1b[31m\ud800"
VALUES = [
    None,
    True,
    3,
    -1,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    EVIL,
    [],
    {},
    [[1]],
    {EVIL: EVIL},
    [EVIL, 3, None, {"a": []}],
    "x" * 100_000,
]


def page_of(path, **options):
    lines = []
    page = write_report(path, lines.append, **options).read_text(encoding="utf-8")
    found = re.search(r'type="application/json" id="data">(.*?)</script>', page, re.S)
    assert page.count("</script>") == 2 and "<img" not in page
    assert all(line.isprintable() for line in lines)
    return json.loads(found.group(1)), lines


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_any_value_at_any_place_of_any_file(value, tmp_path):
    keys = "epoch seconds verdict advice loss knn/a untrained/knn/a photos".split()
    record = dict.fromkeys([*keys, EVIL], value)
    lines = [{**record, "epoch": 1}, record, {"epoch": 2, EVIL: 1, "loss": value}]
    folder = RunFolder(tmp_path / "run")
    folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder.summary.write_text(json.dumps(record))
    (folder.path / "eval").mkdir()
    task = "numbers options published notes files failed".split()
    results = [
        dict.fromkeys(["tasks", "notes", "weights", "data", EVIL], value),
        {"tasks": {EVIL: value, "b": dict.fromkeys(task, value)}},
        {"tasks": {"c": {"numbers": {"ours": {EVIL: value}, EVIL: value}}}},
    ]
    for number, result in enumerate(results):
        (folder.path / f"eval/{number}.json").write_text(json.dumps(result))
    found, _ = page_of(folder.path)
    assert len(found["evaluations"]) == 3
    assert len(json.dumps(found)) < 60 * MOST_LETTERS


@pytest.mark.parametrize(
    "content",
    [b"", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"[1]", b"3", b"1" * 9999],
    ids=lambda content: repr(content[:8]),
)
def test_files_that_are_no_json(content, tmp_path):
    folder = RunFolder(tmp_path / "run")
    (folder.path / "eval").mkdir()
    for file in (folder.metrics, folder.summary, folder.path / "eval/a.json"):
        file.write_bytes(content)
    folder.config.write_bytes(content)
    assert read_object(folder.summary) is None and read_records(folder.metrics) == []
    found, lines = page_of(folder.path)
    assert "not in the report: eval/a.json cannot be read" in lines


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret" / "secret.png"
    path.parent.mkdir()
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(path)
    return path


def test_pictures_and_files_from_elsewhere_stay_there(secret, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.add_metrics({"epoch": 1})
    (folder.path / "eval").mkdir()
    (folder.path / "eval/link.png").symlink_to(secret)
    names = [str(secret), "../../secret/secret.png", "eval/../../secret/secret.png"]
    names += ["link.png", "eval/link.png", "a\0.png", "eval/../../../secret.png"]
    result = {"tasks": {"a": {"files": names, "numbers": {}}}}
    (folder.path / "eval/a.json").write_text(json.dumps(result))
    other = secret.with_name("b.json")
    other.write_text("{}")
    (folder.path / "eval/b.json").symlink_to(other)
    at = folder.attention / "photo"
    at.mkdir(parents=True)
    for name in ("original", "attention_mean"):
        (at / f"{name}.png").symlink_to(secret)
    found, lines = page_of(folder.path)
    assert found["evaluations"][0]["tasks"][0]["pictures"] == []
    assert "not in the report: eval/b.json cannot be read" in lines
    assert "data:image" not in json.dumps(found["attention"])


def test_pictures_of_other_formats_and_bombs_are_left_out(tmp_path, monkeypatch):
    for name, content in (("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n"), ("b.png", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OSError, match="cannot be read"):
            file_uri(tmp_path / name, 10)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "c.png")
    with pytest.raises(OSError, match="cannot be read"):
        file_uri(tmp_path / "c.png", 10)


CONFIG = "data: scenes:8\nmodel: {arch: vit_tiny, patch_size: 8, image_size: 32}\n"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("data: !!python/object/apply:os.system ['exit']", "config.yaml is of another"),
        ("data: [" * 5000, "config.yaml is of another"),
        ("data: folder:/nowhere", "nothing that needs the photos"),
        ("data: scenes:8\nviews: {global_size: 1000000000}", "views.global_size"),
        ("data: scenes:8\nrun: {attention_size: 1000000}", "run.attention_size"),
        (CONFIG + "head: {out_dim: 1000000000000}", "larger network than the"),
        ("data: scenes:8\nmodel: {arch: 'keras_hub:hf://a/b'}", "to be fetched"),
        (CONFIG, "nothing that needs the network"),
    ],
)
def test_configurations(config, words, tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.config.write_text(config)
    folder.checkpoints.mkdir()
    (folder.checkpoints / "epoch-0001-step-000000.safetensors").write_bytes(b"{" * 99)
    (folder.checkpoints / "epoch-0001-step-000000.json").write_text("[" * 100_000)
    _, lines = page_of(folder.path)
    assert any(words in line for line in lines), lines


def test_photos_may_be_left_out(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.config.write_text("data: folder:/home")
    _, lines = page_of(folder.path, data="none")
    assert lines[0] == (
        "not in the report: nothing that needs the photos: --data is none"
    )


def test_texts_are_one_line():
    assert text("a\nb\x1b\u202e\ud800é") == "a\\nb\\x1b\\u202e\\ud800é"
    assert run_files.configuration(EVIL + ":\n" + EVIL) is not None
