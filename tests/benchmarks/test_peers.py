"""What the comparison with other libraries says where it cannot compare."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import main, smoke_root
from scripts._cli import run

REPOSITORY = Path(__file__).resolve().parents[2]


def test_without_prepared_data_it_names_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(main, ["--data_dir", str(tmp_path)])
    assert ended.value.code == 2
    assert f"run first: PYTHONPATH=. python scripts/prepare_two_tower_data.py --data_dir {tmp_path}" in (
        capsys.readouterr().err
    )


def test_threads_are_at_least_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--threads", "0"])
    assert "--threads must be at least 1, got 0" in capsys.readouterr().err


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
