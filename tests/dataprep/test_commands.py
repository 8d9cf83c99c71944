"""run_preprocessing.py and make_synthetic.py: options, output, exit codes."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts import make_synthetic, run_preprocessing
from scripts._cli import run
from tests.dataprep.miniatures import CSV, ML_1M, put


def _fails(capsys, main, *argv):
    with pytest.raises(SystemExit) as stopped:
        run(main, [str(arg) for arg in argv])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert "Traceback" not in error
    return error


def _json(capsys, main, *argv):
    run(main, [*map(str, argv), "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_only_data_set_is_taken(tmp_path, capsys):
    put(tmp_path / "raw" / "ml-mini", CSV)
    result = _json(capsys, run_preprocessing.main, "--data_dir", tmp_path)
    assert (result["dataset"], result["rows"]["ratings"]) == ("ml-mini", 3)
    stored = json.loads((tmp_path / "processed" / "processed.json").read_text())
    assert stored == result


def test_the_tmdb_folder_is_not_a_data_set(tmp_path, capsys):
    put(tmp_path / "raw" / "ml-mini", CSV)
    (tmp_path / "raw" / "tmdb").mkdir()
    assert _json(capsys, run_preprocessing.main, "--data_dir", tmp_path)["dataset"] == "ml-mini"


def test_several_data_sets_need_a_choice(tmp_path, capsys):
    put(tmp_path / "raw" / "a", CSV)
    put(tmp_path / "raw" / "b", ML_1M)
    error = _fails(capsys, run_preprocessing.main, "--data_dir", tmp_path)
    assert "a, b" in error
    assert "--dataset" in error
    assert _json(capsys, run_preprocessing.main, "--data_dir", tmp_path, "--dataset", "b")["layout"] == "ml-1m"
    assert "no data set 'c'" in _fails(capsys, run_preprocessing.main, "--data_dir", tmp_path, "--dataset", "c")


def test_a_missing_data_set_names_the_command_to_run_first(tmp_path, capsys):
    assert "download_data.py" in _fails(capsys, run_preprocessing.main, "--data_dir", tmp_path)


def test_own_data(tmp_path, capsys):
    events, items, users = tmp_path / "my.parquet", tmp_path / "items.csv", tmp_path / "users.csv"
    pq.write_table(pa.table({"userId": [1, 2], "itemId": [5, 5]}), events)
    items.write_text("itemId,title\n5,Lamp\n")
    users.write_text("userId,age\n1,30\n")
    argv = ("--data_dir", tmp_path, "--interactions", events, "--items", items, "--users", users)
    result = _json(capsys, run_preprocessing.main, *argv)
    assert result["rows"] == {"ratings": 2, "movies": 1, "users": 1}
    assert pq.read_table(tmp_path / "processed" / "movies.parquet")["title"].to_pylist() == ["Lamp"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--items", "i.parquet"), "--interactions"),
        (("--interactions", "e.parquet", "--dataset", "a"), "not both"),
        (("--set", "colour=red"), "colour"),
        (("--max_reject_share", "2"), "between 0 and 1"),
    ],
)
def test_invalid_options(tmp_path, capsys, argv, message):
    put(tmp_path / "raw" / "a", CSV)
    assert message in _fails(capsys, run_preprocessing.main, "--data_dir", tmp_path, *argv)


def test_rejects_are_counted_in_the_output(tmp_path, capsys):
    put(tmp_path / "raw" / "a", {**CSV, "ratings.csv": CSV["ratings.csv"] + b"1,1,9,9\r\n"})
    assert "--max_reject_share" in _fails(capsys, run_preprocessing.main, "--data_dir", tmp_path)
    run(run_preprocessing.main, ["--data_dir", str(tmp_path), "--set", "max_reject_share=0.3"])
    assert "ratings.csv: 1 × rating is outside the scale" in capsys.readouterr().out


def test_make_synthetic(tmp_path, capsys):
    argv = ("--data_dir", tmp_path, "--users", 50, "--movies", 100, "--ratings", 600, "--seed", 4)
    result = _json(capsys, make_synthetic.main, *argv)
    assert result["rows"]["ratings"] == 600
    assert result["seed"] == 4
    assert _json(capsys, run_preprocessing.main, "--data_dir", tmp_path)["rows"]["ratings"] == 600
    assert "ratings fit" in _fails(capsys, make_synthetic.main, "--data_dir", tmp_path, "--users", 1, "--movies", 20)
