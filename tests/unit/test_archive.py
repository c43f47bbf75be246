"""Archives come from strangers."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile

import pytest

from covidpipe.config import Limits
from covidpipe.errors import BadConfig
from covidpipe.io.archive import unpack


def zipped(path, *members: tuple[str, bytes]):
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in members:
            packed.writestr(name, content)
    return path


def tarred(path, *members: tuple[tarfile.TarInfo, bytes]):
    with tarfile.open(path, "w:gz") as packed:
        for info, content in members:
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return path


def test_files_come_out_and_only_the_owner_may_look(tmp_path):
    unpack(zipped(tmp_path / "a.zip", ("p1/s/1.dcm", b"one"), ("2.dcm", b"two")), tmp_path / "out", Limits())
    assert (tmp_path / "out/p1/s/1.dcm").read_bytes() == b"one"
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    unpack(tarred(tmp_path / "a.tgz", (tarfile.TarInfo("3.dcm"), b"three")), tmp_path / "out", Limits())
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["3.dcm"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil"])
def test_a_path_outside_is_refused(tmp_path, name):
    for archive in (
        zipped(tmp_path / "a.zip", ("good", b"x"), (name, b"x")),
        tarred(tmp_path / "a.tar.gz", (tarfile.TarInfo("good"), b"x"), (tarfile.TarInfo(name), b"x")),
    ):
        with pytest.raises(BadConfig, match="outside of the archive"):
            unpack(archive, tmp_path / "out", Limits())
        assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, "/etc/hostname"
    with pytest.raises(BadConfig, match="link, a device"):
        unpack(tarred(tmp_path / "a.tar.gz", (info, b"")), tmp_path / "out", Limits())


def test_a_zipped_link_is_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(info, "/etc/hostname")
    with pytest.raises(BadConfig, match="link, a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out", Limits())


def test_a_bomb_is_stopped(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("bomb", bytes(4 << 20))
    with pytest.raises(BadConfig, match="max_unpacked_gib"):
        unpack(archive, tmp_path / "out", Limits(max_unpacked_gib=1 / 1024))
    assert not (tmp_path / "out").exists()


def test_a_damaged_member_stays_a_file_and_a_damaged_archive_is_told(tmp_path):
    archive = zipped(tmp_path / "a.zip", ("1", b"first"), ("2", b"second"))
    archive.write_bytes(archive.read_bytes().replace(b"second", b"sECond", 1))
    unpack(archive, tmp_path / "out", Limits())
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {"1": b"first", "2": b""}
    whole = tarred(tmp_path / "a.tar.gz", (tarfile.TarInfo("1"), bytes(range(256)) * 999)).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadConfig, match=r"a\.tar\.gz: cannot be unpacked"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out", Limits())
