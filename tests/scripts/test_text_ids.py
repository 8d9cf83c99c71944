"""Ids of text through all commands, from preprocessing to an explanation."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from examples import shop_log
from scripts import train_all
from tests.scripts.conftest import Command

CHAIN = """
[channels.popularity]
[channels.cf]
model = "itemcf"
[ranker]
model = "lr"
epochs = 1
[pipeline]
candidates = 40
rerank = "null"
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Folder of a small shop's files."""
    shop_log.log(60, np.random.default_rng(0)).to_csv(tmp_path / "log.csv.gz", index=False)
    shop_log.products().to_csv(tmp_path / "products.csv", index=False)
    (tmp_path / "chain.toml").write_text(CHAIN)
    return tmp_path


def test_text_ids_end_to_end(shop: Path, command: Command) -> None:
    root = ("--data_dir", shop / "root")
    files = ("--interactions", shop / "log.csv.gz", "--items", shop / "products.csv")
    ended = command("run_preprocessing", *root, *files, "--item_columns", "title=name,genres=category")
    assert ended.code == 0, ended.err
    trained = command("train_all", *root, "--config", shop / "chain.toml", "--json")
    assert trained.code == 0, trained.err
    assert list(trained.json["channels"]) == ["popularity", "cf"]
    assert trained.json["pipeline"].endswith("models/pipeline")
    assert "after ranking" in command("train_all", *root, "--config", shop / "chain.toml", "--resume").out

    log = pd.read_csv(shop / "log.csv.gz")
    user = str(log["customer_id"].iloc[0])
    answer = command("recommend", *root, "--user", user, "--k", 5, "--json").json
    assert answer["user"] == user
    assert set(answer["history"]) <= set(log.loc[log["customer_id"] == user, "sku"])
    assert {item["movie_id"] for item in answer["recommendations"]} <= set(shop_log.products()["sku"])
    history = "MUG-000:4,LAMP-003,WHAT-1"
    guest = command("recommend", *root, "--history", history, "--exclude", "MUG-001", "--k", 40, "--json").json
    assert (guest["history"], guest["unknown"]) == (["MUG-000", "LAMP-003"], ["WHAT-1"])
    assert not {"MUG-000", "MUG-001", "LAMP-003"} & {item["movie_id"] for item in guest["recommendations"]}
    assert "not in the catalogue, ignored: WHAT-1" in command("recommend", *root, "--history", history).out
    assert "user nobody is not known here" in command("recommend", *root, "--user", "nobody").sentence
    explained = command("explain", *root, "--user", user, "--movie", "MUG-002", "--json").json
    assert explained["movie_id"] == "MUG-002"


def test_train_all_resumes_what_is_missing_or_changed(shop: Path, command: Command) -> None:
    root = ("--data_dir", shop / "root")
    files = ("--interactions", shop / "log.csv.gz", "--items", shop / "products.csv")
    assert command("run_preprocessing", *root, *files).code == 0
    train = ("train_all", *root, "--config", shop / "chain.toml", "--json")
    assert command(*train).json["up_to_date"] == []
    assert command(*train, "--resume").json["up_to_date"] == ["prepare", "popularity", "cf", "ranker and pipeline"]
    shutil.rmtree(shop / "root" / "models" / "cf")  # as a run leaves it that is killed before it is trained
    assert command(*train, "--resume").json["up_to_date"] == ["prepare", "popularity"]
    other = command(*train, "--resume", "--set", "ranker.epochs=2").json
    assert other["up_to_date"] == ["prepare", "popularity", "cf"]
    assert command(*train).json["up_to_date"] == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("channels.cf.factors=32", "[channels.cf] factors: no such option"),
        ("channels.cf.model=item_cf", "[channels.cf] unknown recall 'item_cf'"),
        ("ranker.num_leave=32", "[ranker] num_leave: no such option"),
        ("ranker.model=trees", "[ranker] unknown ranking 'trees'"),
        ("pipeline.candidate=40", "[pipeline] candidate: no such option"),
        ("pipeline.ranker=deepfm", "[pipeline] "),
        ("protocol=leave_on_out", "leave_on_out"),
    ],
)
def test_train_all_refuses_a_wrong_option_and_drops_nothing(
    shop: Path, command: Command, wrong: str, message: str
) -> None:
    root = shop / "root"
    root.mkdir()
    (root / "train_all.json").write_text("{}")
    ended = command("train_all", "--data_dir", root, "--config", shop / "chain.toml", "--set", wrong)
    assert message in ended.sentence
    assert [path.name for path in root.iterdir()] == ["train_all.json"]


def test_the_example_of_train_all_is_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: Command) -> None:
    """Its options pass, so that it fails for want of data alone."""
    monkeypatch.chdir(Path(train_all.__file__).parents[1])
    lines = re.findall(r"^    PYTHONPATH=\. python scripts/train_all\.py (.+)$", train_all.__doc__, flags=re.MULTILINE)
    example = next(line for line in lines if "--set" in line)
    assert "run_preprocessing.py" in command("train_all", *shlex.split(example), "--data_dir", tmp_path).sentence


def test_events_that_repeat_are_named_before_anything_is_trained(shop: Path, command: Command) -> None:
    """A shop's log of views and purchases: the last event of a user is of a product seen before."""
    log = pd.read_csv(shop / "log.csv.gz")
    first = log.groupby("customer_id").head(2)
    last = log.groupby("customer_id")["ts"].transform("max") + 1000
    bought = first.assign(ts=last[first.index])
    pd.concat([log, bought]).to_csv(shop / "twice.csv", index=False)
    root = ("--data_dir", shop / "root")
    warning = "are items of their query's history"
    for file, seen in (("log.csv.gz", False), ("twice.csv", True)):
        assert command("run_preprocessing", *root, "--interactions", shop / file).code == 0
        ended = command("prepare_two_tower_data", *root, "--json")
        assert (warning in ended.err) == seen
        assert (ended.json["test_targets_seen"] > 0.9) == (ended.json["valid_targets_seen"] > 0.9) == seen
        assert (warning in command("train_all", *root, "--config", shop / "chain.toml").err) == seen
        train = ("train_recall", *root, "--model", "popularity", "--input", shop / file)
        assert (warning in command(*train).err) == seen


def test_own_files_for_training_and_test(shop: Path, command: Command) -> None:
    """--input and --test as compressed CSV, with columns by name and by number."""
    root = ("--data_dir", shop / "root")
    log = pd.read_csv(shop / "log.csv.gz")
    last = ~log.duplicated("customer_id", keep="last")
    names = {"customer_id": "client", "sku": "code", "ts": "at"}
    log[~last].rename(columns=names).to_csv(shop / "train.csv.gz", index=False)
    log[last].to_csv(shop / "test.csv", index=False, header=False)
    columns = ("--columns", "user=client,item=code,time=at", "--time_unit", "ms")
    train = ("train_recall", *root, "--model", "itemcf", "--input", shop / "train.csv.gz", "--protocol", "none")
    assert "no column for the user" in command(*train).sentence
    assert command(*train, *columns).code == 0
    test = ("evaluate_recall", *root, "--test", shop / "test.csv")
    assert "in a file without a header, by its number" in command(*test).sentence
    measured = command(*test, "--columns", "user=1,item=2,time=3", "--json").json
    assert measured["protocol"]["users"] == log["customer_id"].nunique()
    assert measured["evaluations"][0]["metrics"]["hit_rate@10"]["mean"] > 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("train_recall", "--model", "mf", "--columns", "user=a"), "--columns says how to read --input FILE"),
        (("train_recall", "--model", "mf", "--time_unit", "ms"), "--time_unit says how to read --input FILE"),
        (("evaluate_recall", "--text_ids"), "--text_ids says how to read --test FILE"),
        (("run_preprocessing", "--columns", "user=a"), "--columns says how to read --interactions FILE"),
        (("run_preprocessing", "--item_columns", "title=a"), "--item_columns names columns of --items FILE"),
        (("train_recall", "--model", "mf", "--input", "x.csv", "--columns", "who=a"), "--columns knows user, item"),
        (("train_all",), "no channels; give a configuration"),
        (("train_all", "--set", "channels.mf={}", "--set", "ranker={}"), "[ranker] names no model"),
    ],
)
def test_wrong_options(tmp_path: Path, command: Command, argv: tuple[str, ...], message: str) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    given = [tmp_path / part if part == "x.csv" else part for part in argv]
    assert message in command(*given, "--data_dir", tmp_path).sentence


def test_columns_may_be_a_table_of_the_configuration(shop: Path, command: Command) -> None:
    (shop / "read.toml").write_text(
        f'interactions = "{shop / "log.csv.gz"}"\ntext_ids = true\n[columns]\nuser = "sku"\nitem = "customer_id"\n'
    )
    report = command("run_preprocessing", "--data_dir", shop / "root", "--config", shop / "read.toml", "--json").json
    assert report["n_items"] == 60
