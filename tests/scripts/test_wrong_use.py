"""A wrong order of commands and wrong options end with exit code 2 and one sentence that names the remedy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reccore import Workspace
from tests.pipeline import small
from tests.scripts.conftest import Command

FIRST = [
    ("run_preprocessing", [], "scripts/download_data.py --dataset ml-100k"),
    ("prepare_two_tower_data", [], "scripts/run_preprocessing.py"),
    ("train_recall", ["--model", "popularity"], "scripts/prepare_two_tower_data.py"),
    (
        "train_recall",
        ["--model", "mf", "--input", "ROOT/processed/two_tower/train.parquet"],
        "prepare_two_tower_data.py",
    ),
    ("evaluate_recall", [], "scripts/train_recall.py --model popularity"),
    ("evaluate_recall", ["--models", "mf"], "scripts/train_recall.py --model mf"),
    ("train_ranking", [], "scripts/train_recall.py --model popularity"),
    ("evaluate_pipeline", [], "scripts/train_ranking.py"),
    ("evaluate_rerank", [], "scripts/train_ranking.py"),
    ("recommend", ["--user", "1"], "scripts/train_ranking.py"),
    ("explain", ["--user", "1", "--movie", "50"], "scripts/train_ranking.py"),
    ("evaluate_ranking", [], "scripts/train_ranking.py"),
    ("export_pipeline", ["--to", "ROOT/export"], "scripts/train_ranking.py"),
    ("compare_ctr", [], "scripts/prepare_two_tower_data.py"),
    ("serve", [], "scripts/demo.py"),
]


@pytest.mark.parametrize(("name", "argv", "before"), FIRST)
def test_a_command_run_too_early_names_the_one_to_run_first(
    command: Command, tmp_path: Path, name: str, argv: list[str], before: str
) -> None:
    root = tmp_path / "data"
    argv = [arg.replace("ROOT", str(root)) for arg in argv]
    sentence = command(name, "--data_dir", root, *argv).sentence
    assert "run first: PYTHONPATH=. python scripts/" in sentence
    assert sentence.endswith(before.replace(".py", f".py --data_dir {root}"))
    assert not root.exists()


def test_a_ranker_before_its_channels(command: Command, tmp_path: Path) -> None:
    small.write_raw(tmp_path / "raw" / "ml-tiny")
    for step in ("run_preprocessing", "prepare_two_tower_data"):
        assert command(step, "--data_dir", tmp_path).code == 0
    sentence = command("train_ranking", "--data_dir", tmp_path).sentence
    assert "channel 'popularity' is not trained" in sentence
    assert sentence.endswith(f"scripts/train_recall.py --data_dir {tmp_path} --model popularity")


NETWORKS = "two_tower, dssm, youtube_dnn, simplex, gru4rec, sasrec, mind"
OPTIONS = [
    # refused by the parser
    ("train_recall", ["--model", "svd"], "invalid choice: 'svd'"),
    ("train_recall", ["--model", "mf", "--epochs", "many"], "invalid int value: 'many'"),
    ("train_recall", ["--model", "mf", "--epoch", "3"], "unrecognized arguments: --epoch 3"),
    ("evaluate_recall", ["--models", " ,"], "models: "),
    ("evaluate_recall", ["--split", "train"], "invalid choice: 'train'"),
    ("evaluate_recall", ["--min_rating", "4"], "--min_rating belongs to --new_users"),
    ("evaluate_recall", ["--new_users", "1,3", "--include_seen"], "--new_users has no use for include_seen"),
    ("evaluate_pipeline", ["--short_histories", "0"], "--short_histories belongs to --new_users"),
    ("evaluate_pipeline", ["--new_users", "1", "--ks", "5"], "--new_users has no use for ks"),
    ("evaluate_rerank", ["--trade_offs", "0.5,2"], "trade_offs.1: Input should be less than or equal to 1"),
    ("evaluate_rerank", ["--trade_offs", ","], "trade_offs: "),
    ("evaluate_rerank", ["--pool", "0"], "pool: Input should be greater than or equal to 1"),
    ("evaluate_rerank", ["--min_gain", "-1"], "min_gain: Input should be greater than or equal to 0"),
    ("evaluate_recall", ["--new_users", "0"], "new_users.0: Input should be greater than or equal to 1"),
    ("recommend", ["--user", "anna"], "user must hold whole numbers of at most 64 bits, got ['anna']"),
    # options of the run
    ("train_recall", ["--model", "mf", "--seed", "-1"], "seed: must be a whole number from 0 to 4294967295 (got -1)"),
    ("train_recall", ["--model", "mf", "--seed", "9999999999"], "seed: must be a whole number from 0"),
    ("train_recall", ["--model", "mf", "--device", "gpu"], "device: must be auto, cpu, cuda, cuda:<number> or mps"),
    ("recommend", ["--user", "3", "--device", "meta"], "device: must be auto"),
    ("prepare_two_tower_data", ["--seed", "-5"], "seed: must be"),
    # models and their options
    ("train_recall", [], "--model is missing; known: popularity, itemcf, "),
    ("train_recall", ["--set", "model=svd"], "unknown recall 'svd'; known: popularity"),
    ("train_recall", ["--model", "mf", "--set", "factors=8"], "factors: no such option"),
    ("train_recall", ["--model", "popularity", "--epochs", "3"], "epochs: no such option (got 3). Known options: half"),
    (
        "train_recall",
        ["--model", "mf", "--query_time"],
        "mf has no --query_time; leave it out, or choose a channel that",
    ),
    (
        "train_recall",
        ["--model", "word2vec", "--use_gcn"],
        f"word2vec has no --use_gcn; leave it out, or choose a channel that has it: {NETWORKS}",
    ),
    ("train_recall", ["--model", "markov", "--logq", "counts"], "markov has no --logq; leave it out, or choose"),
    (
        "train_recall",
        ["--model", "word2vec", "--item_adj", "x.parquet"],
        f"cannot read an item graph; leave out --item_adj, or choose a channel that can: {NETWORKS}",
    ),
    (
        "train_recall",
        ["--model", "mind", "--item_adj", "x.parquet"],
        "mind reads no item graph as configured; add --use_gcn",
    ),
    ("train_recall", ["--model", "two_tower", "--logq", "some"], "invalid choice: 'some'"),
    ("train_recall", ["--model", "mf", "--set", "epochs"], "--set needs KEY=VALUE, got 'epochs'"),
    ("train_recall", ["--model", "mf", "--set", "epochs=0"], "epochs: "),
    ("train_recall", ["--model", "two_tower", "--learning_rate", "-1"], "learning_rate: "),
    ("train_recall", ["--model", "mf", "--name", "../x"], "'../x' is not a usable model name"),
    ("train_recall", ["--model", "mf", "--name", "pipeline"], "the name 'pipeline' is reserved"),
    ("train_recall", ["--model", "mf", "--name", "deepfm"], "holds a ranking model; choose another --name"),
    ("train_recall", ["--model", "mf", "--protocol", "random"], "unknown protocol 'random'; known: leave_one_out"),
    ("train_recall", ["--model", "mf", "--input", "nowhere.parquet"], "no such file: nowhere.parquet"),
    ("train_recall", ["--model", "mf", "--input", "mine/train.parquet"], "no such file: mine/train.parquet"),
    ("train_recall", ["--model", "mf", "--input", "pyproject.toml"], "pyproject.toml has no column for the user"),
    ("train_ranking", ["--set", "task=watch"], "there are no labels for the task 'watch'; known: click, like"),
    ("train_ranking", ["--set", "model=xdeepfm"], "unknown ranking 'xdeepfm'; known: lr, fm, deep, wide_deep"),
    ("train_ranking", ["--max_queries", "0"], "max_queries: "),
    ("train_ranking", ["--label_windows", "0"], "label_windows: "),
    ("train_ranking", ["--set", "pipeline=3"], "pipeline: "),
    ("train_ranking", ["--set", "pipeline.chanels=[]"], "chanels: no such option"),
    ("train_ranking", ["--set", "pipeline.rerank.method=dpp2"], "unknown rerank 'dpp2'"),
    ("train_ranking", ["--set", "pipeline.ranker=din"], "leave out pipeline.ranker"),
    ("train_ranking", ["--name", "a/b"], "'a/b' is not a usable model name"),
    ("train_ranking", ["--name", "mf"], "holds a recall model; choose another --name"),
    # evaluation
    ("evaluate_recall", ["--split", "valid", "--test", "x.parquet"], "--split and --test exclude each other"),
    ("evaluate_recall", ["--set", "split=train"], "split: Input should be 'valid' or 'test'"),
    ("evaluate_recall", ["--models", "svd"], "channel 'svd' is not trained; run first"),
    ("evaluate_recall", ["--models", "deepfm"], "is a ranking bundle, a recall bundle is needed"),
    ("evaluate_recall", ["--test", "x.parquet"], "no such file: x.parquet"),
    ("evaluate_recall", ["--ks", "0"], "ks.0: Input should be greater than or equal to 1"),
    ("evaluate_recall", ["--ks=-5"], "ks.0: Input should be greater than or equal to 1"),
    ("evaluate_recall", ["--ks", "10,ten"], "ks.1: Input should be a valid integer"),
    ("evaluate_recall", ["--ks", ""], "list lengths K must be whole numbers from 1"),
    ("evaluate_recall", ["--set", "merge=rrf"], "merge: "),
    ("evaluate_recall", ["--set", "merge.k=60"], "merge.rrf.k: no such option"),
    ("evaluate_recall", ["--models", "mf,popularity", "--set", "merge.weights.svd=2"], "no channel 'svd' among"),
    ("evaluate_recall", ["--set", "merge.k0=6"], "merge has no use without the channels to merge; name them: --models"),
    ("evaluate_recall", ["--per_channel", "300"], "per_channel has no use without the channels to merge; name them"),
    ("evaluate_recall", ["--models", "mf", "--per_channel", "0"], "per_channel: Input should be greater than or equal"),
    ("evaluate_recall", ["--query_time"], "--query_time is for channels trained with it"),
    ("tune_merge", ["--models", "mf"], "merging needs at least two channels, got mf"),
    ("tune_merge", [], "name the channels whose merge is to be tuned, such as --models"),
    ("tune_merge", ["--models", "mf,itemcf", "--metrics", "ndcg@10,f1@10"], "unknown metric 'f1@10'"),
    ("tune_merge", ["--set", "kind=quota"], "kind: Input should be 'rrf' or 'scores'"),
    ("tune_merge", ["--max_users", "1"], "max_users: Input should be greater than or equal to 2"),
    ("evaluate_pipeline", ["--query_time"], "--query_time is for channels trained with it"),
    ("evaluate_recall", ["--set", "k=10"], "k: no such option"),
    ("evaluate_pipeline", ["--set", "split=train"], "split: Input should be 'valid' or 'test'"),
    ("evaluate_pipeline", ["--set", "models=mf"], "models: no such option"),
    ("evaluate_pipeline", ["--split", "valid", "--test", "x.parquet"], "--split and --test exclude each other"),
    ("evaluate_pipeline", ["--test", "x.parquet"], "no such file: x.parquet"),
    ("evaluate_pipeline", ["--ks", "10,0"], "ks.1: Input should be greater than or equal to 1"),
    ("evaluate_rerank", ["--set", 'only=["mmr"]'], "unknown curve 'mmr'; known: 'mmr, vectors'"),
    ("evaluate_ranking", ["--models", "nowhere"], "ranker 'nowhere' not found at "),
    ("evaluate_ranking", ["--models", "mf"], "is a recall bundle, a ranking bundle is needed"),
    ("evaluate_ranking", ["--query_time"], "--query_time is for channels trained with it"),
    ("evaluate_ranking", ["--split", "train"], "invalid choice: 'train'"),
    ("evaluate_ranking", ["--ks", "0"], "ks.0: Input should be greater than or equal to 1"),
    ("compare_ctr", ["--models", "svd"], "unknown ranking 'svd'; known: lr, fm"),
    ("compare_ctr", ["--models", "lr", "--set", "hidden=[8]"], "'hidden' is an option of none of lr"),
    ("compare_ctr", ["--seeds", "x"], "seeds.0: Input should be a valid integer"),
    # requests
    ("recommend", [], "give --user ID, --history FILMS, or both"),
    ("recommend", ["--user", "4"], "user 4 is not known here"),
    ("recommend", ["--user", "3", "--k", "0"], "k: Input should be greater than or equal to 1"),
    ("recommend", ["--user", "3", "--set", "k=2.5"], "k: "),
    ("recommend", ["--history", "1,x"], "no film here has 'x' in its title; give another part of it, or the film's id"),
    ("recommend", ["--history", "99999999999999999999"], "no film here has '99999999999999999999' in its title"),
    ("recommend", ["--user", "99999999999999999999"], "user must hold whole numbers of at most 64 bits"),
    ("recommend", ["--user", "3", "--exclude", "a"], "exclude must hold whole numbers"),
    ("recommend", ["--user", "3", "--as_of", "5"], "as_of 5 would change nothing"),
    ("recommend", ["--user", "3", "--as_of=-5"], "as_of: Input should be greater than or equal to 0"),
    ("recommend", ["--user", "3", "--set", "top=5"], "top: no such option"),
    ("explain", ["--movie", "5"], "give --user ID, --history FILMS, or both"),
    ("explain", ["--user", "3"], "give --movie, the film to explain"),
    ("explain", ["--user", "4", "--movie", "5"], "user 4 is not known here"),
    (
        "explain",
        ["--user", "4", "--movie", "5", "--split", "test"],
        "user 4 has no event in the test split",
    ),
    (
        "explain",
        ["--history", "5", "--movie", "5", "--split", "valid"],
        "--split asks as the evaluation does:",
    ),
    ("explain", ["--user", "3", "--movie", "5", "--split", "test", "--as_of", "5"], "no --history and no --as_of"),
    ("export_pipeline", [], "--to is missing"),
    ("export_pipeline", ["--to", "ROOT/models/mf"], "models/mf holds a recall bundle; choose another folder"),
    ("export_pipeline", ["--pipeline", "ROOT/models/mf", "--to", "x"], "a pipeline bundle is needed"),
    ("recommend", ["--user", "3", "--pipeline", "nowhere"], "no pipeline at nowhere; run first"),
    ("explain", ["--user", "3", "--movie", "6"], "movie 6 is not in the catalogue of this pipeline"),
    ("explain", ["--user", "3", "--movie", "99999999999999999999"], "no film here has '99999999999999999999' in its"),
    ("prepare_two_tower_data", ["--protocol", "random"], "unknown protocol 'random'"),
    ("prepare_two_tower_data", ["--protocol", "leave_last_0"], "unknown protocol 'leave_last_0'"),
    ("prepare_two_tower_data", ["--set", "protocoll=none"], "protocoll: no such option"),
    ("demo", ["--set", "users=5"], "users: no such option"),
    ("demo", ["--set", "user=anna"], "user: "),
]


@pytest.mark.parametrize(("name", "argv", "message"), OPTIONS)
def test_wrong_options(command: Command, trained: Workspace, name: str, argv: list[str], message: str) -> None:
    argv = [arg.replace("ROOT", str(trained.root)) for arg in argv]
    assert message in command(name, "--data_dir", trained.root, *argv).sentence


FILES = [
    ("train_recall", 'model = "mf"\nepochs = ', "cannot read --config"),
    ("train_recall", 'model = "mf"\nepochs = "five"', "epochs: Input should be a valid integer"),
    ("train_recall", 'model = "mf"\nname = 3', "name: Input should be a valid string (got 3)"),
    ("train_recall", 'model = "mf"\ninput = 3', "input: "),
    ("train_recall", 'model = "mf"\nprotocol = 3', "protocol: "),
    ("train_recall", "model = 3", "model: "),
    ("train_recall", 'model = "mf"\nseed = "one"', "seed: must be a whole number"),
    ("train_recall", 'model = "mf"\n[pipeline]\ncandidates = 3', "pipeline: no such option"),
    ("train_ranking", 'max_queries = "all"', "max_queries: "),
    ("train_ranking", "pipeline = [1]", "pipeline: "),
    ("train_ranking", '[pipeline]\nchannels = "mf"', "channels: "),
    ("train_ranking", '[pipeline.rerank]\ntrade_off = "high"', "trade_off: "),
    ("evaluate_recall", "models = 3", "models.0: "),
    ("evaluate_recall", 'include_seen = "perhaps"', "include_seen: "),
    ("evaluate_recall", "test = 3", "test: "),
    ("recommend", "user = 3\nk = true\nhistory = 1.5", "history: "),
    ("prepare_two_tower_data", "protocol = 1", "protocol: "),
]


@pytest.mark.parametrize(("name", "text", "message"), FILES)
def test_wrong_files(command: Command, trained: Workspace, tmp_path: Path, name: str, text: str, message: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    assert message in command(name, "--data_dir", trained.root, "--config", file).sentence
    file.unlink()
    assert f"cannot read --config {file}" in command(name, "--data_dir", trained.root, "--config", file).sentence


def test_a_file_of_users_with_one_event_each(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "one.csv"
    file.write_text("userId,movieId\n" + "".join(f"{n},{n}\n" for n in range(1, 7)))
    argv = ("--data_dir", tmp_path, "--input", file, "--protocol", "none")
    sentence = command("train_recall", *argv, "--model", "word2vec").sentence
    assert sentence.endswith("found none: no user has more than one event; give it longer histories")
    assert command("train_recall", *argv, "--model", "itemcf").code == 0


def test_the_parser_prints_one_line_as_other_errors_do(command: Command) -> None:
    ended = command("train_recall", "--model", "svd")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: argument --model: invalid choice: 'svd'")
    assert ended.err.endswith("--help lists the options\n")


def test_a_protocol_without_held_out_events(command: Command, own: Workspace) -> None:
    root = ("--data_dir", own.root)
    assert command("train_recall", *root, "--model", "mf", "--protocol", "none").code == 0
    assert "protocol none leaves no test events" in command("evaluate_recall", *root, "--models", "mf").sentence
    both = command("evaluate_recall", *root).sentence
    assert "mf was fitted on ml-tiny" in both
    assert "under none, not on ml-tiny" in both


def test_a_pipeline_whose_channel_was_trained_again_goes_on_and_says_so(command: Command, own: Workspace) -> None:
    root = ("--data_dir", own.root)
    asked = [("recommend", ["--user", "3"]), ("evaluate_pipeline", []), ("evaluate_ranking", [])]
    shutil.rmtree(own.model("deepfm"))  # the pipeline has its own
    before = [command(name, *root, *argv) for name, argv in asked]
    assert command("train_recall", *root, "--model", "mf", "--set", "half_life=2").code == 0
    for (name, argv), old in zip(asked, before, strict=True):
        ended = command(name, *root, *argv)
        assert ended.code == old.code == 0
        assert "mf was trained again after the pipeline at" in ended.err
        assert "trained again" not in old.err
