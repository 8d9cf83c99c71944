"""Query time through every job: requested, labelled, on its own leaderboard, and never given without request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataprep.prepare import Prepared
from dataprep.readers.own import EventFile
from experiments.evaluate_pipeline import evaluate_pipeline
from experiments.evaluate_recall import evaluate_recall
from pipeline import load
from pipeline.builder import load_channels
from pipeline.config import PipelineConfig
from pipeline.label_window import label_window
from pipeline.samples import make_ranking_data
from pipeline.stages import Request
from pipeline.train_channel import train_channel
from pipeline.train_ranker import train_ranker
from pipeline.window_refits import stored_refits
from recall.base import BaseRecall
from reccore import ConfigError, DataError, QueryBatch, Workspace
from scripts._settings import deep_merge
from tests.pipeline import small
from tests.pipeline.small import N_USERS, QUIET, RANKER, movie_id, user_id

READER = "reader"
CHANNELS = ("popularity", READER)
PIPELINE: dict[str, Any] = {
    "channels": list(CHANNELS),
    "per_channel": 30,
    "candidates": 25,
    "fill": "popularity",
    "rerank": {"similarity": {"channel": READER}},
}


@pytest.fixture(scope="module")
def space(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A root with a channel that reads the query's time, and a pipeline on it; tests must not write models into it."""
    space = small.copy_of(trained.root, tmp_path_factory.mktemp("query_time"))
    settings = deep_merge(small.CHANNELS["two_tower"], {"encoder": {"query_time": True}})
    train_channel(space, "two_tower", settings, name=READER, options=QUIET)
    train_ranker(space, "deepfm", RANKER, PIPELINE, options=QUIET)
    return space


def manifest(space: Workspace, name: str) -> dict[str, Any]:
    return json.loads((space.model(name) / "manifest.json").read_text())


# Channels --------------------------------------------------------------------------------------------------


def test_models_store_whether_they_read_the_query_time(space: Workspace) -> None:
    assert manifest(space, READER)["query_time"] is True
    assert manifest(space, "two_tower")["query_time"] is False
    assert manifest(space, "deepfm")["query_time"] is True


def test_validation_in_training_equals_that_of_the_report(space: Workspace) -> None:
    valid = evaluate_recall(space, names=[READER], split="valid", query_time=True)
    stored = manifest(space, READER)["metrics"]["ndcg@10"]
    assert valid.evaluations[0].mean("ndcg@10") == pytest.approx(stored, abs=1e-5)


def test_a_report_with_query_time_is_labelled_and_a_separate_file(space: Workspace) -> None:
    plain = evaluate_recall(space)
    timed = evaluate_recall(space, query_time=True)
    assert {e.name for e in plain.evaluations} == {"popularity", "itemcf", "mf", "two_tower"}
    assert {e.name for e in timed.evaluations} == {e.name for e in plain.evaluations} | {READER}
    assert (plain.report.name, timed.report.name) == ("recall.md", "recall_query_time.md")
    for measured, seen in ((plain, False), (timed, True)):
        data = json.loads(measured.report.with_suffix(".json").read_text())
        assert data["protocol"]["query_time"] is seen
        assert data["reads_query_time"] == ([READER] if seen else [])
        text = measured.report.read_text()
        assert ("QUERY TIME SEEN (separate leaderboard)" in text) is seen
        assert ("It was read by reader" in text) is seen
        assert ("query time not seen" in text) is not seen
    # Who does not read it has the same figures on either.
    by_name = {e.name: e for e in timed.evaluations}
    for evaluation in plain.evaluations:
        for metric, values in evaluation.per_query.items():
            np.testing.assert_array_equal(by_name[evaluation.name].per_query[metric], values)


def test_channels_with_and_without_query_time_do_not_mix(space: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"reader learnt with the time of the event to predict.*add --query_time"):
        evaluate_recall(space, names=[READER, "mf"])
    with pytest.raises(ConfigError, match="none of mf, popularity was"):
        evaluate_recall(space, names=["mf", "popularity"], query_time=True)


def test_the_query_time_is_that_of_the_target(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[QueryBatch] = []
    original = BaseRecall.retrieve

    def spy(channel: BaseRecall, queries: QueryBatch, *args: Any, **options: Any) -> Any:
        received.append(queries)
        return original(channel, queries, *args, **options)

    monkeypatch.setattr(BaseRecall, "retrieve", spy)
    evaluate_recall(space, names=[READER], query_time=True)
    timed, plain = received[0], len(received)  # what follows the first call audits the order of ties
    evaluate_recall(space, names=["two_tower"])
    events = Prepared.load(space.prepared).split.interactions
    last = events.user_offsets[1:] - 1
    np.testing.assert_array_equal(timed.as_of, events.timestamp[last])
    np.testing.assert_array_equal(received[plain].as_of, events.timestamp[last - 1])


# The pipeline ----------------------------------------------------------------------------------------------


def test_the_ranker_learns_from_queries_with_the_query_time(space: Workspace) -> None:
    prepared = Prepared.load(space.prepared)
    fit = prepared.split.fit()
    channels = load_channels(space, CHANNELS)
    config = PipelineConfig.parse({**PIPELINE, "ranker": "deepfm"})
    valid = prepared.split.valid(query_time=True)
    found = make_ranking_data(
        prepared, stored_refits(space, QUIET), channels, config, valid, tasks=["click"], max_queries=20, options=QUIET
    )
    queries = found.train.queries
    target = fit.user_offsets[queries.user_idx] + queries.lengths  # the event after each history
    np.testing.assert_array_equal(queries.as_of, fit.timestamp[target])
    plain = label_window(prepared, max_queries=20, options=QUIET).holdout.queries
    np.testing.assert_array_equal(plain.as_of, fit.timestamp[target - 1])


def test_a_pipeline_with_a_reader_is_measured_with_query_time_only(space: Workspace, trained: Workspace) -> None:
    with pytest.raises(ConfigError, match="add --query_time"):
        evaluate_pipeline(space)
    measured = evaluate_pipeline(space, query_time=True)
    assert measured.report.name == "pipeline_query_time.md"
    assert "QUERY TIME SEEN" in measured.report.read_text()
    assert measured.data["reads_query_time"] == [READER]
    assert measured.data["protocol"]["query_time"] is True
    with pytest.raises(ConfigError, match="--query_time is for channels trained with it"):
        evaluate_pipeline(trained, query_time=True)


def test_a_recommendation_is_for_now_by_default(space: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load(space.model("pipeline"))
    received: list[int] = []
    original = pipeline.run_request

    def spy(request: Request, **options: Any) -> Any:
        received.extend(request.queries.as_of.tolist())
        return original(request, **options)

    monkeypatch.setattr(pipeline, "run_request", spy)
    monkeypatch.setattr("pipeline.requests.time.time", lambda: 1_234_567_890.9)
    pipeline.recommend(user=user_id(0), k=3)
    pipeline.recommend(history=[movie_id(1)], k=3)
    pipeline.recommend(user=user_id(0), k=3, as_of=1_000_000_000)
    assert received == [1_234_567_890, 1_234_567_890, 1_000_000_000]


def test_without_a_reader_as_of_is_refused(trained: Workspace) -> None:
    pipeline = load(trained.model("pipeline"))
    assert not pipeline.query_time
    with pytest.raises(DataError, match="as_of 5 would change nothing"):
        pipeline.recommend(user=user_id(0), as_of=5)


# Data without times ----------------------------------------------------------------------------------------


def test_data_without_times(own: Workspace, tmp_path: Path) -> None:
    table = pq.read_table(own.prepared / "train.parquet").drop_columns(["timestamp"])
    file = tmp_path / "untimed.parquet"
    pq.write_table(table.replace_schema_metadata(None), file)
    settings = deep_merge(small.CHANNELS["two_tower"], {"encoder": {"query_time": True}})
    for protocol in ("leave_one_out", "none"):
        with pytest.raises(DataError, match="query_time needs timestamps"):
            train_channel(own, "two_tower", settings, input_file=EventFile(file), protocol=protocol, options=QUIET)
    assert len(Prepared.load(own.prepared).split.valid()) == N_USERS
