"""The commands as users run them: the whole chain, their output, and the sources of their options."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reccore import Workspace
from scripts import demo
from tests.helpers import as_flags
from tests.pipeline import small
from tests.pipeline.small import N_MOVIES, N_RATINGS, N_USERS, movie_id, user_id
from tests.scripts.conftest import Command

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path.stem for path in (REPOSITORY / "scripts").glob("[!_]*.py"))
TWO_TOWER = as_flags(small.CHANNELS["two_tower"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(command: Command, name: str) -> None:
    ended = command(name, "--help")
    assert ended.code == 0
    for option in ("--data_dir", "--seed", "--config", "--set", "--json"):
        assert option in ended.out
    if name in ("train_recall", "train_ranking"):
        assert "--name" in ended.out
        assert "--protocol" in ended.out
    assert ended.err == ""


def test_new_users(command: Command, own: Workspace) -> None:
    root = ("--data_dir", own.root, "--models", "mf,popularity")
    ended = command("evaluate_recall", *root, "--new_users", "1,3", "--min_rating", "3")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("ml-tiny · 6 users absent from training (test users) · targets: later events rated 3")
    for part in ("N = 1 |", "N = 3 |", "mf, N=3 − popularity", f"report: {own.reports / 'new_users.md'}"):
        assert part in ended.out
    found = command("evaluate_recall", *root, "--new_users", "3", "--json").json
    assert [part["events"] for part in found["new_users"]] == [3]
    ended = command("evaluate_pipeline", "--data_dir", own.root, "--new_users", "1", "--short_histories", "0")
    assert ended.code == 0, ended.err
    for part in ("after reranking, N=1 − popularity", f"report: {own.reports / 'new_users_pipeline.md'}"):
        assert part in ended.out


def test_the_chain_from_raw_files_to_recommendations(command: Command, tmp_path: Path) -> None:
    """Every command in its order; with ``--json`` stdout holds one object and nothing else."""
    root = tmp_path / "data"
    small.write_raw(root / "raw" / "ml-tiny")

    def go(name: str, *argv: object) -> dict[str, Any]:
        ended = command(name, "--data_dir", root, "--json", *argv)
        assert ended.code == 0, ended.err
        assert len(ended.out.splitlines()) == 1
        return ended.json

    assert go("run_preprocessing")["rows"]["ratings"] == N_USERS * N_RATINGS
    prepared = go("prepare_two_tower_data")
    assert (prepared["users"], prepared["items"]) == (N_USERS, N_MOVIES)
    assert prepared["fit_events"] == N_USERS * (N_RATINGS - 2)
    assert prepared["valid_targets"] == prepared["test_targets"] == prepared["test_users"] == N_USERS
    train = root / "processed" / "two_tower" / "train.parquet"
    assert pq.read_metadata(train).num_rows == prepared["fit_events"]
    for model in ("popularity", "itemcf"):
        assert go("train_recall", "--model", model, "--input", train)["validation"]["ndcg@10"] >= 0
    assert go("train_recall", "--model", "mf", "--embedding_size", 8)["config"]["embedding_size"] == 8
    assert go("train_recall", "--model", "two_tower", *TWO_TOWER)["config"]["epochs"] == 2
    names = {e["name"] for e in go("evaluate_recall", "--models", ",".join(small.CHANNELS))["evaluations"]}
    assert names == {"popularity", "itemcf", "mf", "two_tower", "merged"}
    ranked = go(
        "train_ranking", "--model", "din", "--epochs", 1, "--max_queries", 40, "--set", "pipeline.candidates=25"
    )
    assert ranked["training_queries"] + ranked["stopping_queries"] == 40 + 4  # a tenth more by users who play new ones
    assert Path(ranked["pipeline"]).is_dir()
    funnel = go("evaluate_pipeline")["funnel"]
    assert (funnel["targets"], sum(funnel["fates"].values())) == (N_USERS, N_USERS)
    within = go("evaluate_ranking", "--split", "valid")["systems"]
    assert {system["name"] for system in within} == {"din", "after recall", "popularity", "itemcf", "mf", "two_tower"}
    curves = go("evaluate_rerank", "--trade_offs", "0.8,0.2", "--min_gain", 0, "--set", 'only=["mmr, genres"]')
    assert [(p["family"], p["trade_off"]) for p in curves["test"][1:]] == [("mmr, genres", 0.8), ("mmr, genres", 0.2)]
    assert curves["chosen"]["family"] == "mmr, genres"
    answer = go("recommend", "--user", user_id(1), "--k", 3)
    assert answer["user"] == user_id(1)
    assert len(answer["history"]) == N_RATINGS
    assert len(answer["recommendations"]) == 3
    facts = {"movie_id", "title", "year", "genres", "channels", "scores", "places"}
    assert facts == set(answer["recommendations"][0])
    assert {stage["name"] for stage in answer["trace"]["stages"]} >= {"popularity", "din", "mmr"}


def test_json_of_the_synthetic_data(command: Command, tmp_path: Path) -> None:
    ended = command(
        "make_synthetic", "--data_dir", tmp_path, "--users", 50, "--movies", 100, "--ratings", 600, "--json"
    )
    assert ended.json["rows"]["ratings"] == 600


def test_texts_for_people(command: Command, own: Workspace) -> None:
    recall = command("evaluate_recall", "--data_dir", own.root, "--models", "mf, popularity").out
    assert recall.startswith("ml-tiny · leave_one_out (test) · 60 users · full catalogue ranked, seen items filtered")
    for part in (
        "| merged ",
        "HitRate@10",
        "NDCG@10",
        "verdict",
        "What merging adds",
        f"report: {own.reports / 'recall.md'}",
    ):
        assert part in recall
    few = command("evaluate_recall", "--data_dir", own.root, "--models", "mf,popularity", "--ks", "5,20").out
    assert "HitRate@5" in few
    assert "HitRate@20" in few
    whole = command("evaluate_pipeline", "--data_dir", own.root).out
    for part in (
        "after reranking",
        "The funnel",
        "missed by every channel",
        "events of the film",
        "One pass over all users",
        "select   mmr",
    ):
        assert part in whole
    few = command("evaluate_pipeline", "--data_dir", own.root, "--ks", "5,20").out
    assert "HitRate@5" in few
    assert "targets in the first 5" in few
    trained_text = command("train_recall", "--data_dir", own.root, "--model", "popularity").out
    assert trained_text.startswith("popularity trained in ")
    assert "validation: hit_rate@10 0." in trained_text
    alone = command("train_recall", "--data_dir", own.root, "--model", "popularity", "--protocol", "none").out
    assert "no validation: protocol none has no validation events" in alone
    prepared = command("prepare_two_tower_data", "--data_dir", own.root, "--protocol", "none").out
    assert "tied targets: –" in prepared


def test_recommendations_for_people(command: Command, trained: Workspace) -> None:
    root = ("--data_dir", trained.root)
    known = command("recommend", *root, "--user", user_id(4), "--trace").out
    assert f"History: {N_RATINGS} films, the latest 10 first" in known
    assert known.count("Short") == 20  # ten of the history, ten recommended, each with its genres
    assert "select   mmr" in known
    some = command("recommend", *root, "--history", f"{movie_id(3)},999999", "--k", 2).out
    assert "History: 1 film\n" in some
    assert "Film 3" in some
    assert "not in the catalogue, ignored: 999999" in some
    assert "select" not in some
    rated = command("recommend", *root, "--history", f"{movie_id(3)}:1,{movie_id(5)}:4.5", "--k", 2, "--json").json
    timed = f"{movie_id(5)}:4.5@20,{movie_id(3)}:1@10"
    assert command("recommend", *root, "--history", timed, "--k", 2, "--json").json["history"] == rated["history"]
    nobody = command("recommend", *root, "--history", "", "--k", 2)
    assert nobody.code == 0
    assert "History: empty" in nobody.out
    many = command("recommend", *root, "--user", user_id(4), "--k", 500).out
    assert "25 of 500 films: the pipeline keeps at most 25" in many
    first = command("recommend", *root, "--user", user_id(4), "--k", 1, "--json").json["recommendations"][0]["movie_id"]
    without = command("recommend", *root, "--user", user_id(4), "--exclude", f"{first},1", "--json").json
    assert first not in [item["movie_id"] for item in without["recommendations"]]


def test_explanations_for_people(command: Command, trained: Workspace) -> None:
    root = ("--data_dir", trained.root)
    user = ("--user", user_id(4))
    films = command("recommend", *root, *user, "--json").json["recommendations"]
    there = command("explain", *root, *user, "--movie", films[2]["movie_id"])
    for part in (
        films[2]["title"],
        "Recommended: it is at place 3 of the list",
        "Recall channels",
        "reranker mmr",
        "in all",
    ):
        assert part in there.out
    lost = command("explain", *root, *user, "--movie", films[9]["movie_id"], "--k", 2)
    assert "It would have helped, one of:" in lost.out
    found = command("explain", *root, *user, "--movie", films[9]["movie_id"], "--k", 2, "--json").json
    assert (found["user"], found["movie_id"], found["k"], found["place"]) == (user_id(4), films[9]["movie_id"], 2, None)
    assert {channel["name"] for channel in found["channels"]} == set(small.CHANNELS)
    rated = ("--history", f"{movie_id(3)}:1,{movie_id(5)}:4.5", "--movie", movie_id(5))
    assert "Seen or excluded: the user has seen it (event 2 of 2, rated 4.5)" in command("explain", *root, *rated).out


def test_the_history_of_the_evaluation_is_asked_for_by_name(command: Command, trained: Workspace) -> None:
    root, user = ("--data_dir", trained.root), ("--user", user_id(4))
    last = command("recommend", *root, *user, "--json").json["history"][-1]
    assert f"the user has seen it (event {N_RATINGS} of" in command("explain", *root, *user, "--movie", last).out
    asked = command("explain", *root, *user, "--movie", last, "--split", "test").out
    assert "seen" not in asked.splitlines()[2]


def test_an_exported_pipeline(command: Command, own: Workspace, tmp_path: Path) -> None:
    user = ("--user", user_id(4), "--json")
    here = command("recommend", "--data_dir", own.root, *user).json
    ended = command("export_pipeline", "--data_dir", own.root, "--to", tmp_path / "out" / "pipeline")
    assert ended.code == 0, ended.err
    assert "popularity, itemcf, mf, two_tower, deepfm" in ended.out
    again = command("export_pipeline", "--data_dir", own.root, "--to", tmp_path / "out" / "pipeline", "--json").json
    assert again["fingerprint"] in ended.out
    shutil.rmtree(own.root)
    there = command("recommend", "--data_dir", own.root, "--pipeline", tmp_path / "out" / "pipeline", *user).json
    assert there["recommendations"] == here["recommendations"]


def test_query_time_from_training_to_a_recommendation(command: Command, own: Workspace) -> None:
    root = ("--data_dir", own.root)
    flags = ("--model", "two_tower", "--name", "timed", "--logq", "none", "--query_time", *TWO_TOWER)
    text = command("train_recall", *root, *flags).out
    assert "validation (query time seen): hit_rate@10 0." in text
    config = json.loads((own.model("timed") / "manifest.json").read_text())["config"]
    assert config["encoder"]["query_time"] is True
    assert config["negatives"]["logq"]["kind"] == "none"
    assert "QUERY TIME SEEN" not in command("evaluate_recall", *root).out
    assert "timed learnt with" in command("evaluate_recall", *root, "--models", "timed").sentence
    table = command("evaluate_recall", *root, "--models", "timed,mf", "--query_time").out
    assert "QUERY TIME SEEN (separate leaderboard)" in table.splitlines()[0]
    assert str(own.reports / "recall_query_time.md") in table
    settings = (
        "--set",
        'pipeline.channels=["popularity", "timed"]',
        "--set",
        "pipeline.rerank.similarity.channel=timed",
    )
    assert command("train_ranking", *root, "--epochs", 1, "--max_queries", 40, *settings).code == 0
    whole = command("evaluate_pipeline", *root, "--query_time")
    assert "QUERY TIME SEEN" in whole.out.splitlines()[0], whole.err
    assert command("recommend", *root, "--user", user_id(1), "--as_of", 1_000_000_500, "--json").code == 0


def test_flags_beat_set_and_set_beats_the_file(command: Command, own: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('model = "mf"\nembedding_size = 3\nepochs = 3\nreg = 0.3\nseed = 3\nname = "from_file"\n')
    from_file = ("train_recall", "--data_dir", own.root, "--config", file, "--json")
    result = command(*from_file, "--set", "embedding_size=4", "--set", "epochs=4", "--epochs", 5, "--name", "mine").json
    config = result["config"]
    assert (config["epochs"], config["embedding_size"], config["reg"], config["alpha"]) == (5, 4, 0.3, 5.0)
    assert result["path"] == str(own.model("mine"))
    manifest = json.loads((own.model("mine") / "manifest.json").read_text())
    assert (manifest["seed"], manifest["config"]) == (3, config)
    command(*from_file, "--seed", 7)
    assert json.loads((own.model("from_file") / "manifest.json").read_text())["seed"] == 7


def test_the_pipelines_options_in_the_file(command: Command, own: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        'model = "deepfm"\nmax_queries = 20\nshort_histories = 0\nepochs = 1\n'
        '[pipeline]\nchannels = ["popularity", "mf"]\ncandidates = 12\n'
        '[pipeline.rerank]\ntrade_off = 0.9\nsimilarity.channel = "mf"\n'
    )
    result = command(
        "train_ranking", "--data_dir", own.root, "--config", file, "--set", "pipeline.candidates=11", "--json"
    ).json
    stored = json.loads((Path(result["pipeline"]) / "manifest.json").read_text())["config"]
    by_kind = {stage["kind"]: stage for stage in stored["stages"]}
    assert [stage["name"] for stage in stored["stages"] if stage["kind"] == "channel"] == ["popularity", "mf"]
    assert (by_kind["merge"]["k"], by_kind["rerank"]["trade_off"]) == (11, 0.9)
    assert result["training_queries"] + result["stopping_queries"] == 20
    merge = command(
        "evaluate_recall",
        "--data_dir",
        own.root,
        "--models",
        "popularity,mf",
        "--set",
        "merge.weights.mf=1e6",
        "--json",
    ).json
    by_name = {e["name"]: e["metrics"]["ndcg@10"] for e in merge["evaluations"]}
    assert by_name["merged"] == by_name["mf"]


def test_an_ensemble_from_a_file(command: Command, own: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        'model = "ensemble"\nmax_queries = 100\npipeline.rerank = "null"\n'
        '[[members]]\nmodel = "lambdamart"\nseeds = 2\ntrees = 4\n'
        '[[members]]\nmodel = "deepfm"\nweight = 0.5\nepochs = 1\nhidden = [8]\n'
    )
    ended = command("train_ranking", "--data_dir", own.root, "--config", file)
    assert ended.code == 0, ended.err
    assert ended.out.count("the best is epoch") == 3
    stages = command("recommend", "--data_dir", own.root, "--user", user_id(2), "--json").json["trace"]["stages"]
    assert "ensemble" in [stage["name"] for stage in stages]
    assert not list(own.checkpoint("ensemble").parent.glob("ensemble*"))


def test_options_that_may_be_null(command: Command, own: Workspace) -> None:
    root = ("--data_dir", own.root, "--json")
    even = command("train_recall", *root, "--model", "itemcf", "--name", "even", "--set", "half_life=null").json
    assert even["config"]["half_life"] is None
    plain = ("--set", "pipeline.rerank=null", "--set", "pipeline.fill=null", "--set", "max_queries=100")
    assert command("train_ranking", *root, "--epochs", 1, *plain).code == 0
    stages = command("recommend", *root, "--user", user_id(2)).json["trace"]["stages"]
    assert (stages[-1]["stage"], stages[-1]["name"]) == ("select", "top")


def test_lists_in_a_file_and_in_set(command: Command, own: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('models = ["mf", "popularity"]\nks = [5, 10]\ninclude_seen = true\n')
    report = command("evaluate_recall", "--data_dir", own.root, "--config", file, "--json").json
    assert {e["name"] for e in report["evaluations"]} == {"mf", "popularity", "merged"}
    assert report["protocol"]["seen_filtered"] is False
    one = command("evaluate_recall", "--data_dir", own.root, "--set", "ks=7", "--set", "models=mf", "--json").json
    assert "hit_rate@7" in one["evaluations"][0]["metrics"]
    user = ("recommend", "--data_dir", own.root, "--json")
    assert command(*user, "--set", f"history={movie_id(3)}").json["history"] == [movie_id(3)]
    assert command(*user, "--set", f"history=[{movie_id(3)}, {movie_id(5)}]").json["history"] == [
        movie_id(3),
        movie_id(5),
    ]


@pytest.fixture
def tiny_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The demo with a small data set in place of the download, and quick settings; returns their folder."""
    configs = tmp_path / "configs"
    configs.mkdir()

    def write(name: str, settings: dict[str, Any]) -> None:
        values = {key: json.dumps(value).replace('": ', '" = ') for key, value in settings.items()}  # inline tables
        lines = [f"{key} = {value}" for key, value in values.items()]
        (configs / f"{name}.toml").write_text("\n".join(lines))

    for name in (*demo.CHANNELS, demo.NEW_USERS):
        write(name, {"model": name, **small.CHANNELS.get(name, {})})
    write("ranker", {"model": "deepfm", **small.RANKER})
    with (configs / "ranker.toml").open("a") as file:
        file.write("\n[pipeline]\n" + "\n".join(f"{key} = {value}" for key, value in small.PIPELINE.items()) + "\n")
        file.write(f'short_history = {{below = 4, channel = "{demo.NEW_USERS}"}}\n')

    def download(dataset: str, space: Workspace, **options: object) -> None:
        small.write_raw(space.raw / dataset)

    monkeypatch.setattr(demo, "CONFIGS", configs)
    monkeypatch.setattr("data_collector.download.download_dataset", download)
    return configs


def test_the_demo_and_which_steps_it_repeats(command: Command, tiny_demo: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    argv = ("demo", "--data_dir", root, "--user", user_id(2))
    first = command(*argv)
    assert first.code == 0, first.err
    for part in (
        "| after reranking",
        "| two_tower",
        "NDCG@10",
        f"User {user_id(2)}",
        "History",
        "Up to date: nothing.",
    ):
        assert part in first.out
    assert str(root / "reports" / "pipeline.md") in first.out
    steps = ["download", "preprocess", "prepare", *demo.CHANNELS, demo.NEW_USERS]
    steps += ["ranking and pipeline", "evaluate recall", "evaluate pipeline"]
    again = command(*argv, "--json").json
    assert (again["seconds"], again["up_to_date"]) == ({}, steps)
    assert len(again["recommendations"]) == 10
    # Another option of one channel redoes that channel and what rests on it.
    with (tiny_demo / "mf.toml").open("a") as file:
        file.write("\nalpha = 9.0\n")
    changed = command(*argv, "--json").json
    assert list(changed["seconds"]) == ["mf", *steps[-3:]]
    # And so does another model under a channel's name, with options as before.
    plain = (tiny_demo / "popularity.toml").read_text()
    (tiny_demo / "popularity.toml").write_text('model = "itemcf"\n')
    other = command(*argv, "--json").json
    assert list(other["seconds"]) == ["popularity", *steps[-3:]]
    (tiny_demo / "popularity.toml").write_text(plain)
    assert list(command(*argv, "--json").json["seconds"]) == ["popularity", *steps[-3:]]
    # And so does a channel that was trained by hand meanwhile.
    command("train_recall", "--data_dir", root, "--model", "itemcf", "--set", "half_life=1")
    assert list(command(*argv, "--json").json["seconds"]) == ["itemcf", *steps[-3:]]


def python(*argv: object, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, argv)]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, **options
    )


def test_as_a_file_and_as_a_module(trained: Workspace) -> None:
    found = python("scripts/recommend.py", "--data_dir", trained.root, "--user", user_id(0), "--k", 2, "--json")
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    assert len(json.loads(found.stdout)["recommendations"]) == 2
    missing = python("-m", "scripts.recommend", "--data_dir", trained.root, "--user", 4)
    assert (missing.returncode, missing.stdout) == (2, "")
    assert missing.stderr == "error: user 4 is not known here; give a history instead\n"


def test_a_reader_that_closes_the_pipe(trained: Workspace) -> None:
    line = f"{sys.executable} -m scripts.recommend --data_dir {trained.root} --user {user_id(0)} | true"
    ended = python("-c", f"import subprocess, sys; sys.exit(subprocess.run(['bash', '-c', {line!r}]).returncode)")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_tuned_weights_are_taken_by_the_commands_that_merge(command: Command, own: Workspace) -> None:
    root = ("--data_dir", own.root)
    text = command(
        "tune_merge", *root, "--models", "itemcf,mf,popularity,two_tower", "--metrics", "ndcg@10", "--per_channel", 30
    ).out
    for part in ("| tuned on the other half ", "NDCG@10", "tuned weights are ", "[merge.weights]", "merge_recall.toml"):
        assert part in text
    tuned = command(
        "tune_merge",
        *root,
        "--models",
        "itemcf,mf,popularity,two_tower",
        "--metrics",
        "ndcg@10",
        "--per_channel",
        30,
        "--json",
    ).json
    recall = command("evaluate_recall", *root, "--config", tuned["recall_toml"], "--json")
    assert {e["name"] for e in recall.json["evaluations"]} == {"itemcf", "mf", "popularity", "two_tower", "merged"}
    ranked = command(
        "train_ranking", *root, "--config", tuned["pipeline_toml"], "--model", "din", "--epochs", 1, "--json"
    ).json
    stages = json.loads((Path(ranked["pipeline"]) / "manifest.json").read_text())["config"]["stages"]
    assert next(stage["method"] for stage in stages if stage["kind"] == "merge") == tuned["config"]
