"""The command that chooses the index of a trained channel by measurement."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dataprep.prepare import Prepared
from pipeline import load
from recall import CHANNELS
from reccore import Bundle, Workspace
from reccore.bundle import read_manifest
from tests.pipeline.small import N_MOVIES, N_USERS, user_id
from tests.scripts.conftest import Command

TINY = ["--set=epochs=1", "--set=embedding_size=4", "--set=item.hidden_size=4", "--set=negatives.uniform=0"]


@pytest.fixture
def without_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small catalogue counts as large, so that structures are built over it."""
    monkeypatch.setattr("recall.index.approximate.SMALLEST", 1)


# Of so few films HNSW's graph may leave one without a way to it, however far it is searched.
@pytest.mark.parametrize(("kind", "least"), [("ivf", 0.99), ("hnsw", 0.9)])
def test_the_channel_and_its_pipeline_search_the_new_index(
    command: Command, own: Workspace, without_fallback: None, kind: str, least: float
) -> None:
    path = own.model("two_tower")
    before = CHANNELS.load(path)
    old = Bundle.open(path).manifest
    options = ["--index", kind, "--min_recall", least, "--k", 5]
    ended = command("build_index", "--data_dir", own.root, "--model", "two_tower", *options, "--json")
    assert ended.code == 0, ended.err
    result = ended.json
    assert (result["index"], result["items"], result["k"]) == (kind, N_MOVIES, 5)
    assert (result["sample"], result["queries"]) == ("validation queries", N_USERS)
    assert [row["kind"] for row in result["measured"]] == ["flat", kind]
    assert result["measured"][1]["recall_at_least"] >= least
    after = CHANNELS.load(path)
    assert after.index.name == kind  # type: ignore[attr-defined]
    assert after.config.index == after.index.config  # type: ignore[attr-defined]
    assert after.config.index.model_dump(exclude={"kind"}) == result["options"]
    manifest = Bundle.open(path).manifest
    for fact in ("seed", "data", "metrics", "training", "vocabulary"):
        assert manifest[fact] == old[fact]
    users = Prepared.load(own.prepared).split.valid().queries
    left, right = (channel.retrieve(users, 5).item_idx for channel in (before, after))
    shared = [np.isin(a, b).mean() for a, b in zip(left, right, strict=True)]
    assert np.mean(shared) >= least
    assert load(own.model("pipeline")).recommend(user=user_id(1), k=3).items
    assert command("recommend", "--data_dir", own.root, "--user", user_id(1)).code == 0
    assert command("evaluate_recall", "--data_dir", own.root, "--models", "two_tower").code == 0


def test_the_factors_of_mf_get_another_index(command: Command, own: Workspace, without_fallback: None) -> None:
    before = CHANNELS.load(own.model("mf"))
    options = ["--index", "ivf", "--min_recall", 0.9, "--k", 5]
    ended = command("build_index", "--data_dir", own.root, "--model", "mf", *options, "--json")
    assert ended.code == 0, ended.err
    after = CHANNELS.load(own.model("mf"))
    assert after.index.name == after.config.index.kind == "ivf"  # type: ignore[attr-defined]
    assert after.index.config == after.config.index  # type: ignore[attr-defined]
    np.testing.assert_array_equal(after.encode_items(), before.encode_items())  # type: ignore[attr-defined]
    users = Prepared.load(own.prepared).split.valid().queries
    left, right = (channel.retrieve(users, 5).item_idx for channel in (before, after))
    assert np.mean([np.isin(a, b).mean() for a, b in zip(left, right, strict=True)]) >= 0.9
    assert load(own.model("pipeline")).recommend(user=user_id(1), k=3).items


def test_auto_keeps_a_small_catalogue_exact(command: Command, own: Workspace) -> None:
    ended = command("build_index", "--data_dir", own.root, "--model", "two_tower")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1].startswith("two_tower now searches its flat index")
    assert read_manifest(own.model("two_tower"))["config"]["index"] == {"kind": "flat"}  # type: ignore[index]


def test_without_validation_events_item_vectors_are_the_queries(command: Command, own: Workspace) -> None:
    train = ("train_recall", "--data_dir", own.root, "--model", "two_tower", "--name", "all", "--protocol", "none")
    assert command(*train, *TINY).code == 0
    ended = command("build_index", "--data_dir", own.root, "--model", "two_tower", "--name", "all", "--json")
    assert ended.code == 0, ended.err
    assert (ended.json["model"], ended.json["sample"]) == ("all", "perturbed item vectors")


def test_without_the_data_item_vectors_are_the_queries(command: Command, own: Workspace) -> None:
    shutil.rmtree(own.processed)
    ended = command("build_index", "--data_dir", own.root, "--model", "two_tower", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["sample"] == "perturbed item vectors"
    assert "the data of two_tower is not available" in ended.err


def test_a_new_index_does_not_bring_a_retrained_channel_into_the_pipeline(command: Command, own: Workspace) -> None:
    """The pipeline's ranker has not seen the candidates of the new channel."""
    user = ("recommend", "--data_dir", own.root, "--user", user_id(1), "--json")
    before = command(*user).json["recommendations"]
    assert command("train_recall", "--data_dir", own.root, "--model", "two_tower", *TINY).code == 0
    assert command("build_index", "--data_dir", own.root, "--model", "two_tower").code == 0
    after = command(*user)
    assert after.json["recommendations"] == before
    assert "two_tower was trained again after the pipeline at" in after.err


WRONG = [
    ([], "--model is missing"),
    (["--model", "svd"], "channel 'svd' is not trained; run first: PYTHONPATH=. python scripts/train_recall.py"),
    (
        ["--model", "popularity"],
        "'popularity' (popularity) searches without an index; channels with one: mf, ",
    ),
    (["--model", "deepfm"], "is a ranking bundle, a recall bundle is needed"),
    (["--model", "two_tower", "--min_recall", "1"], "min_recall: Input should be less than 1"),
    (["--model", "two_tower", "--min_recall", "0"], "min_recall: Input should be greater than 0"),
    (["--model", "two_tower", "--min_recall", "nan"], "min_recall: "),
    (["--model", "two_tower", "--k", "0"], "k: Input should be greater than or equal to 1"),
    (["--model", "two_tower", "--threads", "0"], "threads: "),
    (["--model", "two_tower", "--index", "scann"], "invalid choice: 'scann'"),
    (
        ["--model", "two_tower", "--set", "index=scann"],
        "unknown index 'scann'; known: auto, flat, ivf, hnsw, pq, ann",
    ),
    (["--model", "two_tower", "--set", "nprobe=3"], "nprobe: no such option"),
    (["--model", "two_tower", "--set", "index_options.nprobe=3"], "nprobe: no such option"),
    (["--model", "two_tower", "--index", "ivf", "--set", "index_options.lists=3"], "lists: no such option"),
    (["--model", "two_tower", "--name", "a/b"], "not a usable model name"),
]


@pytest.mark.parametrize(("argv", "message"), WRONG)
def test_wrong_use(command: Command, trained: Workspace, argv: list[str], message: str) -> None:
    before = Bundle.open(trained.model("two_tower")).fingerprint
    assert message in command("build_index", "--data_dir", trained.root, *argv).sentence
    assert Bundle.open(trained.model("two_tower")).fingerprint == before


def test_before_training(command: Command, tmp_path: Path) -> None:
    sentence = command("build_index", "--data_dir", tmp_path, "--model", "two_tower").sentence
    assert sentence.endswith(f"scripts/train_recall.py --data_dir {tmp_path} --model two_tower")


def test_an_unreachable_recall_changes_nothing(
    command: Command, own: Workspace, without_fallback: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recall.index.tuning.lower_bound", lambda recall: 0.5)
    before = Bundle.open(own.model("two_tower")).fingerprint
    sentence = command("build_index", "--data_dir", own.root, "--model", "two_tower", "--index", "hnsw").sentence
    assert "the hnsw index finds at most 0.5000 of the exact top 100" in sentence
    assert Bundle.open(own.model("two_tower")).fingerprint == before
