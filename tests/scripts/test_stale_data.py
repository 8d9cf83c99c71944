"""Data that changed after a step read it is refused by the steps that follow, with the command that mends it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dataprep.prepare import Prepared
from dataprep.table_hashes import changed_tables, table_hashes
from reccore import Workspace
from reccore.bundle import read_manifest
from tests.scripts.conftest import Command

PREPARE = "PYTHONPATH=. python scripts/prepare_two_tower_data.py"
TRAIN = "PYTHONPATH=. python scripts/train_recall.py"


def change_raw(space: Workspace) -> None:
    """Drop the last rating of the raw file."""
    file = space.raw / "ml-tiny" / "ratings.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]) + "\n")


def preprocessed_again(command: Command, space: Workspace) -> None:
    change_raw(space)
    assert command("run_preprocessing", "--data_dir", space.root).code == 0


STEPS = [
    ("train_recall", ["--model", "popularity"]),
    ("train_recall", ["--model", "popularity", "--protocol", "none"]),
    ("train_recall", ["--model", "popularity", "--input", "ROOT/processed/two_tower/train.parquet"]),
    ("evaluate_recall", []),
    ("train_ranking", []),
    ("evaluate_pipeline", []),
    ("evaluate_ranking", []),
    ("tune_merge", ["--models", "itemcf,mf"]),
    ("build_index", ["--model", "two_tower"]),
    ("compare_ctr", []),
]


def test_every_step_refuses_data_prepared_from_other_tables(command: Command, own: Workspace) -> None:
    preprocessed_again(command, own)
    for name, argv in STEPS:
        argv = [arg.replace("ROOT", str(own.root)) for arg in argv]
        sentence = command(name, "--data_dir", own.root, *argv).sentence
        assert "changed after the data was prepared (ratings.parquet); run again: " in sentence, name
        assert sentence.endswith(f"{PREPARE} --data_dir {own.root} --protocol leave_one_out")


def test_the_proposed_commands_mend_it(command: Command, own: Workspace) -> None:
    root = ("--data_dir", own.root)
    preprocessed_again(command, own)
    assert command("prepare_two_tower_data", *root).code == 0
    sentence = command("evaluate_recall", *root, "--models", "mf,popularity").sentence
    assert "mf was fitted on ml-tiny" in sentence
    assert (
        f"train it again with PYTHONPATH=. python scripts/train_recall.py --data_dir {own.root} --model mf" in sentence
    )
    for model in ("mf", "popularity"):
        assert command("train_recall", *root, "--model", model).code == 0
    assert command("evaluate_recall", *root, "--models", "mf,popularity").code == 0


def test_preparing_refuses_tables_of_a_raw_file_that_changed(command: Command, own: Workspace) -> None:
    change_raw(own)
    sentence = command("prepare_two_tower_data", "--data_dir", own.root).sentence
    assert f"ratings.csv changed after the tables under {own.processed} were made; run again: " in sentence
    assert sentence.endswith(f"PYTHONPATH=. python scripts/run_preprocessing.py --data_dir {own.root}")
    assert command("run_preprocessing", "--data_dir", own.root).code == 0
    assert command("prepare_two_tower_data", "--data_dir", own.root).code == 0


def test_preparing_does_not_need_the_raw_files(command: Command, own: Workspace) -> None:
    shutil.rmtree(own.raw)
    assert command("prepare_two_tower_data", "--data_dir", own.root).code == 0


def test_preprocessing_again_without_a_change_is_no_change(command: Command, own: Workspace) -> None:
    assert command("run_preprocessing", "--data_dir", own.root).code == 0
    assert command("train_recall", "--data_dir", own.root, "--model", "popularity").code == 0


def test_prepared_data_outlives_its_tables(command: Command, own: Workspace) -> None:
    for file in own.processed.glob("*.parquet"):
        file.unlink()
    assert command("train_recall", "--data_dir", own.root, "--model", "popularity").code == 0


def test_the_message_keeps_the_protocol(command: Command, own: Workspace) -> None:
    root = ("--data_dir", own.root)
    assert command("prepare_two_tower_data", *root, "--protocol", "leave_last_2").code == 0
    preprocessed_again(command, own)
    assert command("train_recall", *root, "--model", "mf").sentence.endswith("--protocol leave_last_2")


def test_models_fitted_before_a_table_changed(command: Command, own: Workspace) -> None:
    """Tables can change although the raw files did not: other options of preprocessing, or another version of it."""
    movies = own.processed / "movies.parquet"
    pq.write_table(pq.read_table(movies).slice(0, 100), movies)
    assert command("prepare_two_tower_data", "--data_dir", own.root).code == 0
    sentence = command("evaluate_recall", "--data_dir", own.root, "--models", "mf").sentence
    assert "mf was fitted before movies.parquet changed; train it again with " in sentence


def test_metadata_of_tmdb_makes_prepared_data_stale_but_no_model(command: Command, own: Workspace) -> None:
    root = ("--data_dir", own.root)
    folder = own.processed / "tmdb"
    folder.mkdir()
    pq.write_table(pq.read_table(own.processed / "movies.parquet"), folder / "extra.parquet")
    assert "(tmdb/extra.parquet)" in command("train_recall", *root, "--model", "mf").sentence
    assert command("prepare_two_tower_data", *root).code == 0
    assert command("evaluate_recall", *root, "--models", "mf").code == 0


@pytest.mark.parametrize("model", ["mf", "deepfm"])
def test_manifests_name_the_tables(trained: Workspace, model: str) -> None:
    tables = table_hashes(trained.processed)
    assert sorted(tables) == ["movies.parquet", "ratings.parquet"]
    assert Prepared.load(trained.prepared).source["tables"] == tables
    manifest = read_manifest(trained.model(model))
    assert manifest is not None
    assert manifest["data"]["tables"] == tables


def test_a_table_that_comes_or_goes_is_a_change(tmp_path: Path, trained: Workspace) -> None:
    assert changed_tables({"a": "1", "b": "2"}, {"b": "2", "c": "3"}) == ["a", "c"]
    assert changed_tables({"a": "1"}, {"a": "1"}) == []
    assert table_hashes(tmp_path) == {}
