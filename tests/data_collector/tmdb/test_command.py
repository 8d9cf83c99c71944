"""The command: options, output, exit codes, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data_collector.tmdb.key import VARIABLE
from data_collector.tmdb.shards import read_documents
from reccore import Workspace
from scripts import _cli
from tests.data_collector.tmdb.conftest import write_links
from tests.data_collector.tmdb.server import V3_KEY, TmdbServer

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "data_collector" / "run_batch_crawl.py"
MAIN: Callable[[list[str]], None] = runpy.run_path(str(SCRIPT))["main"]  # its folder is no package


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, V3_KEY)
    monkeypatch.chdir(tmp_path)  # tests must not read the .env of the developer


def run(*options: object) -> None:
    _cli.run(MAIN, [str(option) for option in options])


def fails(capsys: pytest.CaptureFixture[str], *options: object) -> str:
    """The one error of a run that ends with exit code 2."""
    with pytest.raises(SystemExit) as stopped:
        run(*options)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (error,) = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    return error


def test_prints_one_json_object(tmdb: TmdbServer, space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write_links(space, [11, None, 12, 13])
    options = [
        "--base_url",
        tmdb.origin,
        "--rate",
        500,
        "--workers",
        3,
        "--limit",
        2,
        "--language",
        "zh-CN",
        "--posters",
    ]
    run("--data_dir", space.root, "--json", *options)
    result = json.loads(capsys.readouterr().out)
    assert result["folder"] == str(space.raw / "tmdb")
    assert (result["documents"], result["movies"], result["without_tmdb_id"]) == (2, 2, 1)
    assert result["language"] == "zh-CN"
    assert result["posters"] is not None
    run("--data_dir", space.root, *options)
    assert "documents: 2" in capsys.readouterr().out


def test_options_can_be_in_a_file(
    tmdb: TmdbServer, space: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_links(space, [11, 12])
    (tmp_path / "c.toml").write_text(f'base_url = "{tmdb.url}"\nlimit = 1\nlanguage = "fr-FR"\n')
    run("--data_dir", space.root, "--config", "c.toml", "--set", "rate=100")
    assert [(d.tmdb_id, d.language) for d in read_documents(space.raw / "tmdb")] == [(11, "fr-FR")]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--rate", 0], "rate: Input should be greater than or equal to 1 (got 0)"),
        (["--workers", 0], "workers"),
        (["--limit", 0], "limit"),
        (["--language", "english"], "language"),
        (["--max_age_days", -1], "max_age_days"),
        (["--set", "speed=9"], "speed: no such option"),
        (
            ["--base_url", "http://api.example.org/3"],
            "--base_url must begin with https:// where it is not this machine",
        ),
        (["--base_url", "https://me:secret@example.org/3"], "--base_url must be an address without user, password"),
        (
            ["--base_url", "https://example.org/3?api_key=secret"],
            "--base_url must be an address without user, password",
        ),
        (["--base_url", "example.org/3?api_key=secret"], "--base_url must be an address without user, password"),
        (["--base_url", "me:secret@example.org"], "--base_url must be an address without user, password"),
        (["--base_url", "example.org"], "--base_url must be an address that begins with https://"),
    ],
)
def test_wrong_options_give_one_sentence(
    space: Workspace, capsys: pytest.CaptureFixture[str], options: list[object], sentence: str
) -> None:
    write_links(space, [1])
    error = fails(capsys, "--data_dir", space.root, *options)
    assert sentence in error
    assert "secret" not in error
    assert not (space.raw / "tmdb").exists()


def test_without_links_the_error_names_the_command_to_run_first(
    space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    error = fails(capsys, "--data_dir", space.root)
    assert re.search(r"run first: PYTHONPATH=\. python scripts/download_data\.py .*--dataset ml-latest-small", error)
    assert not space.root.exists()


def test_a_refused_key_gives_one_sentence(
    tmdb: TmdbServer, space: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "not-the-right-one")
    write_links(space, range(1, 30))
    error = fails(capsys, "--data_dir", space.root, "--base_url", tmdb.url)
    assert error.startswith("error: TMDb does not accept the key in TMDB_API_KEY (401)")
    assert "not-the-right-one" not in error


def test_failed_movies_are_counted_with_an_example(
    tmdb: TmdbServer, space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_links(space, [1, 2, 3])
    tmdb.scripts["/3/movie/2"] = ["422"]
    run("--data_dir", space.root, "--base_url", tmdb.url)
    errors = capsys.readouterr().err
    assert "1 of 3 movies failed, such as 2 (the server answered 422 Unprocessable Entity); the same command" in errors
    run("--data_dir", space.root, "--base_url", tmdb.url)
    assert "failed" not in capsys.readouterr().err


def test_a_run_in_which_everything_failed_ends_with_the_reason(
    tmdb: TmdbServer, space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_links(space, [1, 2])
    for movie in (1, 2):
        tmdb.scripts[f"/3/movie/{movie}"] = ["422"]
    with pytest.raises(SystemExit) as stopped:
        run("--data_dir", space.root, "--base_url", tmdb.url, "--json")
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert json.loads(printed.out)["failed"] == 2
    assert re.search(r"error: all 2 requests failed, such as [12] \(the server answered 422", printed.err)
    run("--data_dir", space.root, "--base_url", tmdb.url)  # nothing is wrong any more
    run("--data_dir", space.root, "--base_url", tmdb.url)  # nothing is left to request


def test_ctrl_c_finishes_the_requests_in_flight_and_prints_the_state(
    tmdb: TmdbServer, space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_links(space, range(1, 61))
    for tmdb_id in range(1, 61):
        tmdb.scripts[f"/3/movie/{tmdb_id}"] = ["slow"]

    def press() -> None:
        while len(tmdb.seen) < 12:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(SystemExit) as stopped:
        run("--data_dir", space.root, "--base_url", tmdb.url, "--workers", 4, "--rate", 1000)
    assert stopped.value.code == 130
    asked = len(tmdb.seen)
    stored = {document.tmdb_id for document in read_documents(space.raw / "tmdb")}
    assert stored == set(tmdb.served())  # every served document was stored
    assert 12 <= asked < 60
    errors = capsys.readouterr().err
    assert "finishing the requests in flight" in errors
    assert f"stopped: {asked} of 60 movies are settled, {60 - asked} are left; run the same command again" in errors
    assert errors.rstrip().endswith("interrupted")
    run("--data_dir", space.root, "--base_url", tmdb.url)
    assert set(tmdb.served().values()) == {1}
    assert len(tmdb.served()) == 60


def test_a_second_ctrl_c_does_not_wait_for_the_requests_in_flight(tmdb: TmdbServer, space: Workspace) -> None:
    write_links(space, range(1, 9))
    for tmdb_id in range(1, 9):
        tmdb.scripts[f"/3/movie/{tmdb_id}"] = ["hang"]  # for longer than the client waits for an answer
    pressed: list[float] = []

    def press() -> None:
        while len(tmdb.seen) < 4:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(SystemExit) as stopped:
        run("--data_dir", space.root, "--base_url", tmdb.url, "--workers", 4, "--rate", 1000)
    assert stopped.value.code == 130
    for thread in threading.enumerate():
        if thread.name.startswith("tmdb"):
            thread.join(8)  # the process ends with its threads
            assert not thread.is_alive()
    assert time.monotonic() - pressed[0] < 8


def test_the_command_of_the_readme_runs(tmdb: TmdbServer, space: Workspace) -> None:
    write_links(space, [603])
    command = [sys.executable, "scripts/data_collector/run_batch_crawl.py", "--data_dir", space.root, "--json"]
    environment = {**os.environ, "PYTHONPATH": "."}
    done = subprocess.run(
        [*command, "--base_url", tmdb.url], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == 1
    assert V3_KEY not in done.stdout + done.stderr
