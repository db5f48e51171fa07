import hashlib

import numpy as np
import pytest

from dino_tf.download import DownloadError, download
from dino_tf.errors import UserError

DATA = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def good(server):
    server.files["/good"] = DATA


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


def test_an_etag_makes_a_resume_without_checksum_safe(server, tmp_path):
    server.etag, server.cut = '"one"', 10_000
    with pytest.raises(DownloadError):
        download([server.url + "/good", server.url + "/gone"], tmp_path / "f")
    assert 0 < (tmp_path / "f.part").stat().st_size < 300_000
    server.cut, server.ranges = None, []
    download([server.url + "/good"], tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == DATA
    assert server.ranges[0].startswith("bytes=") and server.ranges[0] != "bytes=0-"
    assert [f.name for f in tmp_path.iterdir()] == ["f"]


def test_a_file_that_changed_meanwhile_starts_again(server, tmp_path):
    (tmp_path / "f.part").write_bytes(b"x" * 100_000)
    (tmp_path / "f.part.etag").write_text('"old"')
    server.etag = '"new"'
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
