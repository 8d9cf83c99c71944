import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from data_collector import download as module
from data_collector import wheel
from data_collector.download import BY_CRC, download_dataset
from data_collector.transfer import SourceError
from reccore import ConfigError, DataError, Workspace
from tests.data_collector.server import FileServer, Served, ml_1m_files, noise, zip_of

FILES = ml_1m_files()
ZIP = zip_of(FILES)
MD5 = hashlib.md5(ZIP).hexdigest()


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def left_over(space: Workspace) -> list[str]:
    """Names in raw/ other than the data sets."""
    return sorted(path.name for path in space.raw.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize("md5", [f"{MD5}  ml-1m.zip\n", f"MD5 (ml-1m.zip) = {MD5}\n", f"{MD5.upper()} *ml-1m.zip"])
def test_downloads_checks_and_unpacks(server: FileServer, space: Workspace, md5: str) -> None:
    server.files = {"ml-1m.zip": Served(ZIP, drops=[90_000, 60_000]), "ml-1m.zip.md5": Served(md5.encode())}
    result = download_dataset("ml-1m", space, base_url=server.url + "/")
    assert result.path == space.raw / "ml-1m"
    assert content(result.path) == FILES
    assert result.files == ("README", "movies.dat", "ratings.dat", "users.dat")
    assert result.bytes == sum(map(len, FILES.values()))
    assert result.source == f"{server.url}/ml-1m.zip"
    assert result.verified_by == f"the md5 published at {server.url}/ml-1m.zip.md5"
    assert result.downloaded
    assert left_over(space) == []


def test_a_second_run_does_nothing_and_force_fetches_again(server: FileServer, space: Workspace) -> None:
    server.files = {"ml-1m.zip": Served(ZIP)}
    first = download_dataset("ml-1m", space, base_url=server.url)
    assert first.verified_by == BY_CRC  # no md5 is published
    asked = len(server.requests)
    second = download_dataset("ml-1m", space, base_url=server.url)
    assert len(server.requests) == asked
    assert not second.downloaded
    assert (second.source, second.verified_by, second.files) == (first.source, first.verified_by, first.files)

    newer = ml_1m_files(1_000)
    server.files = {"ml-1m.zip": Served(zip_of(newer))}
    assert download_dataset("ml-1m", space, force=True, base_url=server.url).downloaded
    assert content(first.path) == newer
    assert left_over(space) == []


def test_a_failed_force_leaves_the_old_data(server: FileServer, space: Workspace) -> None:
    server.files = {"ml-1m.zip": Served(ZIP)}
    download_dataset("ml-1m", space, base_url=server.url)
    server.files = {"ml-1m.zip": Served(zip_of({"ratings.dat": b"x"}))}
    with pytest.raises(DataError, match="no folder with"):
        download_dataset("ml-1m", space, force=True, base_url=server.url)
    assert content(space.raw / "ml-1m") == FILES


@pytest.mark.parametrize(
    ("archive", "md5", "reason"),
    [
        (ZIP, b"0" * 32, f"md5 {MD5}, published is 00000000"),
        (ZIP[:-20_000], None, "damaged"),
        (b"<html>please log in</html>", None, "not a zip"),
        (zip_of(FILES | {"../../evil": b"x"}), None, "outside"),
        (None, None, "404"),
    ],
)
def test_a_bad_archive_leaves_nothing(
    server: FileServer, space: Workspace, archive: bytes | None, md5: bytes | None, reason: str
) -> None:
    given = {"ml-1m.zip": archive, "ml-1m.zip.md5": md5}
    server.files = {name: Served(body) for name, body in given.items() if body is not None}
    with pytest.raises(DataError) as error:
        download_dataset("ml-1m", space, base_url=server.url)
    message = str(error.value)
    assert reason in message
    assert f"{server.url}/ml-1m.zip: " in message
    assert f"ratings.dat, movies.dat and users.dat into {space.raw / 'ml-1m'}/" in message
    assert str(space.raw / "ml-1m.zip") in message
    assert list(space.raw.iterdir()) == []
    assert not list(space.root.parent.rglob("evil"))


def test_bytes_of_an_earlier_run_that_do_not_match_are_downloaded_again(server: FileServer, space: Workspace) -> None:
    """A server without ETag or date, whose file changed but kept its size: only the md5 differs."""
    other = noise(len(ZIP), seed=5)
    server.files = {"ml-1m.zip": Served(other, drops=[90_000] + [0] * 9, validators=False)}
    with pytest.raises(DataError, match="kept for the next run"):
        download_dataset("ml-1m", space, base_url=server.url)
    assert ".ml-1m.zip.part" in left_over(space)
    server.files = {"ml-1m.zip": Served(ZIP, validators=False), "ml-1m.zip.md5": Served(MD5.encode())}
    download_dataset("ml-1m", space, base_url=server.url)
    assert content(space.raw / "ml-1m") == FILES
    assert left_over(space) == []


def test_a_zip_placed_by_hand_needs_no_network(space: Workspace) -> None:
    space.raw.mkdir(parents=True)
    (archive := space.raw / "ml-1m.zip").write_bytes(ZIP)
    result = download_dataset("ml-1m", space, base_url="http://127.0.0.1:9")
    assert content(result.path) == FILES
    assert (result.source, result.verified_by) == (str(archive), BY_CRC)
    assert archive.read_bytes() == ZIP


def test_a_bad_zip_placed_by_hand_does_not_hide_the_other_sources(server: FileServer, space: Workspace) -> None:
    space.raw.mkdir(parents=True)
    (space.raw / "ml-1m.zip").write_bytes(ZIP[:5_000])
    with pytest.raises(DataError, match=r"ml-1m\.zip is damaged.* refused"):
        download_dataset("ml-1m", space, base_url="http://127.0.0.1:9")
    server.files = {"ml-1m.zip": Served(ZIP)}
    assert download_dataset("ml-1m", space, base_url=server.url).source.startswith(server.url)


def test_a_disk_that_fills_up_while_unpacking_leaves_nothing(space: Workspace) -> None:
    space.raw.mkdir(parents=True)
    (space.raw / "ml-1m.zip").write_bytes(ZIP)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(DataError, match="make room"):
            download_dataset("ml-1m", space)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in space.raw.iterdir()] == ["ml-1m.zip"]


def test_files_placed_by_hand(space: Workspace) -> None:
    folder = space.raw / "ml-100k"
    folder.mkdir(parents=True)
    for name in ("ml-100k.inter", "ml-100k.item"):
        (folder / name).write_text("x")
    with pytest.raises(DataError, match=r"lacks ml-100k\.user; .*--force"):
        download_dataset("ml-100k", space)
    (folder / "ml-100k.user").write_text("x")
    result = download_dataset("ml-100k", space)
    assert (result.source, result.downloaded, len(result.files)) == ("by hand", False, 3)


def fake_pip(made: dict[str, str]):
    """Replaces ``run_pip``: creates a wheel with the given members."""

    def run(requirement: str, into: Path, *, show_progress: bool = True) -> None:
        with zipfile.ZipFile(into / "recbole-1.2.1-py3-none-any.whl", "w") as archive:
            for name, text in made.items():
                archive.writestr(zipfile.ZipInfo(f"recbole/dataset_example/ml-100k/{name}"), text)

    return run


def test_ml_100k_falls_back_to_the_wheel(space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"ml-100k.{kind}": kind for kind in ("inter", "item", "user", "kg", "link")}
    monkeypatch.setattr(wheel, "run_pip", fake_pip(members))
    with pytest.raises(DataError, match=r"refused.*has sha256 .* pinned is 9c99482020.*u\.user or ml-100k\.inter"):
        download_dataset("ml-100k", space, base_url="http://127.0.0.1:9")
    assert list(space.raw.iterdir()) == []

    monkeypatch.setattr(wheel, "file_sha256", lambda _: module.find_dataset("ml-100k").sources[1].sha256)
    result = download_dataset("ml-100k", space, base_url="http://127.0.0.1:9")
    assert content(result.path) == {f"ml-100k.{kind}": kind.encode() for kind in ("inter", "item", "user")}
    assert "recbole==1.2.1" in result.source
    assert "sha256" in result.verified_by
    assert left_over(space) == []


def test_if_all_sources_fail_the_error_names_each(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(requirement: str, into: Path, *, show_progress: bool = True) -> None:
        raise SourceError("pip download failed, no index")

    monkeypatch.setattr(wheel, "run_pip", fails)
    with pytest.raises(DataError, match=r"ml-100k\.zip: .*refused.*recbole==1\.2\.1.*no index\. To go on by hand"):
        download_dataset("ml-100k", space, base_url="http://127.0.0.1:9")


def test_two_downloads_at_once_are_refused(server: FileServer, space: Workspace) -> None:
    hold = threading.Event()
    server.files = {"ml-1m.zip": Served(ZIP, drops=[120_000], stall=hold)}
    first = threading.Thread(target=download_dataset, args=("ml-1m", space), kwargs={"base_url": server.url})
    first.start()
    try:
        wait_for(lambda: server.requests)
        with pytest.raises(DataError, match="another download"):
            download_dataset("ml-1m", space, base_url=server.url)
    finally:
        hold.set()
        first.join()
    assert content(space.raw / "ml-1m") == FILES


def test_options_are_checked(space: Workspace) -> None:
    with pytest.raises(ConfigError, match="ftp://x"):
        download_dataset("ml-1m", space, base_url="ftp://x")
    with pytest.raises(ConfigError, match="unknown data set"):
        download_dataset("../ml-1m", space)
    assert not space.root.exists()


def wait_for(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_a_killed_run_leaves_no_data_set_and_the_next_one_resumes(server: FileServer, space: Workspace) -> None:
    server.files = {"ml-1m.zip": Served(ZIP, drops=[120_000], stall=threading.Event())}
    part = space.raw / ".ml-1m.zip.part"
    command = [sys.executable, "scripts/download_data.py", "--dataset", "ml-1m", "--data_dir", str(space.root)]
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "MOVIELENS_BASE_URL": server.url}
    running = subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: part.exists() and part.stat().st_size > 100_000)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert not (space.raw / "ml-1m").exists()
    server.files["ml-1m.zip"].stall.set()
    assert content(download_dataset("ml-1m", space, base_url=server.url).path) == FILES
    assert int(server.ranges_of("ml-1m.zip")[1].strip("bytes=-")) > 100_000
    assert left_over(space) == []
