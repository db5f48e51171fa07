import hashlib
import io
import tarfile
import zipfile

import pytest
from PIL import Image

from dino_tf.datasets import voc_archives as file
from dino_tf.datasets.voc import open_voc
from dino_tf.datasets.voc_archives import get_voc
from dino_tf.download import DownloadError


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
