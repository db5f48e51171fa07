import contextlib
import hashlib
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from dino_tf.download import DownloadError, _Redirects, download
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


@pytest.fixture
def waits(monkeypatch):
    """Seconds that were waited, without waiting."""
    asked = []
    monkeypatch.setattr("dino_tf.download.time.sleep", asked.append)
    return asked


def answer(status, headers=(), body=b"", protocol="HTTP/1.0"):
    """A function of a request's handler that answers so."""

    def act(handler):
        handler.protocol_version = protocol
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return act


def test_a_busy_server_is_asked_again_a_few_times(server, tmp_path, waits):
    server.files["/busy"] = answer(503)
    with pytest.raises(DownloadError, match="HTTP 503 .*, again and again") as error:
        download([server.url + "/busy"], tmp_path / "f")
    assert waits == [1.0, 2.0, 4.0] and len(server.ranges) == 4
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_server_that_recovers(server, tmp_path, waits):
    def busy(handler):
        server.files["/later"] = DATA
        answer(429, [("Retry-After", "7")])(handler)

    server.files["/later"] = busy
    download([server.url + "/later"], tmp_path / "f", 300_000, SHA256)
    assert waits == [7.0] and (tmp_path / "f").read_bytes() == DATA


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (answer(503, [("Retry-After", "9999")]), "HTTP 503"),
        (answer(404), "404"),
        (answer(403), "403"),
        (answer(200, [("Content-Length", "900")], DATA[:800]), "800 of 900 bytes"),
        (answer(200, [("Content-Length", "-5")], DATA), "length of -5"),
        (answer(200, [("Content-Length", "many")], DATA), ""),
        (answer(200, [("Content-Length", str(10**18))]), "MB are needed"),
        (answer(200, (), DATA), "does not tell where the file ends"),
        (
            answer(200, [("Transfer-Encoding", "chunked")], b"5\r\nab", "HTTP/1.1"),
            "IncompleteRead",
        ),
        (
            answer(200, [("Transfer-Encoding", "chunked")], b"zz\r\n", "HTTP/1.1"),
            "IncompleteRead",
        ),
        (answer(206, [("Content-Range", "bytes 5-9/10")], b"abcde"), "another range"),
        (answer(302, [("Location", "/loop")]), "redirect"),
        (answer(302, [("Location", "ftp://127.0.0.1/a")]), "ftp"),
        (answer(302, [("Location", "data:,a")]), "data"),
        (answer(302, [("Location", "http://[::bad")]), ""),
        (lambda handler: handler.wfile.write(b"no HTTP at all\r\n"), ""),
        (lambda handler: handler.wfile.write(b"HTTP/1.0 200 OK\r\n" * 500), ""),
        (lambda handler: None, "closed connection"),
    ],
)
def test_answers_that_are_no_file(server, tmp_path, waits, reply, words):
    server.files["/loop"] = reply
    with pytest.raises(DownloadError) as error:
        download([server.url + "/loop"], tmp_path / "f")
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "f").exists()
    assert len(server.ranges) < 12


@pytest.mark.parametrize("length", [[], [("Content-Length", "300000")]])
@pytest.mark.parametrize("body", [DATA + b"more", DATA[:-1], b"<html>moved</html>"])
def test_longer_and_shorter_than_promised(server, tmp_path, waits, length, body):
    server.files["/f"] = answer(200, length, body)
    if len(body) > 300_000 and length:
        # What follows the promised bytes is not read.
        download([server.url + "/f"], tmp_path / "f", 300_000, SHA256)
        assert (tmp_path / "f").read_bytes() == DATA
        return
    with pytest.raises(DownloadError):
        download([server.url + "/f"], tmp_path / "f", 300_000, SHA256)
    assert not (tmp_path / "f").exists()


def test_a_server_that_trickles_is_given_up_and_another_goes_on(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr("dino_tf.download.WINDOW", 0.05)
    sent = []

    def trickle(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        with contextlib.suppress(ConnectionError):
            for byte in DATA:
                handler.wfile.write(bytes([byte]))
                sent.append(byte)
                time.sleep(0.005)

    server.files["/slow"] = trickle
    urls = [server.url + "/slow", server.url + "/good"]
    file = download(urls, tmp_path / "f", sha256=SHA256)
    assert file.read_bytes() == DATA and 0 < len(sent) < len(DATA)
    with pytest.raises(DownloadError, match=r"bytes in 0\.05 s"):
        download(urls[:1], tmp_path / "g", sha256=SHA256)


def test_https_is_not_left():
    request = urllib.request.Request("https://example.org/a")
    ask = _Redirects().redirect_request
    with pytest.raises(urllib.error.HTTPError, match="redirect to http: is refused"):
        ask(request, None, 302, "Found", {}, "http://example.org/a")
    assert ask(request, None, 302, "Found", {}, "https://example.org/b")


def test_redirect_to_another_place_on_the_web(server, tmp_path):
    server.files["/moved"] = answer(301, [("Location", "/good")])
    download([server.url + "/moved"], tmp_path / "f", 300_000, SHA256)
    assert (tmp_path / "f").read_bytes() == DATA


def test_no_network_is_one_line(tmp_path, waits):
    with pytest.raises(DownloadError, match="nowhere.invalid: ") as error:
        download(["https://nowhere.invalid/f"], tmp_path / "f")
    assert "\n" not in str(error.value) and not waits
