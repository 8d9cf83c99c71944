"""What the pipeline answers, what its trace says, and what happens when a part of it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from pipeline import Pipeline
from pipeline.explain import explain
from pipeline.match import MatchHydrator
from pipeline.stages import Request, SeenFilter, Stage
from recall.mf import MF
from reccore import Candidates, DataError, Exclusions, ItemTable, QueryBatch
from scripts.recommend import answer_text
from tests.pipeline.small import N_MOVIES, N_RATINGS, N_USERS, PIPELINE, before_ranking, changed, movie_id, user_id

STAGES = [
    ("source", "popularity"),
    ("source", "itemcf"),
    ("source", "mf"),
    ("source", "two_tower"),
    ("merge", "rrf"),
    ("hydrate", "popularity"),
    ("hydrate", "itemcf"),
    ("hydrate", "mf"),
    ("hydrate", "two_tower"),
    ("hydrate", "itemcf.latest"),
    ("hydrate", "mf.closeness"),
    ("hydrate", "two_tower.closeness"),
    ("filter", "seen"),
    ("score", "deepfm"),
    ("select", "mmr"),
]


class Broken:
    """Stands in for a source or a stage and fails."""

    def __init__(self, part) -> None:
        self.role, self.name, self.component = part.role, part.name, self

    def fetch(self, *args):
        raise RuntimeError("the disk is on fire")

    apply = fetch


def with_broken(pipeline: Pipeline, *names: str) -> Pipeline:
    """The same pipeline in which the named components fail."""
    return Pipeline(
        pipeline.config,
        sources=[Broken(s) if s.name in names else s for s in pipeline.sources],
        merger=pipeline.merger,
        stages=[Broken(s) if s.name in names else s for s in pipeline.stages],
        items=pipeline.items,
        vocabulary=pipeline.vocabulary,
        histories=pipeline.histories,
    )


def request_of(queries: QueryBatch) -> Request:
    return Request(queries, 5, Exclusions.nothing(len(queries)))


@pytest.fixture(scope="module")
def users(pipeline: Pipeline) -> QueryBatch:
    """Every user, then an unknown user with a history and one without."""
    known = pipeline.histories.interactions.queries()
    return QueryBatch(
        history_offsets=np.concatenate([known.history_offsets, known.history_offsets[-1] + np.array([2, 2])]),
        history_idx=np.concatenate([known.history_idx, [4, 8]]),
        user_idx=np.concatenate([known.user_idx, [-1, -1]]),
        as_of=np.concatenate([known.as_of, [-1, -1]]),
    )


def test_the_trace_names_and_counts_every_stage(pipeline: Pipeline, users: QueryBatch) -> None:
    answer, trace = pipeline.run(users, 5)
    assert [(record.stage, record.name) for record in trace.stages] == STAGES
    by_name = {(r.stage, r.name): r for r in trace.stages}
    sources = [r for r in trace.stages if r.stage == "source"]
    assert [r.items_in for r in sources] == [0, 0, 0, 0]
    # Nobody has seen more than 20 of 160 films, so these two always fill their 30 places.
    assert by_name["source", "popularity"].items_out == by_name["source", "two_tower"].items_out == 30 * len(users)
    merged = by_name["merge", "rrf"]
    assert merged.items_in == sum(r.items_out for r in sources)
    assert merged.items_out == PIPELINE["candidates"] * len(users)
    chain = trace.stages[4:]
    assert [later.items_in for later in chain[1:]] == [earlier.items_out for earlier in chain[:-1]]
    assert chain[-1].items_out == int(answer.counts.sum()) == 5 * len(users)
    assert all(r.milliseconds > 0 and r.error is None for r in trace.stages)
    assert trace.queries == len(users)
    assert trace.errors == 0
    assert trace.to_dict()["stages"][4]["items_out"] == merged.items_out


def test_unanswered_queries_are_counted_and_filled_from_popularity(pipeline: Pipeline, users: QueryBatch) -> None:
    unknown = users.select([N_USERS + 1])
    offered, trace = pipeline.run(unknown, PIPELINE["candidates"])
    unanswered = {r.name: r.unanswered for r in trace.stages if r.stage == "source"}
    assert unanswered == {"popularity": 0, "itemcf": 1, "mf": 1, "two_tower": 0}
    assert str(trace).count("1 unanswered") == 2
    assert trace.stages[-1].unanswered == 0
    # Without the two-tower, popularity alone is left, and fills the list in its own order.
    offered, trace = with_broken(pipeline, "two_tower", "deepfm", "mmr").run(unknown, 10, degrade=True)
    popular = pipeline.sources[0].channel.retrieve(unknown, 10)
    np.testing.assert_array_equal(offered.item_idx, popular.item_idx)


@pytest.mark.parametrize(
    "names", [["itemcf"], ["popularity"], ["deepfm"], ["mmr"], ["mf"], ["seen"], ["mf", "two_tower", "itemcf"]]
)
def test_serving_skips_a_failing_stage(pipeline: Pipeline, users: QueryBatch, names: list[str]) -> None:
    broken = with_broken(pipeline, *names)
    answer, trace = broken.run(users, 5, degrade=True)
    answer.validate()
    assert (answer.counts == 5).all()
    assert not Exclusions.of_history(users).contains(answer.item_idx).any()
    failed = [r for r in trace.stages if r.error is not None]
    assert {r.name for r in failed} == set(names)
    assert trace.errors == len(failed)
    assert str(trace).count("skipped: RuntimeError: the disk is on fire") == len(failed)
    for record in failed:
        left = {"source": 0, "select": 5 * len(users)}  # without its selector the list is the first candidates
        assert record.items_out == left.get(record.stage, record.items_in)


@pytest.mark.parametrize("name", ["itemcf", "two_tower", "seen", "deepfm", "mmr"])
def test_offline_a_failing_stage_raises(pipeline: Pipeline, users: QueryBatch, name: str) -> None:
    with pytest.raises(RuntimeError, match="on fire"):
        with_broken(pipeline, name).run(users, 5)


def test_all_sources_failing_leaves_an_empty_answer(pipeline: Pipeline, users: QueryBatch) -> None:
    answer, trace = with_broken(pipeline, "popularity", "itemcf", "mf", "two_tower").run(users, 5, degrade=True)
    assert answer.counts.sum() == 0
    assert trace.errors == 8  # four sources and the hydrators of the same names
    assert trace.stages[-1].unanswered == len(users)


def test_a_request_alone_equals_its_row_in_a_batch(pipeline: Pipeline, users: QueryBatch) -> None:
    batch, _ = pipeline.run(users, 7)
    for row in (0, 17, N_USERS - 1, N_USERS, N_USERS + 1):
        single, _ = pipeline.run(users.select([row]), 7)
        np.testing.assert_array_equal(single.item_idx[0], batch.item_idx[row])
        np.testing.assert_allclose(single.score[0], batch.score[row], atol=1e-5)
        for name, values in single.features.items():
            np.testing.assert_allclose(values[0], batch.features[name][row], rtol=1e-4, atol=1e-5, err_msg=name)


def test_candidates_before_ranking_are_those_that_the_ranker_scores(pipeline: Pipeline, users: QueryBatch) -> None:
    met = []

    class Watching(Stage):
        role, name = "score", "watching"

        def apply(self, request, candidates):
            met.append(candidates)
            return candidates

    stages = [Watching() if stage.role == "score" else stage for stage in pipeline.stages]
    watched = Pipeline(
        pipeline.config,
        sources=pipeline.sources,
        merger=pipeline.merger,
        stages=stages,
        items=pipeline.items,
        vocabulary=pipeline.vocabulary,
        histories=pipeline.histories,
    )
    watched.run(users, 5)
    prepared = before_ranking(pipeline, users)
    np.testing.assert_array_equal(met[0].item_idx, prepared.item_idx)
    assert {"match.mf", "match.two_tower", "merge_score"} <= set(prepared.features) == set(met[0].features)


def test_matches_are_inner_products_of_the_channel(pipeline: Pipeline, users: QueryBatch) -> None:
    candidates = before_ranking(pipeline, users)
    candidates = candidates.keep(np.arange(candidates.k)[None, :] < np.arange(len(users))[:, None] % 20)
    for source in pipeline.sources:
        if source.name not in ("mf", "two_tower"):
            continue
        found = MatchHydrator(source.name, source.channel).apply(request_of(users), candidates)
        match = found.features[f"match.{source.name}"]
        user, item = source.channel.encode_queries(users), source.channel.encode_items()
        for row in range(len(users)):
            for column in range(candidates.k):
                if candidates.item_idx[row, column] < 0:
                    assert np.isnan(match[row, column])
                else:
                    expected = float(user[row] @ item[candidates.item_idx[row, column]])
                    assert match[row, column] == pytest.approx(expected, abs=1e-5)
        # Where the channel offered the film itself, that is the score it offered it with.
        offered = np.isfinite(candidates.features[f"recall_score.{source.name}"])
        assert offered.any()
        own_score = candidates.features[f"recall_score.{source.name}"][offered]
        np.testing.assert_allclose(match[offered], own_score, atol=1e-4)
    assert isinstance(pipeline.sources[2].channel, MF)


def test_a_request_is_encoded_once_by_each_channel(
    pipeline: Pipeline, users: QueryBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    for source in pipeline.sources:
        original = source.channel._prepare

        def counting(queries: QueryBatch, name: str = source.name, original: Callable[..., Any] = original) -> Any:
            encoded.append(name)
            return original(queries)

        monkeypatch.setattr(source.channel, "_prepare", counting)
    answer, _ = pipeline.run(users, 5)
    assert {"match.mf", "match.two_tower"} <= set(answer.features)  # every channel is needed twice
    assert encoded == ["popularity", "itemcf", "mf", "two_tower"]


def test_matches_over_more_queries_than_a_chunk(pipeline: Pipeline) -> None:
    queries = QueryBatch.from_histories([[row % N_MOVIES] for row in range(300)])
    candidates = Candidates(np.tile(np.array([[3, 5]]), (300, 1)), np.zeros((300, 2), dtype=np.float32))
    hydrate = MatchHydrator("mf", pipeline.sources[2].channel)
    together = hydrate.apply(request_of(queries), candidates).features["match.mf"]
    last = hydrate.apply(request_of(queries.select([299])), candidates.select([299]))
    np.testing.assert_allclose(together[299], last.features["match.mf"][0], rtol=1e-5)


def test_the_filter_drops_excluded_items_and_closes_the_gaps() -> None:
    candidates = Candidates(
        np.array([[4, 2, 9, 1], [4, 2, -1, -1], [7, -1, -1, -1]]),
        np.array([[4, 3, 2, 1], [2, 1, -np.inf, -np.inf], [1, -np.inf, -np.inf, -np.inf]], dtype=np.float32),
        {"x": np.array([[4, 3, 2, 1], [2, 1, np.nan, np.nan], [1, np.nan, np.nan, np.nan]], dtype=np.float32)},
    )
    exclude = Exclusions(np.array([0, 2, 2, 3]), np.array([9, 4, 7]))
    queries = QueryBatch.from_histories([[], [], []])
    kept = SeenFilter().apply(Request(queries, 2, exclude), candidates)
    assert kept.item_idx.tolist() == [[2, 1, -1, -1], [4, 2, -1, -1], [-1, -1, -1, -1]]
    assert kept.features["x"][0, :2].tolist() == [3, 1]
    kept.validate()


def test_a_known_user(pipeline: Pipeline, prepared: Prepared) -> None:
    answer = pipeline.recommend(user=user_id(7), k=6)
    row = int(prepared.vocabulary.users.encode(user_id(7)))
    seen = prepared.vocabulary.items.decode(prepared.split.interactions.history(row))
    assert list(answer.history) == seen.tolist()  # the held-out events too
    assert len(answer.history) == N_RATINGS
    found = [item.movie_id for item in answer.items]
    assert len(set(found)) == 6
    assert not set(found) & set(answer.history)
    expected, _ = pipeline.run(pipeline.histories.interactions.queries(np.array([row])), 6)
    assert found == prepared.vocabulary.items.decode(expected.item_idx[0]).tolist()
    first = answer.items[0]
    movie = (first.movie_id - 5) // 7
    assert first.title == f"The Film {movie} ({1980 + movie % 30})" or first.title.startswith(f"Film {movie}")
    assert "Short" in first.genres
    assert set(first.channels) <= {"popularity", "itemcf", "mf", "two_tower"}
    assert min(first.channels.values()) >= 1
    assert {"merge", "rank", "final"} <= set(first.scores)
    assert set(first.channels) == {name.removeprefix("recall.") for name in first.scores if name.startswith("recall.")}
    assert first.to_dict()["movie_id"] == first.movie_id


def test_a_film_without_a_title_is_shown_by_its_movie_id(pipeline: Pipeline) -> None:
    bare = Pipeline(
        pipeline.config,
        sources=pipeline.sources,
        merger=pipeline.merger,
        stages=pipeline.stages,
        items=ItemTable(n_items=pipeline.items.n_items),
        vocabulary=pipeline.vocabulary,
        histories=pipeline.histories,
    )
    answer = bare.recommend(history=[movie_id(3), movie_id(8)], k=3)
    assert [item.title for item in answer.items] == [f"movie {item.movie_id}" for item in answer.items]
    text = answer_text(bare, answer)
    assert f"\n  movie {movie_id(8)}\n  movie {movie_id(3)}\n" in text
    assert text.count("movie ") == 5
    assert "item " not in text
    assert not text.rstrip().endswith("·")


def test_tastes_are_recovered(pipeline: Pipeline) -> None:
    right = 0
    for user in range(0, N_USERS, 5):
        items = pipeline.recommend(user=user_id(user), k=5).items
        right += sum((item.movie_id - 5) // 7 % 4 == user % 4 for item in items)
    assert right / N_USERS > 0.45  # five films for every fifth user; by chance a quarter


def test_a_history_alone(pipeline: Pipeline) -> None:
    history = [movie_id(0), 4, movie_id(4), 999_999]
    answer = pipeline.recommend(history=history, k=4)
    assert answer.history == (movie_id(0), movie_id(4))
    assert answer.unknown == (4, 999_999)
    assert len(answer.items) == 4
    assert not {item.movie_id for item in answer.items} & set(history)
    # A user nobody knows changes nothing; the history is what counts.
    unknown = pipeline.recommend(user=-5, history=history, k=4)
    assert unknown.items == answer.items


def test_a_given_history_replaces_the_stored_one(pipeline: Pipeline) -> None:
    answer = pipeline.recommend(user=user_id(0), history=[movie_id(1)], k=3)
    assert answer.history == (movie_id(1),)
    empty = pipeline.recommend(user=user_id(0), history=[], k=3)
    assert empty.history == ()
    assert len(empty.items) == 3


def test_an_empty_history_is_answered(pipeline: Pipeline) -> None:
    for history in ([], [4], np.array([], dtype=np.int64)):
        answer = pipeline.recommend(history=history, k=5)
        assert len(answer.items) == 5
        assert answer.history == ()


def test_excluded_films_are_not_offered_and_others_move_up(pipeline: Pipeline) -> None:
    plain = [item.movie_id for item in pipeline.recommend(user=user_id(3), k=5).items]
    without = [item.movie_id for item in pipeline.recommend(user=user_id(3), k=5, exclude=[plain[0], 4]).items]
    assert plain[0] not in without
    assert len(without) == 5


def test_k_beyond_the_candidates_gives_what_there_is(pipeline: Pipeline) -> None:
    answer = pipeline.recommend(user=user_id(3), k=5_000)
    assert len(answer.items) == PIPELINE["candidates"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "give a user, a history, or both"),
        ({"user": 4}, "user 4 is not known"),
        ({"user": user_id(0), "k": 0}, "k must be at least 1, got 0"),
        ({"history": [10**30]}, "history must hold whole numbers"),
        ({"history": [1.5]}, "history must hold whole numbers"),
        ({"history": ["x"]}, "history must hold whole numbers"),
        ({"user": "x"}, "user must hold whole numbers"),
        ({"user": user_id(0), "exclude": [None]}, "exclude must hold whole numbers"),
    ],
)
def test_invalid_requests(pipeline: Pipeline, request_: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pipeline.recommend(**request_)


def test_a_failing_ranker_leaves_the_merged_order(pipeline: Pipeline, users: QueryBatch) -> None:
    answer, _ = with_broken(pipeline, "deepfm", "mmr").run(users, 5, degrade=True)
    merged = before_ranking(pipeline, users)
    np.testing.assert_array_equal(answer.item_idx, merged.head(5).item_idx)


def test_exclusions_given_to_a_batch_replace_the_history(pipeline: Pipeline, users: QueryBatch) -> None:
    again, _ = pipeline.run(users, PIPELINE["candidates"], exclude=Exclusions.nothing(len(users)))
    assert Exclusions.of_history(users).contains(again.item_idx).any()


def test_an_empty_batch(pipeline: Pipeline) -> None:
    answer, trace = pipeline.run(QueryBatch.from_histories([]), 5)
    assert len(answer) == 0
    assert trace.errors == 0


def test_unknown_items_in_a_history_are_ignored(pipeline: Pipeline) -> None:
    known = QueryBatch.from_histories([[3, 7, 11]])
    strange = replace(known, history_idx=np.array([-1, 3, 7, 11]), history_offsets=np.array([0, 4]))
    np.testing.assert_array_equal(pipeline.run(known, 5)[0].item_idx, pipeline.run(strange, 5)[0].item_idx)


def test_places_beyond_the_reranker_s_pool_have_no_final_score(pipeline: Pipeline) -> None:
    """There the reranker continues the order before it, with stand-ins for a score."""
    short = changed(pipeline, rerank={"pool": 4})
    answer = short.recommend(user=user_id(3), k=7)
    assert ["final" in item.scores for item in answer.items] == [True] * 4 + [False] * 3
    text = answer_text(short, answer)
    assert "-2.000" not in text
    assert "after place 4 the reranker leaves the order as it was" in text
    assert "after place" not in answer_text(short, short.recommend(user=user_id(3), k=4))
    seventh = explain(short, answer.items[6].movie_id, user=user_id(3), k=5).stages[-1]
    assert (seventh.stage, seventh.place, seventh.score, seventh.last_score) == ("select", 7, None, None)
    second = explain(short, answer.items[1].movie_id, user=user_id(3), k=3).stages[-1]
    assert second.score == pytest.approx(answer.items[1].scores["final"])


def test_the_scores_are_explained(pipeline: Pipeline) -> None:
    meanings = pipeline.score_meanings()
    assert meanings["merge"] == "the sum of weight / (60 + rank) over the channels that found the film"
    assert meanings["rank"] == "the score of the ranker deepfm, the higher the likelier"
    assert "0.7 × relevance − 0.3 × similarity to the nearest film above" in meanings["final"]
    text = answer_text(pipeline, pipeline.recommend(user=user_id(3), k=3))
    assert all(f"  {name:<5} {meaning}" in text for name, meaning in meanings.items())
    rule = changed(pipeline, short_history={"below": 4, "weights": {"mf": 1, "deepfm": 3}}).score_meanings()
    assert rule["rank"].endswith(
        "the likelier; for fewer than 4 films of history the mean of 75% deepfm, 25% mf, each in units of its deviation"
    )


def test_the_scores_of_a_pipeline_without_a_ranker(pipeline: Pipeline) -> None:
    bare = changed(pipeline, ranker=None, rerank=None, merge={"kind": "quota"})
    assert bare.score_meanings() == {"merge": "1 / the best rank in a channel", "final": "the merge score"}
    reranked = changed(pipeline, ranker=None, merge={"kind": "scores"})
    assert "normalised scores" in reranked.score_meanings()["merge"]
    for plain in (bare, reranked):
        assert {"merge", "final"} <= set(plain.recommend(user=user_id(3), k=1).items[0].scores)
        assert "rank" not in plain.recommend(user=user_id(3), k=1).items[0].scores
