"""The ablation as a command: rows from a folder, options merged over them, and wrong use in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from reccore import Workspace
from tests.scripts.conftest import Command


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "_base.toml").write_text('model = "mf"\nembedding_size = 4\nepochs = 3\n')
    (folder / "plain.toml").write_text('extends = "_base.toml"\n')
    (folder / "wide.toml").write_text('extends = "plain.toml"\nembedding_size = 16\n')
    return folder


def test_rows_of_a_folder(command: Command, own: Workspace, configs: Path) -> None:
    root = ("--data_dir", own.root, "--configs", configs, "--baseline", "plain")
    ended = command("ablate", *root, "--seeds", "0, 3", "--set", "epochs=1", "--plot", "plain,wide")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("ml-tiny · leave_one_out (valid) · 60 users")
    assert "seeds 0, 3" in ended.out
    for part in ("(baseline)", "| embedding_size = 16 |", f"report: {own.reports / 'ablation_valid.md'}"):
        assert part in ended.out
    assert "(test)" not in ended.out + ended.err
    progress = [line for line in ended.err.splitlines() if "trained in" in line]
    assert ["plain, seed 0 (1 of 4): NDCG@10" in progress[0], "wide, seed 3 (4 of 4)" in progress[3]] == [True, True]
    assert "scripts/ablate.py" in (own.reports / "ablation_valid.md").read_text()
    test = command("ablate", *root, "--seeds", "0,3", "--set", "epochs=1", "--split", "test", "--json").json
    assert test["split"] == "leave_one_out (test)"
    assert test["report"] == str(own.reports / "ablation.md")
    assert [(row["name"], row["config"]["epochs"], row["config"]["embedding_size"]) for row in test["rows"]] == [
        ("plain", 1, 4),
        ("wide", 1, 16),
    ]
    # The runs are no channels in use.
    assert "plain-seed0" not in command("evaluate_recall", "--data_dir", own.root).out


def test_a_row_is_what_train_recall_takes(command: Command, own: Workspace, configs: Path) -> None:
    result = command("train_recall", "--data_dir", own.root, "--config", configs / "wide.toml", "--json").json
    assert (result["model"], result["config"]["embedding_size"], result["config"]["epochs"]) == ("mf", 16, 3)


WRONG = [
    (["--baseline", "none"], "--baseline names no row 'none'; rows: plain, wide"),
    (["--baseline", "plain", "--plot", "thin"], "--plot names no row 'thin'; rows: plain, wide"),
    ([], "--baseline is missing"),
    (["--baseline", "plain", "--seeds", "0,x"], "seeds.1: Input should be a valid integer"),
    (["--baseline", "plain", "--seeds", ""], "seeds: "),
    (["--baseline", "plain", "--seeds=-1"], "seeds.0: Input should be greater than or equal to 0"),
    (["--baseline", "plain", "--seeds", "1,1"], "seeds must differ from each other, got 1, 1"),
    (["--baseline", "plain", "--jobs", "0"], "jobs: "),
    (["--baseline", "plain", "--name", "../x"], "'../x' is not a usable model name"),
    (["--baseline", "plain", "--input", "nowhere.parquet"], "no such file: nowhere.parquet"),
    (["--baseline", "plain", "--protocol", "random"], "unknown protocol 'random'"),
    (["--baseline", "plain", "--protocol", "none"], "protocol none leaves no valid events"),
    (["--baseline", "plain", "--set", "factors=3"], "plain.toml: factors: no such option"),
]


@pytest.mark.parametrize(("argv", "message"), WRONG)
def test_wrong_options(command: Command, trained: Workspace, configs: Path, argv: list[str], message: str) -> None:
    ended = command("ablate", "--data_dir", trained.root, "--configs", configs, *argv)
    assert message in ended.sentence
    assert not (trained.root / "ablations").exists()


ROWS = [
    ("epochs = ", "cannot read --config"),
    ('extends = "thin.toml"', "No such file"),
    ("epochs = 3", "row.toml: model is missing"),
    ('model = "svd"', "row.toml: unknown recall 'svd'"),
    ('model = "mf"\nfactors = 3', "row.toml: factors: no such option (got 3)"),
    ('model = "mf"\nseed = 3', "row.toml: seed is not an option of a row; give --seeds"),
    ('model = "mf"\nname = "x"', "row.toml: name is not an option of a row; rows are named after their files"),
]


@pytest.mark.parametrize(("text", "message"), ROWS)
def test_wrong_rows(command: Command, trained: Workspace, configs: Path, text: str, message: str) -> None:
    (configs / "row.toml").write_text(text)
    ended = command("ablate", "--data_dir", trained.root, "--configs", configs, "--baseline", "plain")
    assert message in ended.sentence
    assert "row.toml" in ended.sentence


def test_folders_without_rows_and_roots_without_data(command: Command, tmp_path: Path, configs: Path) -> None:
    assert "--configs is missing" in command("ablate").sentence
    assert "is not a folder" in command("ablate", "--configs", tmp_path / "none").sentence
    (tmp_path / "empty").mkdir()
    assert "holds no TOML file" in command("ablate", "--configs", tmp_path / "empty").sentence
    root = tmp_path / "data"
    ended = command("ablate", "--data_dir", root, "--configs", configs, "--baseline", "plain")
    assert ended.sentence.endswith(f"scripts/prepare_two_tower_data.py --data_dir {root}")
    assert not root.exists()
