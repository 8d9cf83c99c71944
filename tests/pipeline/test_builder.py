"""Pipelines on disk: what they rest on, a fresh process, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dataprep.prepare import Prepared, prepare
from dataprep.preprocess import preprocess
from pipeline import Pipeline, assemble, load
from pipeline.builder import check_vocabularies, load_channels, open_pipeline, parts_of, save
from pipeline.config import PipelineConfig
from pipeline.stage_configs import RerankStage
from pipeline.stages import RankerScorer
from pipeline.train_channel import train_channel
from pipeline.train_ranker import train_ranker
from reccore import ArtefactError, ConfigError, NotReadyError, QueryBatch, RunOptions, Workspace
from tests.pipeline.small import CHANNELS, PIPELINE, QUIET, RANKER, user_id, write_raw

REPOSITORY = Path(__file__).resolve().parents[2]
OTHER_SEED = RunOptions(seed=9, device="cpu", progress=False, threads=1)


def test_a_fresh_process_answers_the_same(pipeline: Pipeline, trained: Workspace) -> None:
    program = (
        "import json, sys\n"
        "from pipeline import load\n"
        "pipeline = load(sys.argv[1])\n"
        f"requests = [dict(user={user_id(7)}), dict(history=[5, 33, 4]), dict(history=[])]\n"
        "answers = [pipeline.recommend(k=6, **request).items for request in requests]\n"
        "print(json.dumps([[[i.movie_id, i.title, i.scores['final']] for i in items] for items in answers]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(trained.model("pipeline"))],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    requests = [{"user": user_id(7)}, {"history": [5, 33, 4]}, {"history": []}]
    for found, request in zip(json.loads(ended.stdout), requests, strict=True):
        here = pipeline.recommend(k=6, **request).items
        assert [row[:2] for row in found] == [[item.movie_id, item.title] for item in here]
        np.testing.assert_allclose([row[2] for row in found], [item.scores["final"] for item in here], atol=1e-5)


def test_a_chain_of_rerankers_is_stored_with_the_pipeline(pipeline: Pipeline, own: Workspace) -> None:
    steps = [
        {"method": "calibrated", "trade_off": 0.3},
        {"method": "dpp", "trade_off": 0.3, "relevance": "rank"},
        {"method": "rules", "max_per_genre": 2},
        {"method": "explore", "places": [2], "policy": {"epsilon": 1.0}},
    ]
    stages = [
        *pipeline.config.model_dump(mode="json")["stages"][:-1],
        {"kind": "rerank", "method": "chain", "steps": steps},
    ]
    chained = assemble(
        PipelineConfig.parse({"stages": stages}),
        channels={source.name: source.channel for source in pipeline.sources},
        ranker=next(stage.ranker for stage in pipeline.stages if isinstance(stage, RankerScorer)),
        items=pipeline.items,
        histories=pipeline.histories,
    )
    bundle = open_pipeline(own.model("pipeline"))
    save(chained, own.model("chained"), parts_of(bundle), data=bundle.manifest["data"])
    loaded = load(own.model("chained"))
    for user in (user_id(3), user_id(7)):
        expected = chained.recommend(user=user, k=6).items
        assert loaded.recommend(user=user, k=6).items == expected
        assert [item.movie_id for item in expected] != [i.movie_id for i in pipeline.recommend(user=user, k=6).items]


def test_training_the_ranker_again_updates_the_pipeline(own: Workspace) -> None:
    train_channel(own, "mf", CHANNELS["mf"], options=OTHER_SEED)
    old = load(own.model("pipeline")).sources[2].channel.encode_items()  # type: ignore[attr-defined]
    train_ranker(own, "deepfm", RANKER, PIPELINE, max_queries=20, options=QUIET)
    new = load(own.model("pipeline")).sources[2].channel.encode_items()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(new, load_channels(own, ("mf",))["mf"].encode_items())  # type: ignore[attr-defined]
    assert not np.array_equal(new, old)
    assert len(load(own.model("pipeline")).recommend(user=user_id(7), k=6).items) == 6


def test_models_of_different_vocabularies_are_refused_naming_both(own: Workspace) -> None:
    other = Workspace(own.root / "other")
    write_raw(other.raw / "ml-other", seed=5)
    ratings = other.raw / "ml-other" / "ratings.csv"
    ratings.write_text(ratings.read_text() + "99999,5,4.0,1000000000\r\n99999,12,4.0,1000000001\r\n")
    preprocess(other.raw / "ml-other", other.processed, options=QUIET)
    prepare(other).save(other.prepared)
    train_channel(other, "mf", CHANNELS["mf"], options=QUIET)
    shutil.rmtree(own.model("mf"))
    shutil.copytree(other.model("mf"), own.model("mf"))
    with pytest.raises(ArtefactError) as refused:
        load_channels(own, ("popularity", "mf"))
    message = str(refused.value)
    assert "channel popularity has vocabulary" in message
    assert "channel mf has" in message
    assert "60 users" in message
    assert "61 users" in message


def test_parts_of_different_vocabularies_do_not_assemble(pipeline: Pipeline, prepared: Prepared) -> None:
    class Stranger:
        name = "mmr"
        vocabulary = type(prepared.vocabulary)(prepared.vocabulary.users, prepared.vocabulary.users)

    channels = {source.name: source.channel for source in pipeline.sources}
    with pytest.raises(ArtefactError, match=r"channel popularity has vocabulary .* reranker mmr has"):
        assemble(
            pipeline.config,
            channels=channels,
            ranker=None,
            items=pipeline.items,
            histories=pipeline.histories,
            reranker=Stranger(),  # type: ignore[arg-type]
        )
    check_vocabularies({"a": prepared.vocabulary, "b": prepared.vocabulary})


def test_a_missing_pipeline_or_channel_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match=r"no pipeline at .*scripts/train_ranking.py"):
        load(tmp_path / "models" / "pipeline")
    with pytest.raises(NotReadyError, match=r"channel 'mf' is not trained; .*scripts/train_recall.py --model mf$"):
        load_channels(Workspace(tmp_path), ("mf",))
    with pytest.raises(NotReadyError, match=r"--model MODEL --name mine$"):
        load_channels(Workspace(tmp_path), ("mine",))


def test_a_bundle_of_another_kind_is_refused(trained: Workspace) -> None:
    with pytest.raises(ArtefactError, match="is a recall bundle, a pipeline bundle is needed"):
        load(trained.model("mf"))


def test_the_reranker_needs_vectors_from_a_channel_that_has_some(pipeline: Pipeline) -> None:
    channels = {source.name: source.channel for source in pipeline.sources}
    stage = RerankStage.parse({"similarity": {"channel": "popularity"}})
    with pytest.raises(ConfigError, match=r"channel 'popularity' has none.*genres"):
        stage.fit(channels, pipeline.items, pipeline.vocabulary)
    by_genres = RerankStage.parse({"similarity": {"kind": "genres"}})
    assert by_genres.fit(channels, pipeline.items, pipeline.vocabulary).name == "mmr"


def test_the_reranker_is_loaded_as_it_was_saved(pipeline: Pipeline) -> None:
    assert pipeline.reranker is not None
    items = pipeline.sources[3].channel.encode_items()  # type: ignore[attr-defined]
    np.testing.assert_allclose(pipeline.reranker.vectors, items, atol=1e-6)


def test_another_history_store_replaces_the_stored_histories(trained: Workspace, pipeline: Pipeline) -> None:
    class Live:
        """Users and the films they watched today, which no bundle holds."""

        def history(self, users: Sequence[int]) -> QueryBatch:
            rows = [{1_000_001: [3, 5], user_id(0): []}[user] for user in users]
            return QueryBatch.from_histories(rows, user_idx=pipeline.vocabulary.users.encode(np.array(users)))

    live = load(trained.model("pipeline"), histories=Live())
    movies = pipeline.vocabulary.items.decode(np.array([3, 5])).tolist()
    new = live.recommend(user=1_000_001, k=5)
    assert list(new.history) == movies
    assert new.items == pipeline.recommend(history=movies, k=5).items
    assert live.recommend(user=user_id(0), k=5).history == ()
    with pytest.raises(ConfigError, match="saved with a FrozenHistoryStore, got Live"):
        save(live, trained.root / "live", {}, data={})
