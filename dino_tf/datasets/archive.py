"""Safe unpacking of archives."""

import stat
import tarfile
import zipfile
from pathlib import Path

from dino_tf.download import DownloadError, reason_of, require_room

# What an archive may hold: as many files, and as many bytes for each of its own.
# Photos hardly pack; tables of text do, and small archives of them are let be.
MOST_FILES, MOST_GROWTH, SLACK = 2_000_000, 20, 2**28


def extract(archive: str | Path, folder: str | Path) -> None:
    """Unpacks a plain tar or a zip file into `folder`; nothing may land outside of it.

    It is looked through before the first file is written: links, devices and
    far more than the archive's own bytes are refused.

    Raises:
        DownloadError: The archive is damaged, unsafe or larger than the disk.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, folder)
        else:
            _extract_tar(archive, folder)
    except DownloadError:
        raise
    # zlib, lzma, struct and the codecs of names have errors of their own.
    except Exception as error:
        message = f"cannot unpack {archive.name}: {reason_of(error)}"
        raise DownloadError(message) from error


def _extract_tar(archive: Path, folder: Path) -> None:
    # Not the packed kinds, which may hold headers of any length.
    with tarfile.open(archive, "r:") as tar:
        count, total = 0, 0
        # One by one, as the list itself may be what fills the memory.
        for member in tar:
            # Every length is told before what it counts is unpacked.
            count, total = count + 1, total + max(member.size, 0)
            _require_sane(archive, count, total)
            if not (member.isreg() or member.isdir()):
                # Python's filter lets harmless links pass, and did not know all others.
                raise tarfile.TarError(f"{member.name!r} is a link or device")
            tarfile.data_filter(member, str(folder))
        require_room(folder, total)
        tar.extractall(folder, filter="data")


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        total = sum(member.file_size for member in members)
        _require_sane(archive, len(members), total)
        for member in members:
            parts = member.filename.replace("\\", "/").split("/")
            if not parts[0] or ".." in parts or ":" in parts[0]:
                raise zipfile.BadZipFile(f"{member.filename!r} leaves the folder")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise zipfile.BadZipFile(f"{member.filename!r} is a link")
        require_room(folder, total)
        file.extractall(folder)


def _require_sane(archive, count, total):
    if count > MOST_FILES:
        raise DownloadError(f"{archive.name} holds more than {MOST_FILES} files")
    if total > MOST_GROWTH * archive.stat().st_size + SLACK:
        raise DownloadError(
            f"{archive.name} would unpack to {total / 1e6:.0f} MB, more than "
            f"{MOST_GROWTH} times its size"
        )
