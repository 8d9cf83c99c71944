"""What the comparison with other libraries says where it cannot compare."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.peers import fit_ours, main, smoke_root
from dataprep.prepare import prepare
from dataprep.protocols import parse_protocol
from reccore import ConfigError, RunOptions
from scripts._cli import run

REPOSITORY = Path(__file__).resolve().parents[2]


def test_without_prepared_data_it_names_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(main, ["--data_dir", str(tmp_path)])
    assert ended.value.code == 2
    assert f"run first: PYTHONPATH=. python scripts/prepare_two_tower_data.py --data_dir {tmp_path}" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--epochs", "-1"], "--epochs must be at least 0, got -1"),
        (["--only", "implicit.als,lenskit.als"], "lenskit.als needs an interpreter: --python LIBRARY=PATH"),
    ],
)
def test_wrong_use(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(main, arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_only_the_protocol_that_all_libraries_share_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = smoke_root(tmp_path)
    prepare(space, parse_protocol("leave_last_2")).save(space.prepared)
    with pytest.raises(SystemExit):
        run(main, ["--data_dir", str(tmp_path)])
    assert "is split by leave_last_2, and peers are compared by leave_one_out" in capsys.readouterr().err


def test_seconds_of_another_number_of_threads_are_not_taken(tmp_path: Path) -> None:
    space = smoke_root(tmp_path)
    options = RunOptions(seed=0, device="cpu", progress=False, threads=1)
    first = fit_ours(space, ["popularity"], options)
    assert (
        fit_ours(space, ["popularity"], options)["popularity"].facts["seconds"] == first["popularity"].facts["seconds"]
    )
    with pytest.raises(ConfigError, match="popularity was trained with 1 threads, and its seconds are of these"):
        fit_ours(space, ["popularity"], replace(options, threads=2))


@pytest.mark.slow
def test_a_library_that_fails_without_a_word_is_named_and_ends_in_an_error(tmp_path: Path) -> None:
    space = smoke_root(tmp_path)
    broken = shutil.which("false")
    arguments = ["--data_dir", space.root, "--only", "lenskit.popular", "--python", f"lenskit={broken}"]
    ended = subprocess.run(
        [sys.executable, REPOSITORY / "benchmarks" / "peers.py", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert f"failed: lenskit.popular: {broken} ended with exit code 1" in ended.stdout
    assert "| popularity |" in ended.stdout
