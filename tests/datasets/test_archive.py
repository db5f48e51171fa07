import io
import stat
import tarfile
import zipfile

import pytest

from dino_tf.datasets.archive import DownloadError, extract, require_room


def tar_of(path, members, mode="w"):
    with tarfile.open(path, mode) as tar:
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


def special(path, kind, **facts):
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("evil")
        info.type = kind
        for name, value in facts.items():
            setattr(info, name, value)
        tar.addfile(info)
    return path


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        (tarfile.CHRTYPE, {"devmajor": 1, "devminor": 3}),
        (tarfile.BLKTYPE, {"devmajor": 8}),
        (tarfile.FIFOTYPE, {}),
        (tarfile.LNKTYPE, {"linkname": "/etc/passwd"}),
        (tarfile.LNKTYPE, {"linkname": "../secret"}),
        (tarfile.SYMTYPE, {"linkname": "a"}),
    ],
)
def test_devices_and_links_are_refused(tmp_path, kind, facts):
    archive = special(tmp_path / "a", kind, **facts)
    with pytest.raises(DownloadError, match="'evil' is a link or device"):
        extract(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}", bytes(10**8))
    return path


def hollow_tar(path):
    """A sparse file of a terabyte in one block of 512 bytes."""
    info = tarfile.TarInfo("evil")
    info.size = 10**12
    path.write_bytes(info.tobuf() + bytes(1024))
    return path


def packed_tar(path):
    return tar_of(path, {"a": b"x"}, "w:gz")


def many_files(path):
    return zip_of(path, {str(number): b"" for number in range(30)})


def encrypted(path):
    data = bytearray(zip_of(path, {"a": b"secret"}).read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (zip_bomb, "would unpack to 300 MB, more than 20 times its size"),
        (hollow_tar, "would unpack to 1000000 MB"),
        (packed_tar, "cannot unpack a"),
        (many_files, "holds more than 20 files"),
        (encrypted, "cannot unpack a"),
    ],
)
def test_bombs_are_refused_before_they_are_unpacked(tmp_path, make, words, monkeypatch):
    monkeypatch.setattr("dino_tf.datasets.archive.MOST_FILES", 20)
    with pytest.raises(DownloadError, match=words):
        extract(make(tmp_path / "a"), tmp_path / "out")
    assert sum(f.stat().st_size for f in (tmp_path / "out").rglob("*")) == 0


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x03\x04 broken"])
def test_damaged_archive_is_one_line(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(DownloadError, match="cannot unpack a.tar"):
        extract(tmp_path / "a.tar", tmp_path / "out")


def test_room_on_the_disk(tmp_path):
    require_room(tmp_path, 1)
    with pytest.raises(DownloadError, match="MB free, 1000000000000 MB are needed"):
        require_room(tmp_path, 10**18)
