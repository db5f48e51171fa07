"""Safe unpacking of archives."""

import stat
import tarfile
import zipfile
from pathlib import Path

from dino_tf.download import DownloadError, reason_of, require_room


def extract(archive: str | Path, folder: str | Path) -> None:
    """Unpacks a tar or zip file into `folder`; nothing may land outside of it.

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
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        message = f"cannot unpack {archive.name}: {reason_of(error)}"
        raise DownloadError(message) from error


def _extract_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        require_room(folder, sum(member.size for member in tar.getmembers()))
        tar.extractall(folder, filter="data")


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:
            parts = member.filename.replace("\\", "/").split("/")
            if not parts[0] or ".." in parts or ":" in parts[0]:
                raise zipfile.BadZipFile(f"{member.filename!r} leaves the folder")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise zipfile.BadZipFile(f"{member.filename!r} is a link")
        require_room(folder, sum(member.file_size for member in members))
        file.extractall(folder)
