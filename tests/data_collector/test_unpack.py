import io
import stat
import zipfile
from pathlib import Path

import pytest

from data_collector import unpack as module
from data_collector.unpack import BadArchiveError, atomic_folder, recover_folder, unpack
from reccore import DataError
from tests.data_collector.server import ml_1m_files, zip_of

FILES = ("ratings.dat", "movies.dat", "users.dat")


def unpacked(tmp_path: Path, content: bytes, **kwargs: str) -> dict[str, bytes]:
    (archive := tmp_path / "a.zip").write_bytes(content)
    (into := tmp_path / "in" / "to").mkdir(parents=True)
    unpack(archive, into, FILES, **kwargs)
    return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}


@pytest.mark.parametrize("folder", ["ml-1m/", "", "ML-10M100K/", "some/where/"])
def test_finds_the_folder_by_its_files(tmp_path: Path, folder: str) -> None:
    files = ml_1m_files(5_000) | {"extra/more.txt": b"kept"}
    assert unpacked(tmp_path, zip_of(files, folder)) == files


def test_the_topmost_of_two_folders_is_used(tmp_path: Path) -> None:
    outer, inner = ml_1m_files(5_000), {f"old/{name}": b"old" for name in FILES}
    assert unpacked(tmp_path, zip_of(inner | outer)) == inner | outer


def test_takes_only_the_named_files_of_a_named_folder(tmp_path: Path) -> None:
    files = {f"a/{name}": b"wrong" for name in FILES} | {f"b/c/{name}": b"right" for name in FILES} | {"b/c/x": b"x"}
    assert unpacked(tmp_path, zip_of(files, ""), folder="b/c") == dict.fromkeys(FILES, b"right")


@pytest.mark.parametrize("name", ["../evil", "ml-1m/../../evil", "/tmp/evil", "ml-1m\\..\\evil", "C:evil"])
def test_a_member_that_points_outside_rejects_the_archive(tmp_path: Path, name: str) -> None:
    content = zip_of({f"ml-1m/{file}": b"x" for file in FILES} | {name: b"evil"}, "")
    with pytest.raises(BadArchiveError, match="outside"):
        unpacked(tmp_path, content)
    assert not list(tmp_path.rglob("evil*"))
    assert not list((tmp_path / "in" / "to").iterdir())


def test_a_link_rejects_the_archive(tmp_path: Path) -> None:
    buffer = io.BytesIO(zip_of(ml_1m_files(100)))
    with zipfile.ZipFile(buffer, "a") as archive:
        link = zipfile.ZipInfo("ml-1m/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(BadArchiveError, match="link"):
        unpacked(tmp_path, buffer.getvalue())


def test_a_repeated_member_rejects_the_archive(tmp_path: Path) -> None:
    buffer = io.BytesIO(zip_of(ml_1m_files(100)))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("ml-1m/users.dat", "other")
    with pytest.raises(BadArchiveError, match="two members"):
        unpacked(tmp_path, buffer.getvalue())


def test_the_crc_detects_damage(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in ml_1m_files(5_000).items():
            archive.writestr(name, content)
    damaged = bytearray(buffer.getvalue())
    damaged[2_000] ^= 1
    with pytest.raises(BadArchiveError, match="CRC"):
        unpacked(tmp_path, bytes(damaged))


@pytest.mark.parametrize("content", [b"", b"<html>please log in</html>", zip_of(ml_1m_files(5_000))[:-3_000]])
def test_incomplete_and_other_files_are_not_zip_archives(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadArchiveError, match="damaged or not a zip"):
        unpacked(tmp_path, content)


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadArchiveError, match=r"users\.dat"):
        unpacked(tmp_path, zip_of({"ratings.dat": b"1", "movies.dat": b"1"}))
    (tmp_path / "in" / "to").rmdir()
    (tmp_path / "in").rmdir()
    with pytest.raises(BadArchiveError, match=r"empty users\.dat"):
        unpacked(tmp_path, zip_of({"ratings.dat": b"1", "movies.dat": b"1", "users.dat": b""}))


def test_missing_disk_space_is_noticed_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(DataError, match="free"):
        unpacked(tmp_path, zip_of(ml_1m_files(5_000)))


def test_a_folder_is_replaced_completely_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with atomic_folder(folder) as temporary:
        (temporary / "a").write_text("old")
        assert not folder.exists()
    (archive := tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(BadArchiveError), atomic_folder(folder) as temporary:
        unpack(archive, temporary, FILES)
    archive.unlink()
    assert (folder / "a").read_text() == "old"
    with atomic_folder(folder) as temporary:
        (temporary / "b").write_text("new")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["set", "set/b"]


def test_a_run_killed_while_replacing_is_recovered(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (tmp_path / ".set.previous").mkdir()
    (tmp_path / ".set.previous" / "a").write_text("old")
    (tmp_path / ".set.12345678.tmp").mkdir()
    recover_folder(folder)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["set", "set/a"]
