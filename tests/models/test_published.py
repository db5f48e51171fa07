"""Published weights by name, from a server on 127.0.0.1."""

import hashlib
import json
import re
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dino_tf.download import DownloadError
from dino_tf.errors import UserError
from dino_tf.models import published
from dino_tf.models.loading import load_backbone
from dino_tf.models.published import PATHS, cache_folder, fetch_published

NAME = "dino_vits16"


@pytest.fixture
def files(server, tmp_path, monkeypatch, request):
    """The server with a real file under the published path; the cache is a folder."""
    data = request.path.parents[1] / "reference" / "data" / "backbone_only.pth"
    path = PATHS[NAME].removeprefix("https://dl.fbaipublicfiles.com")
    server.files[path] = data.read_bytes()
    monkeypatch.setitem(published.PATHS, NAME, server.url + path)
    monkeypatch.setenv("DINO_TF_CACHE", str(tmp_path / "cache"))
    server.path = path
    return server


def test_official_addresses():
    start = "https://dl.fbaipublicfiles.com/dino/dino_"
    small = f"{start}deitsmall16_pretrain/dino_deitsmall16_pretrain"
    assert PATHS["dino_vits16"] == f"{small}.pth"
    assert PATHS["dino_vits16_full"] == f"{small}_full_checkpoint.pth"
    xcit = f"{start}xcit_medium_24_p8_pretrain/dino_xcit_medium_24_p8_pretrain.pth"
    assert PATHS["dino_xcit_medium_24_p8"] == xcit
    second = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/"
    assert PATHS["dinov2_vitl14_reg4"] == f"{second}dinov2_vitl14_reg4_pretrain.pth"
    assert len(PATHS) == 26


def test_downloaded_once_and_noted(files):
    for _ in range(2):
        file = fetch_published(NAME)
    assert len(files.ranges) == 1
    assert file.parent == cache_folder()
    note = json.loads((file.parent / f"{file.name}.json").read_text())
    data = files.files[files.path]
    digest = hashlib.sha256(data).hexdigest()
    assert note == {"size": len(data), "sha256": digest}
    assert load_backbone(NAME, num_heads=3).patch_size == 8
    assert sorted(f.name for f in file.parent.iterdir()) == [
        file.name,
        f"{file.name}.json",
    ]


def test_a_damaged_file_is_downloaded_again(files):
    file = fetch_published(NAME)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    fetch_published(NAME)
    assert file.read_bytes() == files.files[files.path]


def test_another_file_under_the_same_address_is_refused(files):
    file = fetch_published(NAME)
    data = files.files[files.path]
    files.files[files.path] = data[:-1] + b"?"
    file.unlink()
    with pytest.raises(DownloadError, match="gives another file than at first; remove"):
        fetch_published(NAME)
    assert not file.exists()


def test_a_file_brought_by_hand_is_taken(files):
    file = cache_folder() / files.path.rpartition("/")[2]
    file.parent.mkdir()
    file.write_bytes(files.files.pop(files.path))
    assert fetch_published(NAME) == file
    assert file.with_name(file.name + ".json").is_file()
    assert not files.ranges


def test_a_page_instead_of_a_file_leaves_nothing(files):
    files.files[files.path] = b"<html>log in</html>"
    with pytest.raises(DownloadError, match="gave no PyTorch file") as caught:
        load_backbone(NAME)
    assert "\n" not in str(caught.value)
    assert not list(cache_folder().iterdir())


def test_no_network(files, monkeypatch):
    monkeypatch.setitem(published.PATHS, NAME, "http://127.0.0.1:9/x/w.pth")
    with pytest.raises(DownloadError, match="bring the file to") as caught:
        fetch_published(NAME)
    assert re.match("dino_vits16: cannot download w.pth", str(caught.value))


def test_an_interrupted_download_goes_on(files):
    files.etag, files.cut = '"1"', 10_000
    with pytest.raises(DownloadError):
        fetch_published(NAME)
    files.cut, files.ranges = None, []
    fetch_published(NAME)
    assert files.ranges == ["bytes=50000-"]


@pytest.fixture
def hub(request, tmp_path, monkeypatch):
    """A stand-in for the Hugging Face Hub: `files` by repository, what was `asked`."""
    name, reason = "huggingface_hub.constants", "pip install huggingface_hub"
    constants = pytest.importorskip(name, reason=reason)
    data = request.path.parents[1] / "reference" / "data" / "backbone_only.pth"
    state = types.SimpleNamespace(files={"owner/name": "pytorch_model.bin"}, asked=[])

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(b"")

        def do_GET(self):
            self.answer(data.read_bytes())

        def answer(self, body):
            repository, _, file = self.path[1:].partition("/resolve/main/")
            state.asked.append((file, self.headers.get("Authorization")))
            found = state.files.get(repository) == file
            self.send_response(200 if found else 404)
            if not found:
                known = repository in state.files
                code = "EntryNotFound" if known else "RepoNotFound"
                self.send_header("X-Error-Code", code)
            else:
                self.send_header("ETag", '"one"')
                self.send_header("X-Repo-Commit", "0" * 40)
            length = data.stat().st_size if found else 0
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body if found else b"")

        def log_message(self, *args):
            pass

    monkeypatch.setattr("socket.getfqdn", lambda name="": name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    url = f"http://127.0.0.1:{http.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield state
    http.shutdown()
    http.server_close()


def test_weights_of_the_hub(hub):
    backbone = load_backbone("hf://owner/name", num_heads=3)
    assert backbone.patch_size == 8
    files = [file for file, _ in hub.asked if file]
    assert files[:2] == ["model.safetensors", "pytorch_model.bin"]
    assert ("pytorch_model.bin", "Bearer hf_secret") in hub.asked


@pytest.mark.parametrize("name", ["owner/missing", "owner/empty"])
def test_repositories_without_weights(hub, name):
    hub.files["owner/empty"] = "README.md"
    with pytest.raises(UserError, match=f"hf://{name} cannot be had") as caught:
        load_backbone(f"hf://{name}")
    assert "\n" not in str(caught.value)
