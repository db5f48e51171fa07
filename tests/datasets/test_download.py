import hashlib
import io
import tarfile
import threading
import types
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from dino_tf.datasets import download as file
from dino_tf.datasets.archive import DownloadError
from dino_tf.datasets.download import download, get_voc
from dino_tf.datasets.voc import open_voc
from dino_tf.errors import UserError

DATA = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """A server on 127.0.0.1 with `files`, `ranges` asked for, and `cut` bytes."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = types.SimpleNamespace(files={"/good": DATA}, ranges=[], cut=None)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            data = state.files.get(self.path)
            if data is None:
                return self.send_error(404)
            if callable(data):
                return data(self)
            start = int(asked[6:-1]) if asked and self.path != "/no-ranges" else 0
            if start >= len(data):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            if start:
                span = f"bytes {start}-{len(data) - 1}/{len(data)}"
                self.send_header("Content-Range", span)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:][: state.cut])

        def log_message(self, *args):
            pass

    # The name of the host is of no use here and may take seconds to look up.
    monkeypatch.setattr("socket.getfqdn", lambda name="": name)
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serve = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    serve.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    http.server_close()


def test_download_checks_and_reports_progress(server, tmp_path):
    seen = []
    target = tmp_path / "deep" / "file.tar"
    got = download(
        [server.url + "/good"],
        target,
        300_000,
        SHA256,
        lambda done, total: seen.append((done, total)),
    )
    assert got == target and target.read_bytes() == DATA
    assert seen[-1] == (300_000, 300_000)
    assert [p.name for p in target.parent.iterdir()] == ["file.tar"]
    download([server.url + "/good"], target, 300_000, SHA256)
    assert len(server.ranges) == 1  # the whole file is kept, not asked for again


def test_resume_asks_only_for_the_rest(server, tmp_path):
    (tmp_path / "f.part").write_bytes(DATA[:100_000])
    download([server.url + "/good"], tmp_path / "f", 300_000, SHA256)
    assert server.ranges == ["bytes=100000-"]
    assert (tmp_path / "f").read_bytes() == DATA


def test_broken_connections_go_on_where_they_ended(server, tmp_path):
    server.cut = 100_000
    download([server.url + "/good"], tmp_path / "f", 300_000, SHA256)
    assert server.ranges == [None, "bytes=100000-", "bytes=200000-"]
    assert (tmp_path / "f").read_bytes() == DATA


def test_server_without_ranges_starts_again(server, tmp_path):
    server.files["/no-ranges"] = DATA
    (tmp_path / "f.part").write_bytes(DATA[:100_000])
    download([server.url + "/no-ranges"], tmp_path / "f", 300_000, SHA256)
    assert (tmp_path / "f").read_bytes() == DATA


@pytest.mark.parametrize("beginning", [b"x" * 100_000, b"x" * 300_000, b"x" * 400_000])
def test_wrong_beginning_is_thrown_away(server, tmp_path, beginning):
    (tmp_path / "f.part").write_bytes(beginning)
    download([server.url + "/good"], tmp_path / "f", 300_000, SHA256)
    assert (tmp_path / "f").read_bytes() == DATA


def test_without_checksum_nothing_is_resumed(server, tmp_path):
    (tmp_path / "f.part").write_bytes(b"x" * 100_000)
    download([server.url + "/good"], tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA


def test_next_mirror_after_broken_ones(server, tmp_path):
    server.files["/page"] = b"<html>moved</html>"
    server.files["/wrong"] = DATA[:-1] + b"?"
    urls = [
        "http://127.0.0.1:9/closed",
        *(server.url + path for path in ("/missing", "/page", "/wrong", "/good")),
    ]
    download(urls, tmp_path / "f", 300_000, SHA256)
    assert (tmp_path / "f").read_bytes() == DATA
    assert len(server.ranges) == 4


def test_every_mirror_fails_with_one_line(server, tmp_path):
    server.files["/wrong"] = DATA[:-1] + b"?"
    urls = [server.url + "/wrong", server.url + "/missing", "file:///etc/hostname"]
    with pytest.raises(UserError) as error:
        download(urls, tmp_path / "f", 300_000, SHA256)
    message = str(error.value)
    assert isinstance(error.value, DownloadError) and "\n" not in message
    assert "wrong checksum" in message and "404" in message or "Not Found" in message
    assert "unknown url type: file" in message
    assert not list(tmp_path.iterdir())


def test_redirect_to_a_local_file_is_refused(server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")

    def redirect(handler):
        handler.send_response(302)
        handler.send_header("Location", f"file://{secret}")
        handler.end_headers()

    server.files["/redirect"] = redirect
    with pytest.raises(DownloadError):
        download([server.url + "/redirect"], tmp_path / "f")
    assert not (tmp_path / "f").exists()


def test_full_disk_is_told_before_the_download(server, tmp_path):
    with pytest.raises(DownloadError, match="MB are needed"):
        download([server.url + "/good"], tmp_path / "f", 10**18, SHA256)
    assert server.ranges == []


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def zip_of(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def devkit(image_set, name, prefix="VOCdevkit/VOC2007"):
    photo = io.BytesIO()
    Image.new("RGB", (4, 4)).save(photo, "JPEG")
    return {
        f"{prefix}/JPEGImages/{name}.jpg": photo.getvalue(),
        f"{prefix}/Annotations/{name}.xml": b"<annotation/>",
        f"{prefix}/ImageSets/Main/{image_set}.txt": f"{name}\n".encode(),
    }


@pytest.fixture
def voc_server(server, tmp_path, monkeypatch):
    """Serves tiny archives in place of the official ones."""
    archives = []
    for image_set, name in (("trainval", "000005"), ("test", "000001")):
        path = tar_of(tmp_path / "made.tar", devkit(image_set, name))
        data = path.read_bytes()
        server.files[f"/{image_set}.tar"] = data
        path.unlink()
        digest = hashlib.sha256(data).hexdigest()
        archives.append(file.Archive(f"voc2007/{image_set}.tar", len(data), digest))
    urls = property(lambda archive: [f"{server.url}/{archive.file_name}"])
    monkeypatch.setattr(file.Archive, "urls", urls)
    monkeypatch.setattr(file, "ARCHIVES", {2007: tuple(archives)})
    return server


def test_get_voc_downloads_unpacks_and_cleans(voc_server, tmp_path):
    folder = get_voc(2007, tmp_path / "data")
    assert folder == tmp_path / "data" / "VOCdevkit" / "VOC2007"
    assert open_voc(2007, tmp_path / "data").id(0) == "000005"
    assert open_voc(2007, tmp_path / "data", "test").id(0) == "000001"
    assert not list((tmp_path / "data/downloads").iterdir())
    asked = len(voc_server.ranges)
    get_voc(2007, tmp_path / "data")
    assert len(voc_server.ranges) == asked == 2


def test_get_voc_replaces_only_what_is_missing(voc_server, tmp_path):
    folder = get_voc(2007, tmp_path)
    (folder / "JPEGImages/000001.jpg").unlink()
    get_voc(2007, tmp_path)
    assert (folder / "JPEGImages/000001.jpg").is_file()
    assert len(voc_server.ranges) == 3


def test_drive_is_the_last_resort(voc_server, tmp_path, monkeypatch):
    voc_server.files.clear()
    members = devkit("trainval", "000005", "copy/a/VOCdevkit/VOC2007")
    members |= devkit("test", "000001", "copy/b/VOCdevkit/VOC2007")
    asked = []

    def gdown(target, progress):
        asked.append(target.name)
        zip_of(target, members)

    monkeypatch.setattr(file, "_download_from_drive", gdown)
    folder = get_voc(2007, tmp_path)
    assert asked == ["voc2007.zip"]
    assert sorted(p.name for p in (folder / "JPEGImages").iterdir()) == [
        "000001.jpg",
        "000005.jpg",
    ]


def test_impossible_download_names_every_mirror(voc_server, tmp_path, monkeypatch):
    voc_server.files.clear()

    def gdown(target, progress):
        raise RuntimeError("quota\nexceeded")

    monkeypatch.setattr(file, "_download_from_drive", gdown)
    with pytest.raises(DownloadError) as error:
        get_voc(2007, tmp_path)
    assert "Not Found" in str(error.value)
    assert str(error.value).endswith("Google Drive: quota exceeded")


def test_incomplete_copy_is_refused(voc_server, tmp_path, monkeypatch):
    voc_server.files.clear()
    members = devkit("trainval", "000005")
    monkeypatch.setattr(
        file, "_download_from_drive", lambda target, progress: zip_of(target, members)
    )
    with pytest.raises(DownloadError, match="incomplete: no or not all photos of test"):
        get_voc(2007, tmp_path)


def test_official_archives():
    sizes = [a.size for a in file.ARCHIVES[2007] + file.ARCHIVES[2012]]
    assert sizes == [460032000, 451020800, 1999639040]
    assert file.ARCHIVES[2007][0].urls[0] == (
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2007/VOCtrainval_06-Nov-2007.tar"
    )
    assert all(len(a.sha256) == 64 for a in file.ARCHIVES[2007] + file.ARCHIVES[2012])


def test_progress_line_only_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal, pipe = Terminal(), io.StringIO()
    file.ProgressLine("voc", terminal)(2_000_000, 2_000_000)
    file.ProgressLine("voc", pipe)(2_000_000, 2_000_000)
    assert "voc 2 MB 100% of 2 MB" in terminal.getvalue()
    assert pipe.getvalue() == ""
