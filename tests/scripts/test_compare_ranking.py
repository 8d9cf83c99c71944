"""The command that compares rankers: rows of a folder, options that apply to all of them, a table and a JSON object."""

from __future__ import annotations

from pathlib import Path

from reccore import Workspace
from tests.scripts.conftest import Command


def test_options_apply_to_every_row(own: Workspace, tmp_path: Path, command: Command) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "few.toml").write_text('model = "lambdamart"\nmin_data_in_leaf = 5\n')
    (rows / "many.toml").write_text('extends = "few.toml"\nmin_data_in_leaf = 9\n')
    (tmp_path / "pipeline.toml").write_text("[pipeline]\nper_channel = 30\ncandidates = 25\n")
    argv = ["--data_dir", own.root, "--configs", rows, "--set", "trees=3", "--seeds", "0"]
    argv += ["--pipeline", tmp_path / "pipeline.toml", "--max_queries", "60", "--baseline", "few"]
    argv += ["--label_window", "moment", "--found_only"]
    ended = command("compare_ranking", *argv)
    assert ended.code == 0, ended.err
    report = own.reports / "compare_rankers.md"
    assert f"report: {report}" in ended.out
    assert "many − few" in ended.out
    text = report.read_text(encoding="utf-8")
    assert "--set trees=3" in text
    assert "those of train_ranking.py with label_window = moment and found_only" in text
    found = command("compare_ranking", *argv, "--json").json
    rankers = {row["name"]: row for row in found["rows"] if row["model"]}
    assert {name: row["config"]["trees"] for name, row in rankers.items()} == {"few": 3, "many": 3}
    assert {name: row["config"]["min_data_in_leaf"] for name, row in rankers.items()} == {"few": 5, "many": 9}
    wrong = command("compare_ranking", *argv, "--set", "tree=3").sentence
    assert "few.toml" in wrong
    assert "tree" in wrong
