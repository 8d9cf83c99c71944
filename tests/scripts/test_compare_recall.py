"""The comparison of channels as a command: channels from a folder, its output, and wrong use in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import compare_runs
from reccore import Workspace
from scripts._rows import read_rows
from tests.scripts.conftest import Command


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "_base.toml").write_text('model = "mf"\nembedding_size = 4\nepochs = 3\n')
    (folder / "mf.toml").write_text('extends = "_base.toml"\n')
    (folder / "popularity.toml").write_text('model = "popularity"\n')
    return folder


def test_channels_of_a_folder(command: Command, own: Workspace, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_runs, "in_own_process", lambda function, *args: function(*args))
    argv = ("--data_dir", own.root, "--configs", configs, "--seeds", "0,1", "--split", "valid", "--threads", 1)
    ended = command("compare_recall", *argv)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("ml-tiny · leave_one_out (valid) · 60 users")
    assert "seeds of training 0, 1" in ended.out
    assert f"report: {own.reports / 'compare_channels_valid.md'}" in ended.out
    done = [line.partition(" ")[2] for line in ended.err.splitlines() if "queries/s" in line]
    assert [line.partition(":")[0] for line in done] == [
        "mf, seed 0 (1 of 4)",
        "popularity, seed 0 (2 of 4)",
        "mf, seed 1 (3 of 4)",
        "popularity, seed 1 (4 of 4)",
    ]
    assert "scripts/compare_recall.py" in (own.reports / "compare_channels_valid.md").read_text()
    one = command("compare_recall", *argv, "--only", "popularity", "--json").json
    assert [(channel["name"], len(channel["runs"])) for channel in one["channels"]] == [("popularity", 1)]


WRONG = [
    (["--only", "svd"], "--only names no channel 'svd'; the folder has mf, popularity"),
    (["--seeds", "1,1"], "seeds must differ from each other, got 1, 1"),
    (["--threads", "0"], "threads: "),
    (["--name", "../x"], "'../x' is not a usable model name"),
    (["--query_time"], "--query_time is for channels that read it, and none of these does"),
    (["--protocol", "none"], "protocol none leaves no test events"),
    (["--set", "epochs=3"], "epochs: no such option"),
    (["--configs", "nowhere"], "--configs nowhere is not a folder"),
]


@pytest.mark.parametrize(("argv", "message"), WRONG)
def test_wrong_options(command: Command, trained: Workspace, configs: Path, argv: list[str], message: str) -> None:
    ended = command("compare_recall", "--data_dir", trained.root, "--configs", configs, *argv)
    assert message in ended.sentence
    assert not (trained.root / "comparisons").exists()


def test_the_folder_of_the_project_holds_valid_rows() -> None:
    rows = read_rows(Path(__file__).resolve().parents[2] / "configs" / "recall", {})
    assert {"popularity", "itemcf", "mf", "two_tower"} <= {row.name for row in rows}
