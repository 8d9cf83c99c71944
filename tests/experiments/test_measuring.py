"""Evaluation jobs: the funnel by hand, the reports on disk, held-out files, and models that do not compare."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loguru import logger

from dataprep.prepare import Prepared
from dataprep.protocols import LastThree
from dataprep.readers.own import EventFile
from evaluation.metrics import per_query_metrics
from experiments import measuring, tie_audit
from experiments.evaluate_pipeline import evaluate_pipeline
from experiments.evaluate_recall import SIDE_BY_SIDE, evaluate_recall
from experiments.measuring import trained
from pipeline import Pipeline, load
from pipeline.provenance import data_of
from pipeline.stages import Request
from pipeline.trace import Trace
from pipeline.train_channel import train_channel
from pipeline.train_ranker import train_ranker
from pipeline.unranked import build_unranked
from recall import CHANNELS
from recall.merge import RRFConfig
from reccore import (
    ArtefactError,
    DataError,
    Exclusions,
    NotReadyError,
    QueryBatch,
    Workspace,
)
from tests.helpers import rows_of
from tests.pipeline import small
from tests.pipeline.small import N_RATINGS, N_USERS, PIPELINE, QUIET, RANKER, movie_id, user_id

NAMES = ["itemcf", "mf", "popularity", "two_tower"]


@pytest.fixture(scope="module")
def evaluated(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy in which both reports were written."""
    space = small.copy_of(trained.root, tmp_path_factory.mktemp("evaluated"))
    evaluate_recall(space, names=NAMES)
    evaluate_pipeline(space)
    return space


def test_the_reports_are_on_disk(evaluated: Workspace) -> None:
    for stem in ("recall", "pipeline"):
        markdown = (evaluated.reports / f"{stem}.md").read_text()
        assert "ml-tiny · leave_one_out (test) · 60 users" in markdown
        for line in markdown.splitlines():
            if line.startswith("!["):
                figure = evaluated.reports / line.split("(")[-1].rstrip(")")
                assert figure.read_bytes()[:4] == b"\x89PNG"
        assert markdown.count("![") == {"recall": 4, "pipeline": 5}[stem]
    recall = json.loads((evaluated.reports / "recall.json").read_text())
    assert {e["name"] for e in recall["evaluations"]} == {*NAMES, "merged"}
    ndcg = [e["metrics"]["ndcg@10"]["mean"] for e in recall["evaluations"]]
    assert ndcg == sorted(ndcg, reverse=True)
    assert len(recall["comparisons"]) == 4
    assert {c["a"] for c in recall["comparisons"]} == {recall["evaluations"][0]["name"]}


def test_reports_state_the_order_of_ties(evaluated: Workspace) -> None:
    """The small data has no ties, so that all orders give the reported figures."""
    for stem, best in (("recall", None), ("pipeline", "after reranking")):
        report = json.loads((evaluated.reports / f"{stem}.json").read_text())
        by_name = {e["name"]: e["metrics"] for e in report["evaluations"]}
        audit = report["tie_audit"]
        assert audit["system"] == (best or report["evaluations"][0]["name"])
        assert [figures["order"] for figures in audit["orders"]] == ["hash", "id"]
        for figures in audit["orders"]:
            for metric in ("ndcg", "hit_rate"):
                assert figures[metric] == pytest.approx(by_name[audit["system"]][f"{metric}@10"]["mean"])
            assert (figures["other_targets"], figures["learnt"]) == (0.0, 0.0)
        assert (
            f"Order of ties, NDCG@10/HitRate@10 of {audit['system']}: hash "
            in (evaluated.reports / f"{stem}.md").read_text()
        )


def test_parts_of_the_queries_give_the_same_reports(evaluated: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """All users at once, and seven at a time: the same figures, but for the last bit of a mean."""
    whole = {stem: json.loads((evaluated.reports / f"{stem}.json").read_text()) for stem in ("recall", "pipeline")}
    assert whole["recall"]["evaluations"][0]["queries"] > 7
    monkeypatch.setattr(measuring, "QUERIES_AT_ONCE", 7)
    monkeypatch.setattr(tie_audit, "QUERIES_AT_ONCE", 7)
    in_parts = {
        "recall": evaluate_recall(evaluated, names=NAMES).data,
        "pipeline": evaluate_pipeline(evaluated).data,
    }
    for stem, report in in_parts.items():
        found, expected = json.loads(json.dumps(report)), whole[stem]
        for given in (found, expected):
            for record in (given.get("trace") or {"stages": []})["stages"]:
                record.pop("milliseconds")
        _assert_close(found, expected)


def _assert_close(found: Any, expected: Any) -> None:
    """Equal plain values, floats to nine digits."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            _assert_close(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-9)
    else:
        assert found == expected


def test_figures_equal_those_of_the_pipelines_answers(
    evaluated: Workspace, pipeline: Pipeline, prepared: Prepared
) -> None:
    """HitRate, NDCG and the funnel again, in plain Python over the pipeline's own answers."""
    report = json.loads((evaluated.reports / "pipeline.json").read_text())
    test = prepared.split.test()
    answer, _ = pipeline.run(test.queries, 10)
    request = Request(test.queries, 10, Exclusions.of_history(test.queries))
    merged = pipeline.run_stages(request, Trace(N_USERS), ())
    ranks = [
        row.tolist().index(target) if target in row else None
        for row, target in zip(answer.item_idx, test.target_idx, strict=True)
    ]
    last = next(e for e in report["evaluations"] if e["name"] == "after reranking")
    assert last["metrics"]["hit_rate@10"]["mean"] == pytest.approx(np.mean([r is not None for r in ranks]))
    ndcg = np.mean([0.0 if r is None else 1 / np.log2(r + 2) for r in ranks])
    assert last["metrics"]["ndcg@10"]["mean"] == pytest.approx(ndcg)
    kept = {stage["name"]: stage["kept"] for stage in report["funnel"]["stages"]}
    assert report["funnel"]["targets"] == N_USERS
    assert kept["after recall"] == sum(t in r for r, t in zip(merged.item_idx, test.target_idx, strict=True))
    assert kept["after reranking"] == sum(r is not None for r in ranks) == report["funnel"]["fates"]["recommended"]
    assert [record["name"] for record in report["trace"]["stages"]][-1] == "mmr"
    trade_off = {point["lambda"]: point for point in report["trade_off"]}
    # λ = 1 is the ranker's own order, and the pipeline's λ is the pipeline's own list.
    ranking = next(e for e in report["evaluations"] if e["name"] == "after ranking")
    assert trade_off[1.0]["ndcg"] == pytest.approx(ranking["metrics"]["ndcg@10"]["mean"])
    assert trade_off[0.7]["ndcg"] == pytest.approx(last["metrics"]["ndcg@10"]["mean"])


def test_the_best_channel_is_what_the_pipeline_is_compared_with(evaluated: Workspace) -> None:
    report = json.loads((evaluated.reports / "pipeline.json").read_text())
    channels = {e["name"]: e["metrics"]["ndcg@10"]["mean"] for e in report["evaluations"] if e["name"] in NAMES}
    assert report["best_channel"] == max(channels, key=lambda name: channels[name])
    pairs = [(c["a"], c["b"]) for c in report["comparisons"]]
    assert pairs == [
        *((f"after {stage}", report["best_channel"]) for stage in ("recall", "ranking", "reranking")),
        ("after ranking", "after recall"),
        ("after reranking", "after ranking"),
    ]


def test_test_reads_one_event_later_than_validation(trained: Workspace, tmp_path: Path) -> None:
    space = small.copy_of(trained.root, tmp_path)
    valid = evaluate_recall(space, split="valid", names=["mf"])
    assert valid.protocol.split == "leave_one_out (valid)"
    manifest = json.loads((space.model("mf") / "manifest.json").read_text())
    assert valid.evaluations[0].mean("ndcg@10") == pytest.approx(manifest["metrics"]["ndcg@10"], abs=1e-5)
    assert valid.evaluations[0].holdout_id != evaluate_recall(space, names=["mf"]).evaluations[0].holdout_id


def test_lists_without_ten(own: Workspace) -> None:
    measured = evaluate_recall(own, ks=[20, 5], names=["mf", "popularity"])
    assert measured.evaluations[0].ks == (5, 20)
    assert {c.metric for c in measured.comparisons} == {"ndcg@5"}
    assert evaluate_pipeline(own, ks=(5,)).comparisons[0].metric == "ndcg@5"
    with pytest.raises(DataError, match="from 1"):
        evaluate_recall(own, ks=[0])


def test_a_pipeline_without_reranker(own: Workspace) -> None:
    train_ranker(own, "deepfm", RANKER, {**PIPELINE, "rerank": None}, max_queries=30, options=QUIET)
    measured = evaluate_pipeline(own)
    assert {e.name for e in measured.evaluations} == {*NAMES, "after recall", "after ranking"}
    assert measured.data["trade_off"] == []


def test_a_pipeline_without_ranker(own: Workspace) -> None:
    build_unranked(own, {**PIPELINE, "rerank": {}})
    assert {e.name for e in evaluate_pipeline(own).evaluations} == {*NAMES, "after recall", "after reranking"}
    assert load(own.model("pipeline")).recommend(user=user_id(0), k=3).items


def held_out(path: Path, rows: list[tuple[int, int]]) -> Path:
    pq.write_table(pa.table({"userId": [u for u, _ in rows], "movieId": [m for _, m in rows]}), path)
    return path


@pytest.fixture
def on_everything(own: Workspace, prepared: Prepared) -> Workspace:
    """Channels fitted on a file of their own with ``--protocol none``: all events but the last of each user."""
    events = own.prepared / "train.parquet"
    mine = own.root / "mine.parquet"
    pq.write_table(pq.read_table(events), mine)
    for name in ("popularity", "mf"):
        train_channel(own, name, small.CHANNELS[name], input_file=EventFile(mine), protocol="none", options=QUIET)
    return own


def test_a_held_out_file(on_everything: Workspace, prepared: Prepared) -> None:
    own = on_everything
    fit = prepared.split.fit()
    items = prepared.vocabulary.items
    target = int(items.decode(np.setdiff1d(np.arange(len(items)), fit.history(0))[0]))
    rows = [(user_id(0), target), (user_id(0), movie_id(2)), (999, movie_id(0)), (user_id(1), 4)]
    measured = evaluate_recall(
        own, names=["popularity", "mf"], test_file=EventFile(held_out(own.root / "test.parquet", rows))
    )
    assert measured.protocol.split == "none, tested on test.parquet"
    evaluation = measured.evaluations[0]
    assert (evaluation.queries, evaluation.targets, evaluation.unknown_targets) == (3, 4, 1)
    popularity = next(e for e in measured.evaluations if e.name == "popularity")
    # Whether the unknown user's one film is among the most popular, computed from the counts.
    counts = fit.item_counts()
    first = np.lexsort((np.arange(len(counts)), -counts))[:10].tolist()
    by_user = {user: popularity.per_query["hit_rate@10"][row] for row, user in enumerate(sorted({u for u, _ in rows}))}
    assert by_user[999] == float(items.encode(movie_id(0)) in first)
    assert by_user[user_id(1)] == 0.0  # an unknown film is a miss, not a dropped row


def test_a_pipeline_on_a_held_out_file(own: Workspace, prepared: Prepared) -> None:
    """A file of the test split's own events: the same queries and targets, and so the same figures."""
    test = prepared.split.test()
    users = prepared.vocabulary.users.decode(test.queries.user_idx).tolist()
    rows = list(zip(users, prepared.vocabulary.items.decode(test.target_idx).tolist(), strict=True))
    found = evaluate_pipeline(own, test_file=EventFile(held_out(own.root / "mine.parquet", rows)), ks=(5, 20))
    expected = evaluate_pipeline(own, ks=(5, 20))
    assert (found.protocol.split, found.report.name) == ("leave_one_out, tested on mine.parquet", "pipeline_mine.md")
    for one, other in zip(found.evaluations, expected.evaluations, strict=True):
        assert (one.name, one.ks) == (other.name, (5, 20))
        for metric, values in other.per_query.items():
            np.testing.assert_array_equal(one.per_query[metric], values)
    one_film = evaluate_pipeline(own, test_file=EventFile(held_out(own.root / "mine.parquet", rows[:1])))
    assert one_film.data["funnel"]["targets"] == 1


def test_the_history_of_a_held_out_user_is_all_the_model_was_fitted_on(on_everything: Workspace) -> None:
    data = data_of(on_everything, ["popularity", "mf"])
    assert data.split.protocol == "none"
    assert data.split.history().lengths.tolist() == [N_RATINGS - 2] * N_USERS


def test_without_a_held_out_file_there_is_nothing_to_evaluate_on(on_everything: Workspace) -> None:
    with pytest.raises(DataError, match=r"protocol none leaves no test events; .*--test FILE"):
        evaluate_recall(on_everything, names=["mf"])


def test_models_of_different_data_do_not_compare(on_everything: Workspace) -> None:
    with pytest.raises(
        ArtefactError, match=r"mf was fitted on mine \(\w{8}\) under none, not on ml-tiny \(\w{8}\) under"
    ):
        evaluate_recall(on_everything, names=["itemcf", "mf"])
    with pytest.raises(ArtefactError, match=r"itemcf was fitted on ml-tiny .* not on mine"):
        build_unranked(on_everything, PIPELINE)
    assert data_of(on_everything, ["pipeline"]).split.protocol == "leave_one_out"  # of the parts that it holds


def test_a_changed_or_missing_file_is_an_error(on_everything: Workspace) -> None:
    mine = on_everything.root / "mine.parquet"
    pq.write_table(pq.read_table(mine).slice(0, 900), mine)
    with pytest.raises(
        ArtefactError, match=r"mf was fitted on mine \((\w{8})\) under none, not on mine \((?!\1)\w{8}\)"
    ):
        evaluate_recall(on_everything, names=["mf"])
    mine.unlink()
    with pytest.raises(DataError, match="no such file"):
        evaluate_recall(on_everything, names=["mf"])


def test_seen_films_may_be_included(own: Workspace, prepared: Prepared) -> None:
    seen = [(user_id(u), int(prepared.vocabulary.items.decode(prepared.split.fit().history(u)[0]))) for u in range(30)]
    file = held_out(own.root / "seen.parquet", seen)
    filtered = evaluate_recall(own, names=["itemcf"], test_file=EventFile(file))
    assert filtered.evaluations[0].mean("hit_rate@500") == 0.0
    assert "seen items filtered, 100.00% of targets among them" in filtered.protocol.line()
    let_in = evaluate_recall(own, names=["itemcf"], test_file=EventFile(file), include_seen=True)
    assert let_in.evaluations[0].mean("hit_rate@500") >= 0.8
    assert "seen items not filtered" in let_in.protocol.line()


def test_last_three_shows_seen_films_offered_and_filtered_side_by_side(own: Workspace, prepared: Prepared) -> None:
    for name in ("itemcf", "popularity"):
        train_channel(own, name, small.CHANNELS[name], protocol="last_three", options=QUIET)
    found = evaluate_recall(own, names=["itemcf", "popularity"])
    split = prepared.resplit(LastThree()).split
    test = split.test()
    assert f"{len(test)} queries of 60 users" in found.protocol.line()
    assert "Means over queries with 95% bootstrap intervals over users" in found.report.read_text()
    assert all(e.users is not None for e in found.evaluations)
    systems = {e.name: e for e in found.evaluations}
    assert set(systems) == {"itemcf", "popularity", "merged", "itemcf (last film)"}
    for system in systems.values():  # one target per row
        assert system.mean("precision@20") == pytest.approx(system.mean("recall@20") / 20)
    # The row of the last film is the channel's own answer to histories of one film, without the films seen before.
    channel = CHANNELS.load(own.model("itemcf"))
    histories = [[history[-1]] for history in rows_of(test.queries)]
    exclude = Exclusions.of_history(test.queries)
    offer = channel.retrieve(QueryBatch.from_histories(histories), 500, exclude=exclude)
    expected = per_query_metrics(offer, test, (20,))["ndcg@20"]
    np.testing.assert_array_equal(systems["itemcf (last film)"].per_query["ndcg@20"], expected)
    everything = {e["name"]: e for e in found.data["other_seen"]["evaluations"]}
    assert not found.data["other_seen"]["seen_filtered"]
    own_films = channel.retrieve(test.queries, 500, exclude=Exclusions.nothing(len(test)))
    unfiltered = per_query_metrics(own_films, test, (20,))["map@20"].mean()
    assert everything["itemcf"]["metrics"]["map@20"]["mean"] == pytest.approx(unfiltered, abs=1e-6)
    table, report = dict(found.sections)[SIDE_BY_SIDE], found.report.read_text()
    assert "Precision@20, seen offered" in table
    assert table in report
    again = evaluate_recall(own, names=["itemcf", "popularity"], include_seen=True)
    assert dict(again.sections)[SIDE_BY_SIDE] == table


def test_networks_learn_from_liked_events_under_last_three(own: Workspace, prepared: Prepared) -> None:
    """The bundle of a network does not change if disliked fit events are other films."""
    split = prepared.resplit(LastThree()).split
    liked = split.liked(split.fit())
    assert 0 < liked.n_events < split.fit().n_events
    settings = {**small.CHANNELS["two_tower"], "epochs": 1}
    train_channel(own, "two_tower", settings, name="three", protocol="last_three", options=QUIET)
    data = replace(prepared, split=split).training_data(liked)
    expected = CHANNELS["two_tower"](settings).fit(data, valid=split.valid(), options=QUIET)
    queries = split.test().queries
    stored = CHANNELS.load(own.model("three")).retrieve(queries, 10)
    np.testing.assert_array_equal(stored.item_idx, expected.retrieve(queries, 10).item_idx)


def test_names_of_trained_models(own: Workspace, tmp_path: Path) -> None:
    assert trained(own, "recall") == tuple(NAMES)
    assert trained(own, "ranking") == ("deepfm",)
    (own.models / "notes").mkdir()
    (own.models / "readme.txt").write_text("x")
    assert trained(own, "recall") == tuple(NAMES)  # neither strangers nor the hidden refits
    with pytest.raises(NotReadyError, match=r"scripts/train_recall\.py --model popularity"):
        trained(Workspace(tmp_path / "nothing"), "recall")
    with pytest.raises(NotReadyError, match=r"scripts/train_ranking\.py"):
        trained(Workspace(tmp_path / "nothing"), "ranking")


def test_a_damaged_manifest_is_an_error_and_a_folder_without_one_a_warning(own: Workspace) -> None:
    (own.models / "notes").mkdir()
    said: list[str] = []
    sink = logger.add(said.append, format="{message}")
    assert trained(own, "recall") == tuple(NAMES)
    logger.remove(sink)
    assert [line for line in said if "notes has no manifest.json, so it is no model" in line]
    (own.model("mf") / "manifest.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"mf/manifest\.json is damaged.*train mf again, delete its"):
        evaluate_recall(own)
    assert {e.name for e in evaluate_recall(own, names=["itemcf"]).evaluations} == {"itemcf"}


def test_only_named_channels_are_merged(own: Workspace) -> None:
    """A channel that an experiment left behind is measured, and changes no other row."""
    named = evaluate_recall(own, names=["mf", "popularity"], merging=RRFConfig(weights={"mf": 2.0}))
    assert '"merged": mf, popularity merged by rrf (weights mf=2)' in named.report.read_text()
    assert {e.name for e in named.evaluations} == {"mf", "popularity", "merged"}
    every = evaluate_recall(own)
    assert {e.name for e in every.evaluations} == set(NAMES)
    assert "merging" not in every.data


def test_reports_say_which_merge_is_meant(evaluated: Workspace) -> None:
    recall, whole = ((evaluated.reports / f"{stem}.md").read_text() for stem in ("recall", "pipeline"))
    channels = "popularity, itemcf, mf, two_tower"
    assert '"merged": itemcf, mf, popularity, two_tower merged by rrf (default options).' in recall
    assert "As no weights name it, popularity only follows where the others offer too few films." in recall
    assert '"after recall" in the reports of evaluate_pipeline.py' in recall
    assert f'"after recall": {channels} merged by rrf (' in whole
    assert "| merged " not in whole
    assert "| after recall " not in recall


def test_other_protocols_than_the_prepared_one(own: Workspace) -> None:
    train_channel(own, "popularity", {}, name="two", protocol="leave_last_2", options=QUIET)
    measured = evaluate_recall(own, names=["two"])
    assert measured.protocol.split == "leave_last_2 (test)"
    assert measured.evaluations[0].targets == 2 * N_USERS
    with pytest.raises(ArtefactError, match=r"two was fitted on .* under leave_last_2, not on .* under leave_one_out"):
        evaluate_recall(own)


def test_a_vocabulary_is_part_of_what_is_compared(own: Workspace, prepared: Prepared) -> None:
    other = replace(prepared, source={**prepared.source, "fingerprint": "0" * 64})
    other.save(own.prepared)
    with pytest.raises(ArtefactError, match="popularity was fitted on ml-tiny"):
        evaluate_recall(own, names=["popularity"])
