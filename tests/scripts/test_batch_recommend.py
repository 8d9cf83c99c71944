"""The command that writes lists for all users: a kill, a full disk, wrong use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reccore import Workspace
from tests.pipeline.small import N_USERS, user_id
from tests.scripts.conftest import Command
from tests.scripts.test_full_disk import Run, on_full_disk

__all__ = ["on_full_disk"]

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 120


def test_lists_of_all_users_and_of_some(command: Command, trained: Workspace, tmp_path: Path) -> None:
    root = ("--data_dir", trained.root)
    ended = command("batch_recommend", *root, "--to", tmp_path / "all", "--k", 5, "--json")
    assert ended.code == 0, ended.err
    assert (ended.json["users"], ended.json["files"], ended.json["written_now"]) == (N_USERS, 1, 1)
    table = pq.read_table(tmp_path / "all").to_pylist()
    asked = ("--users", f"{user_id(3)},{user_id(1)}", "--titles", "--k", 5)
    assert command("batch_recommend", *root, *asked, "--to", tmp_path / "some").code == 0
    some = pq.read_table(tmp_path / "some").to_pylist()
    titles = [row.pop("title") for row in some]
    assert some == [row for user in (3, 1) for row in table if row["userId"] == user_id(user)]
    answer = command("recommend", *root, "--user", user_id(3), "--k", 5, "--json").json
    assert titles[:5] == [item["title"] for item in answer["recommendations"]]


def test_by_default_the_lists_are_in_the_data_root(command: Command, own: Workspace) -> None:
    assert command("batch_recommend", "--data_dir", own.root, "--users", user_id(1)).code == 0
    assert (own.root / "recommendations" / "part-00000.parquet").is_file()


def test_a_killed_run_keeps_its_files_and_goes_on_with_resume(
    command: Command, trained: Workspace, tmp_path: Path
) -> None:
    argv = ["--data_dir", str(trained.root), "--users_per_file", "1", "--k", "4"]
    assert command("batch_recommend", *argv, "--to", tmp_path / "whole").code == 0
    out = tmp_path / "out"
    where = {**os.environ, "PYTHONPATH": "."}
    program = [sys.executable, "scripts/batch_recommend.py", *argv, "--to", str(out)]
    with subprocess.Popen(program, cwd=REPOSITORY, env=where, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + SECONDS
        while not list(out.glob("part-*.parquet")):
            assert process.poll() is None, "it ended before its first file"
            assert time.monotonic() < until, f"no file within {SECONDS} s"
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    finished = {file: file.stat().st_mtime_ns for file in out.glob("part-*.parquet")}
    assert 0 < len(finished) < N_USERS
    assert "continue them with --resume" in command("batch_recommend", *argv, "--to", out).sentence
    resumed = command("batch_recommend", *argv, "--to", out, "--resume", "--json").json
    assert resumed["written_now"] == N_USERS - len(finished)
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole"))


def test_on_a_full_disk_finished_files_stay(on_full_disk: Run, own: Workspace, tmp_path: Path) -> None:
    argv = ("--data_dir", own.root, "--to", tmp_path / "out", "--users_per_file", 20)
    assert on_full_disk("batch_recommend", *argv, room=1 << 30).code == 0
    (tmp_path / "out" / "part-00001.parquet").unlink()
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    sentence = on_full_disk("batch_recommend", *argv, "--resume").sentence
    assert f"{tmp_path / 'out' / 'part-00001.parquet'} cannot be written: File too large; free space" in sentence
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert on_full_disk("batch_recommend", *argv, "--resume", room=1 << 30).code == 0


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--users", "4"], "user 4 is not known here"),
        (["--users", ""], "users"),
        (["--k", "0"], "k"),
        (["--users_per_file", "0"], "users_per_file"),
        (["--pipeline", "nowhere"], "no pipeline at nowhere"),
    ],
)
def test_wrong_use(command: Command, trained: Workspace, tmp_path: Path, argv: list[str], sentence: str) -> None:
    ended = command("batch_recommend", "--data_dir", trained.root, "--to", tmp_path / "out", *argv)
    assert sentence in ended.sentence
    assert not (tmp_path / "out").exists()
