import hashlib
import io
import json
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import open_source
from dino_tf.errors import UserError
from dino_tf.shard_writer import write_splits

datasets = pytest.importorskip("datasets", reason="pip install datasets")
COMMIT = "0" * 40


def jpeg(value):
    file = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), value, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def parquet(file, labels, feature=None, column="label"):
    """A Parquet file with a text, a photo and its label in each row."""
    file.parent.mkdir(parents=True, exist_ok=True)
    features = {"text": datasets.Value("string"), "image": datasets.Image()}
    features[column] = feature or datasets.ClassLabel(names=["cat", "dog"])
    photos = [{"bytes": jpeg(i), "path": f"{i}.jpg"} for i in range(len(labels))]
    rows = {"text": ["word"] * len(labels), "image": photos, column: labels}
    rows = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    rows.to_parquet(file)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nothing outside of `tmp_path` is read or written, and nothing is shown."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "h"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    datasets.disable_progress_bars()
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """As ImageNet-1k is laid out: the test photos have no labels."""
    data = tmp_path / "set" / "data"
    parquet(data / "train-00000-of-00002.parquet", [0, 1, 1])
    parquet(data / "train-00001-of-00002.parquet", [1, 0])
    parquet(data / "validation-00000-of-00001.parquet", [1, 0, 1])
    parquet(data / "test-00000-of-00001.parquet", [-1, -1])
    return tmp_path / "set"


def labels(source):
    return [source.labels(i) for i in range(len(source))]


def test_encoded_photos_and_labels(folder):
    source = open_source(f"hf:{folder}")
    assert source.class_names == ("cat", "dog")
    assert source.name == f"hf:{folder}/train"
    assert labels(source) == [(0,), (1,), (1,), (1,), (0,)]
    photos = [source.image_bytes(i) for i in range(5)]
    assert photos == [jpeg(i) for i in (0, 1, 2, 0, 1)]
    assert [source.id(i) for i in (0, 4)] == ["00000000", "00000004"]
    for method in (source.image_bytes, source.labels, source.id):
        with pytest.raises(IndexError):
            method(5)


def test_the_test_split_is_the_first_with_labels(folder):
    source = open_source(f"hf:{folder}", "test")
    assert source.name.endswith("/validation") and labels(source) == [(1,), (0,), (1,)]
    (folder / "data" / "validation-00000-of-00001.parquet").unlink()
    source = open_source(f"hf:{folder}", "test")
    assert source.name.endswith("/test") and labels(source) == [(), ()]
    (folder / "data" / "test-00000-of-00001.parquet").unlink()
    assert open_source(f"hf:{folder}", "test") is None


def test_named_splits(folder):
    assert len(open_source(f"hf:{folder}", "validation")) == 3
    assert labels(open_source(f"hf:{folder}", "train[40%:]")) == [(1,), (1,), (0,)]
    with pytest.raises(UserError, match="'dev'; allowed: train, validation, test"):
        open_source(f"hf:{folder}", "dev")


def test_several_labels_and_none(tmp_path):
    feature = datasets.Sequence(datasets.ClassLabel(names=["a", "b", "c"]))
    file = tmp_path / "many" / "train.parquet"
    parquet(file, [[2, 0], [], [1, 1], None], feature, "objects")
    source = open_source(f"hf:{tmp_path / 'many'}")
    assert labels(source) == [(0, 2), (), (1,), ()]
    assert source.class_names == ("a", "b", "c")
    parquet(tmp_path / "none" / "train.parquet", ["x"], datasets.Value("string"))
    source = open_source(f"hf:{tmp_path / 'none'}")
    assert labels(source) == [()] and source.class_names == ()


def test_a_label_that_is_missing(tmp_path):
    parquet(tmp_path / "some" / "train.parquet", [1, None, -1, 0])
    assert labels(open_source(f"hf:{tmp_path / 'some'}")) == [(1,), (), (), (0,)]


def test_folders_of_photos_and_paths_that_lead_elsewhere(tmp_path):
    for name in ("cat/a.jpg", "dog/b.jpg"):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        (tmp_path / "set" / name).write_bytes(jpeg(7))
    source = open_source(f"hf:{tmp_path / 'set'}")
    assert [source.image_bytes(i) for i in (0, 1)] == [jpeg(7)] * 2
    assert labels(source) == [(0,), (1,)]
    (tmp_path / "secret").write_bytes(b"secret")
    features = datasets.Features({"image": datasets.Image()})
    for path in (str(tmp_path / "secret"), f"{tmp_path}/other/../secret", None):
        rows = {"image": [path and {"bytes": None, "path": path}]}
        data = datasets.Dataset.from_dict(rows, features=features)
        (tmp_path / "other").mkdir(exist_ok=True)
        # Not `to_parquet`, which would put the file's content into it.
        import pyarrow.parquet

        pyarrow.parquet.write_table(
            data.data.table, tmp_path / "other" / "train.parquet"
        )
        found = open_source(f"hf:{tmp_path / 'other'}")
        with pytest.raises(OSError, match="neither holds the photo"):
            found.image_bytes(0)


def test_threads_read_side_by_side(folder):
    source = open_source(f"hf:{folder}")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(source.image_bytes, [0, 1, 2, 3, 4] * 20))
    assert found == [jpeg(i) for i in (0, 1, 2, 0, 1)] * 20


def test_stamp_follows_the_content(folder):
    stamp = open_source(f"hf:{folder}").stamp()
    assert open_source(f"hf:{folder}").stamp() == stamp
    assert open_source(f"hf:{folder}", "validation").stamp() != stamp
    parquet(folder / "data" / "train-00001-of-00002.parquet", [1, 1])
    assert open_source(f"hf:{folder}").stamp() != stamp


def test_into_shards(folder, tmp_path):
    write_splits(f"hf:{folder}", tmp_path / "out", say=lambda _: None)
    for split in ("train", "test"):
        expected = open_source(f"hf:{folder}", split)
        found = open_source(f"shards:{tmp_path / 'out'}", split)
        assert [found.record(i) for i in range(len(found))] == [
            expected.record(i) for i in range(len(expected))
        ]


def test_data_without_photos(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"has no images; it has \['a', 'b'\]"):
        open_source(f"hf:{tmp_path / 'set'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty cannot be had: ") as error:
        open_source(f"hf:{tmp_path / 'empty'}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["cifar10", "a/b/c", "a/b:", "../b:c:d", "a /b"])
def test_names_of_another_form(name):
    with pytest.raises(UserError, match="is no folder, nor of the form hf:OWNER/NAME"):
        open_source(f"hf:{name}")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="hf:owner/name needs: pip install datasets"):
        open_source("hf:owner/name")


@pytest.fixture
def hub(folder, monkeypatch):
    """A stand-in for the Hub with `owner/name`: `gated`, and the tokens it was sent."""
    state = types.SimpleNamespace(gated=False, tokens=set())
    files = {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*.parquet")
    }
    files["README.md"] = b"A data set.\n"

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(*self.found())

        def do_GET(self):
            status, headers, data = self.found()
            self.answer(status, headers, data)
            self.wfile.write(data)

        def found(self):
            path = unquote(self.path.partition("?")[0])
            state.tokens.add(self.headers.get("Authorization"))
            resolve = f"/datasets/owner/name/resolve/{COMMIT}/"
            file = path.replace("/main/", f"/{COMMIT}/").removeprefix(resolve)
            api = path.removeprefix("/api/datasets/owner/name")
            if path.startswith("/api/datasets/owner/name") and "/tree/" in api:
                listed = [{"type": "directory", "path": "data", "oid": "b"}]
                listed += [
                    {"type": "file", "path": name, "size": len(data), "oid": "a"}
                    for name, data in files.items()
                ]
                return 200, {}, json.dumps(listed).encode()
            if path.startswith("/api/datasets/owner/name"):
                facts = {"id": "owner/name", "sha": COMMIT, "siblings": []}
                return 200, {}, json.dumps(facts).encode()
            if not path.startswith("/datasets/owner/name/"):
                return 404, {"X-Error-Code": "RepoNotFound"}, b""
            if file not in files:
                return 404, {"X-Error-Code": "EntryNotFound"}, b""
            known = self.headers.get("Authorization") == "Bearer hf_agreed"
            if state.gated and file.endswith("parquet") and not known:
                return 401, {"X-Error-Code": "GatedRepo"}, b""
            etag = hashlib.sha256(files[file]).hexdigest()
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}
            return 200, headers, files[file]

        def answer(self, status, headers, data):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()

        def log_message(self, *args):
            pass

    monkeypatch.setattr("socket.getfqdn", lambda name="": name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", url)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    constants = "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE"
    monkeypatch.setattr(constants, template)
    yield state
    http.shutdown()
    http.server_close()


def test_a_data_set_of_the_hub(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_agreed")
    hub.gated = True
    source = open_source("hf:owner/name")
    assert source.name == "hf:owner/name/train"
    assert labels(source) == [(0,), (1,), (1,), (1,), (0,)]
    assert source.image_bytes(2) == jpeg(2)
    assert "Bearer hf_agreed" in hub.tokens
    assert open_source("hf:owner/name", "test").name == "hf:owner/name/validation"


@pytest.mark.parametrize(
    ("token", "words"),
    [(None, "set HF_TOKEN to a token"), ("hf_other", "that has not agreed yet")],
)
def test_gated_data_says_what_to_do(hub, monkeypatch, token, words):
    hub.gated = True
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UserError, match=words) as error:
        open_source("hf:owner/name")
    assert "huggingface.co/datasets/owner/name" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_data_set_that_is_not_there(hub):
    with pytest.raises(UserError, match="hf:owner/missing cannot be had: ") as error:
        open_source("hf:owner/missing")
    assert "\n" not in str(error.value)


def test_a_configuration_that_is_not_there(hub):
    with pytest.raises(UserError, match="hf:owner/name cannot be had: .*'other'"):
        open_source("hf:owner/name:other")
