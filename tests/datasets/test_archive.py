import io
import stat
import tarfile
import zipfile

import pytest

from dino_tf.datasets.archive import DownloadError, extract, require_room


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def zip_of(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            if isinstance(data, str):
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, data)
    return path


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_extract(tmp_path, make):
    archive = make(tmp_path / "a", {"x/1.txt": b"one", "2.txt": b"two"})
    extract(archive, tmp_path / "out")
    assert (tmp_path / "out/x/1.txt").read_bytes() == b"one"
    assert (tmp_path / "out/2.txt").read_bytes() == b"two"


@pytest.mark.parametrize(
    "make, members",
    [
        (tar_of, {"../evil": b"x"}),
        (tar_of, {"link": "/etc"}),
        (tar_of, {"link": "../..", "link/evil": b"x"}),
        (zip_of, {"../evil": b"x"}),
        (zip_of, {"a\\..\\..\\evil": b"x"}),
        (zip_of, {"/tmp/evil": b"x"}),
        (zip_of, {"C:/evil": b"x"}),
        (zip_of, {"link": "/etc"}),
    ],
)
def test_members_that_leave_the_folder_are_refused(tmp_path, make, members):
    archive = make(tmp_path / "a", members)
    with pytest.raises(DownloadError, match="cannot unpack a: "):
        extract(archive, tmp_path / "in" / "out")
    assert not list(tmp_path.rglob("evil"))
    assert not list(tmp_path.rglob("link"))


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04 broken"])
def test_damaged_archive_is_one_line(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(DownloadError, match="cannot unpack a.tar"):
        extract(tmp_path / "a.tar", tmp_path / "out")


def test_room_on_the_disk(tmp_path):
    require_room(tmp_path, 1)
    with pytest.raises(DownloadError, match="MB free, 1000000000000 MB are needed"):
        require_room(tmp_path, 10**18)
