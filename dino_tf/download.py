"""Downloads with resume, mirrors and checks."""

import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from dino_tf.checksums import sha256_of
from dino_tf.errors import UserError

TIMEOUT = 10.0  # seconds without an answer before the next mirror is tried
CHUNK = 1 << 20
# A connection that brings less in so many seconds is given up, as a dead one is.
WINDOW, LEAST = 60.0, 60_000
RETRIES = 5  # of one mirror, as long as each try brings new bytes
# Answers of a server that may soon give others, and how long to wait for them.
BUSY = (408, 429, 500, 502, 503, 504)
WAITS = (1.0, 2.0, 4.0)  # seconds
MOST_WAIT = 30.0  # seconds that a server may ask for
# Bytes of a file whose size nobody knows beforehand.
MOST_UNKNOWN = 100 * 2**30

Progress = Callable[[int, int | None], None]


class DownloadError(UserError):
    """A download that is not possible; one line with the reason of every mirror."""


class _Busy(OSError):
    """The server asks for another try later: (words, seconds)."""


class _BadPart(Exception):
    """What lies in the `.part` file cannot become the wanted file."""


def download(
    url_list: Sequence[str],
    target: str | Path,
    size: int | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Downloads one file, going on where an earlier attempt stopped.

    Args:
        url_list: http(s) addresses of the same file, tried in turn.
        target: where the file goes; `<target>.part` while it is unfinished.
        size: bytes it must have, None for any.
        sha256: hexadecimal digest it must have, None for any; without it only a
            server that names the version of its file (ETag) is asked to go on.
        progress: called with (bytes so far, bytes in all or None).

    Returns:
        `target`. A file that is already there and passes the checks is kept.

    Raises:
        DownloadError: Every address failed, or the disk has too little room.
    """
    target = Path(target)
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and _mismatch(target, size, sha256) is None:
            return target
        have = part.stat().st_size if part.is_file() else 0
    except OSError as error:
        raise DownloadError(f"cannot write {target}: {reason_of(error)}") from error
    require_room(target.parent, (size or 0) - have)
    if sha256 is None and not _etag_file(part).is_file():
        part.unlink(missing_ok=True)  # nothing could tell a wrong beginning
    reasons = []
    for url in url_list:
        problem = _try_mirror(url, part, size, sha256, progress)
        if problem is None:
            _etag_file(part).unlink(missing_ok=True)
            part.replace(target)
            return target
        reasons.append(f"{urlsplit(url).hostname}: {problem}")
    raise DownloadError(f"cannot download {target.name}: {'; '.join(reasons)}")


def require_room(folder: Path, needed: int) -> None:
    """Raises a `DownloadError` where `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{folder} has {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB are needed"
        )


def reason_of(error: BaseException) -> str:
    """An error as a short text of one line."""
    cause = getattr(error, "reason", None) or error
    if isinstance(error, urllib.error.HTTPError):
        cause = f"HTTP {error.code} {cause}"
    text = " ".join(str(cause).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."


def _try_mirror(url, part, size, sha256, progress) -> str | None:
    """Fetches into `part` and checks it; returns the problem, None when all is well."""
    waits = iter(WAITS)
    for _ in range(RETRIES):
        before = part.stat().st_size if part.is_file() else 0
        try:
            _fetch(url, part, size, sha256, progress)
            problem = _mismatch(part, size, sha256)
            if problem is None:
                return None
            part.unlink()
        except _BadPart as error:
            problem = str(error)
            part.unlink(missing_ok=True)
        except _Busy as error:
            problem, asked = error.args
            pause = next(waits, None)
            if pause is None or asked > MOST_WAIT:
                return problem
            time.sleep(max(pause, asked))
            continue
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = reason_of(error)
            grown = part.is_file() and part.stat().st_size > before
            if not grown:
                return problem
            continue
        if before == 0:  # wrong from its first byte: another try brings the same
            return problem
    return problem


def _fetch(url, part, size, sha256, progress) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if size is not None and have == size:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "dino-tf"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if _etag_file(part).is_file():
            # A server that has another file by now sends all of it.
            request.add_header("If-Range", _etag_file(part).read_text().strip())
    try:
        response = _opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            raise _BadPart("the server has no more bytes than are here") from error
        if error.code in BUSY:
            words = f"HTTP {error.code} {error.reason}, again and again"
            raise _Busy(words, _seconds(error.headers.get("Retry-After"))) from error
        raise
    with response:
        resumed = response.status == 206
        start = f"bytes {have}-"
        if resumed and not response.headers.get("Content-Range", "").startswith(start):
            raise _BadPart("the server sent another range than asked for")
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        if total is not None and total < have:
            raise _BadPart(f"the server tells a length of {length} bytes")
        if total is None and size is None and sha256 is None and not response.chunked:
            raise _BadPart("the server does not tell where the file ends")
        if size is not None and total not in (None, size):
            raise _BadPart(f"has {total} bytes, {size} expected")
        require_room(part.parent, (total or 0) - have)
        _keep_etag(part, response.headers.get("ETag"))
        most = MOST_UNKNOWN if total is None else total
        _write(response, part, have, total, most if size is None else size, progress)


def _seconds(text):
    """Seconds that a `Retry-After` asks for; 0 where it names a date or nothing."""
    return float(text) if text and text.isdecimal() and len(text) < 10 else 0.0


def _etag_file(part):
    return part.with_name(part.name + ".etag")


def _keep_etag(part, etag):
    """Notes which version of the file `part` begins; a weak tag tells nothing."""
    if etag and not etag.startswith("W/"):
        _etag_file(part).write_text(etag)
    else:
        _etag_file(part).unlink(missing_ok=True)


def _write(response, part, have, total, most, progress) -> None:
    began, at = time.monotonic(), have
    with open(part, "ab" if have else "wb") as file:
        while chunk := response.read1(CHUNK):
            file.write(chunk)
            have += len(chunk)
            if have > most:
                raise _BadPart(f"the server sends more than {most} bytes")
            if progress:
                progress(have, total)
            if time.monotonic() - began > WINDOW:
                if have - at < LEAST:
                    raise ConnectionError(f"{have - at} bytes in {WINDOW:g} s")
                began, at = time.monotonic(), have
    if total is not None and have < total:
        raise ConnectionError(f"connection ended after {have} of {total} bytes")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects that keep what https promises; those to files have no handler."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            words = f"redirect to {urlsplit(newurl).scheme}: is refused"
            raise urllib.error.HTTPError(newurl, code, words, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Only http(s), also after redirects: no file: or ftp: addresses."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _mismatch(file: Path, size: int | None, sha256: str | None) -> str | None:
    found = file.stat().st_size
    if size is not None and found != size:
        return f"has {found} bytes, {size} expected"
    if sha256 is None:
        return None
    digest = sha256_of(file)
    if digest != sha256:
        return f"wrong checksum (SHA-256 {digest[:12]}..., {sha256[:12]}... expected)"
    return None
