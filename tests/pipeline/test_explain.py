"""Explanations against the pipeline: each fate by hand, and every proposed change tried out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from threading import Event
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from pipeline import Pipeline, StageLimits, load
from pipeline.explain import Explanation, channel_view, explain
from pipeline.facts import Facts, SeenEvent
from pipeline.fates import FATES, Fate, Passage
from pipeline.history import FrozenHistoryStore
from pipeline.stages import Filter, Request, SeenFilter
from reccore import Candidates, DataError, Workspace
from reccore.arrays import BoolArray
from tests.pipeline.breaking import PARTS, breaking, fail
from tests.pipeline.small import N_MOVIES, N_RATINGS, N_USERS, before_ranking, changed, movie_id, user_id, with_parts

K = 5


@pytest.fixture(scope="module")
def pipeline(trained: Workspace, prepared: Prepared) -> Pipeline:
    """With histories that end before the test event: among these requests every fate occurs."""
    histories = FrozenHistoryStore(prepared.split.history(), prepared.vocabulary)
    return load(trained.model("pipeline"), histories=histories)


def answer(pipeline: Pipeline, user: int, k: int = K) -> list[int]:
    return [item.movie_id for item in pipeline.recommend(user=user, k=k).items]


def fate_of(pipeline: Pipeline, user: int, movie: int) -> Fate:
    """From the pipeline's own answers, without the code under test."""
    query = pipeline.histories.history([user])
    item = int(pipeline.vocabulary.items.encode(movie))
    before = before_ranking(pipeline, query).item_idx[0].tolist()
    passed = [stage for stage in pipeline.stages if stage.role != "select"]
    candidates = before_ranking(pipeline, query)
    for stage in passed:
        if stage.role == "score":
            candidates = stage.apply(Request(query, K, None), candidates)  # type: ignore[arg-type]
    offered = [source.channel.retrieve(query, source.k).item_idx[0].tolist() for source in pipeline.sources]
    if movie in answer(pipeline, user):
        return "recommended"
    if item in query.history_idx:
        return "excluded"
    if not any(item in row for row in offered):
        return "not_offered"
    if item not in before:
        return "cut_by_merge"
    return "reranked_out" if item in candidates.item_idx[0, :K] else "ranked_low"


@pytest.fixture(scope="module")
def examples(pipeline: Pipeline) -> Mapping[Fate, tuple[int, int]]:
    """A (user, movie) for each fate that the trained pipeline has."""
    found: dict[Fate, tuple[int, int]] = {}
    for user in map(user_id, range(N_USERS)):
        request, _ = pipeline.request(user=user, k=K)
        passage = Passage.of(pipeline, request.queries, K)
        items = np.arange(N_MOVIES)
        for item, code in enumerate(passage.fates(np.zeros_like(items), items, K).tolist()):
            movie = int(pipeline.vocabulary.items.decode(item)) if item < len(pipeline.vocabulary.items) else 0
            found.setdefault(FATES[code], (user, movie))
    return found


@pytest.mark.parametrize(
    "fate", ["excluded", "not_offered", "cut_by_merge", "ranked_low", "reranked_out", "recommended"]
)
def test_each_fate_is_that_of_the_pipeline(
    pipeline: Pipeline, examples: Mapping[Fate, tuple[int, int]], fate: Fate
) -> None:
    user, movie = examples[fate]
    found = explain(pipeline, movie, user=user, k=K)
    assert found.fate == fate == fate_of(pipeline, user, movie)
    assert found.why
    assert (found.would_help == ()) == (fate == "recommended")
    films = answer(pipeline, user)
    assert found.place == (films.index(movie) + 1 if movie in films else None)
    assert bool(found.contributions) == (fate in ("ranked_low", "reranked_out", "recommended"))


def number_in(pattern: str, sentences: tuple[str, ...]) -> float:
    return next(float(hit[1].replace(",", "")) for hit in (re.search(pattern, line) for line in sentences) if hit)


def test_more_items_of_the_nearest_channel_would_offer_it(
    pipeline: Pipeline, examples: Mapping[Fate, tuple[int, int]]
) -> None:
    user, movie = examples["not_offered"]
    found = explain(pipeline, movie, user=user, k=K)
    enough = int(number_in(r"at least ([\d,]+) items", found.would_help[:1]))
    assert explain(changed(pipeline, per_channel=enough), movie, user=user, k=K).fate != "not_offered"
    assert explain(changed(pipeline, per_channel=enough - 1), movie, user=user, k=K).fate == "not_offered"


def test_more_candidates_would_keep_it(pipeline: Pipeline, examples: Mapping[Fate, tuple[int, int]]) -> None:
    user, movie = examples["cut_by_merge"]
    found = explain(pipeline, movie, user=user, k=K)
    enough = int(number_in(r"at least ([\d,]+) candidates", found.would_help))
    assert enough == found.stages[0].place
    assert explain(changed(pipeline, candidates=enough), movie, user=user, k=K).fate != "cut_by_merge"
    assert explain(changed(pipeline, candidates=enough - 1), movie, user=user, k=K).fate == "cut_by_merge"
    merged, last = found.stages[0], before_ranking(pipeline, pipeline.histories.history([user])).score[0, -1]
    assert merged.last_score == pytest.approx(last)
    assert merged.short_by == pytest.approx(last - merged.score)
    assert [c.name for c in found.channels if c.offered] == re.findall(r"(\w+) \(rank", found.why)


def test_places_that_a_short_history_reserves_are_not_those_of_a_film_that_is_cut(pipeline: Pipeline) -> None:
    """Films within ``candidates`` places are cut too, since the first ones of every channel come before them."""
    rule = {"below": N_RATINGS, "weights": {"mf": 1.0}}
    short = changed(pipeline, short_history=rule)
    k = short.merger.k
    within = []
    for user in map(user_id, range(0, N_USERS, 15)):
        request, _ = short.request(user=user, k=K)
        passage = Passage.of_request(short, request)
        order, kept = short.merger.unlimited(request.offers), set(passage.merged.item_idx[0].tolist())
        places = [place for place in range(1, int(order.counts[0]) + 1) if order.item_idx[0, place - 1] not in kept]
        for place in (places[0], places[len(places) // 3]):
            movie = short.vocabulary.items.raw_id(int(order.item_idx[0, place - 1]))
            found = explain(short, movie, user=user, k=K)
            merged = found.stages[0]
            assert (found.fate, merged.place, merged.first) == ("cut_by_merge", place, k // (2 * len(short.sources)))
            assert merged.limit < place
            assert set(order.item_idx[0, : merged.limit].tolist()) <= kept
            assert merged.last_score == order.score[0, merged.limit - 1]
            assert f"keeps the first {merged.limit} and, since the history is short" in found.why
            assert f"the first {merged.first} of every channel" in found.why
            enough = int(number_in(r"at least ([\d,]+) candidates", found.would_help))
            assert f"instead of {k}" in found.would_help[0]
            for candidates, cut in ((enough, False), (enough - 1, True)):
                other = changed(pipeline, short_history=rule, candidates=candidates)
                assert (explain(other, movie, user=user, k=K).fate == "cut_by_merge") == cut
            within.append(place <= k)
    assert any(within)


@pytest.mark.parametrize("fate", ["ranked_low", "reranked_out"])
def test_a_longer_list_would_hold_it(pipeline: Pipeline, examples: Mapping[Fate, tuple[int, int]], fate: Fate) -> None:
    user, movie = examples[fate]
    enough = int(number_in(r"a list of at least ([\d,]+) films", explain(pipeline, movie, user=user, k=K).would_help))
    assert answer(pipeline, user, enough)[-1] == movie
    assert movie not in answer(pipeline, user, enough - 1)


def test_relevance_alone_would_keep_what_the_reranker_moved_out(
    pipeline: Pipeline, examples: Mapping[Fate, tuple[int, int]]
) -> None:
    user, movie = examples["reranked_out"]
    found = explain(pipeline, movie, user=user, k=K)
    enough = number_in(r"λ \(trade_off\) of at least ([\d.]+)", found.would_help)
    for trade_off in (enough, 1.0):
        assert movie in answer(changed(pipeline, rerank={"trade_off": trade_off}), user)
    assert movie not in answer(changed(pipeline, rerank={"trade_off": enough - 0.01}), user)
    ranker = next(view for view in found.stages if view.stage == "score")
    assert ranker.place is not None
    assert ranker.place <= K
    assert f"from place {ranker.place} to place {found.stages[-1].place}" in found.why
    assert any("is the nearest (cosine" in line for line in found.would_help)


@pytest.mark.parametrize("fate", ["ranked_low", "reranked_out"])
def test_a_film_that_rules_block_has_no_place_in_a_longer_list(
    pipeline: Pipeline, examples: Mapping[Fate, tuple[int, int]], fate: Fate
) -> None:
    user, movie = examples[fate]
    blocking = changed(pipeline, rerank={"method": "rules", "block": [movie]})
    found = explain(blocking, movie, user=user, k=K)
    assert found.fate == fate
    assert found.stages[-1].place is None
    assert "options of the reranker rules that do not exclude it" in found.would_help
    assert not any("a list of at least" in line for line in found.would_help)
    open_to_it = changed(pipeline, rerank={"method": "rules"})
    assert explain(open_to_it, movie, user=user, k=K).stages[-1].place is not None


def test_the_ranker_is_short_by_the_score_of_the_last_place(
    pipeline: Pipeline, examples: Mapping[Fate, tuple[int, int]]
) -> None:
    user, movie = examples["ranked_low"]
    found = explain(pipeline, movie, user=user, k=K)
    request, _ = pipeline.request(user=user, k=K)
    ranked = Passage.of(pipeline, request.queries, K).ranked
    assert ranked is not None
    item = int(pipeline.vocabulary.items.encode(movie))
    place = ranked.item_idx[0].tolist().index(item)
    view = next(view for view in found.stages if view.stage == "score")
    assert (view.place, view.limit) == (place + 1, K)
    assert view.short_by == pytest.approx(ranked.score[0, K - 1] - ranked.score[0, place])
    assert f"at place {place + 1} of 25, and the list has {K}" in found.why


def test_the_rank_in_a_channel_is_that_of_the_whole_catalogue(pipeline: Pipeline) -> None:
    user = user_id(7)
    request, _ = pipeline.request(user=user, k=K)
    passage = Passage.of(pipeline, request.queries, K)
    seen = set(request.queries.history_idx.tolist())
    for source in pipeline.sources:
        whole = source.channel.retrieve(request.queries, N_MOVIES).item_idx[0].tolist()
        offered = whole[: source.k]
        for item in set(range(len(pipeline.vocabulary.items))) - seen:
            view = channel_view(source, passage.request, item)
            assert view.rank == (whole.index(item) + 1 if item in whole else None)
            assert view.offered == (item in offered)
            assert (view.retrieves, view.short_by is None) == (30, item in offered or item not in whole)


def test_a_seen_film_is_ranked_as_if_it_were_not_seen(pipeline: Pipeline) -> None:
    request, _ = pipeline.request(user=user_id(3), k=K)
    movie = int(pipeline.vocabulary.items.decode(request.queries.history_idx[4]))
    found = explain(pipeline, movie, user=user_id(3), k=K)
    assert request.queries.history_rating is not None
    seen = SeenEvent(5, N_RATINGS - 1, float(request.queries.history_rating[4]))
    assert found.facts == Facts(seen=seen)
    assert f"event 5 of {N_RATINGS - 1}, rated {seen.rating:g}" in found.why
    n_items = len(pipeline.vocabulary.items)
    everything = Candidates(np.arange(n_items)[None], np.zeros((1, n_items), dtype=np.float32))
    counts = pipeline.sources[0].channel.score(request.queries, everything)[0]
    unseen = np.setdiff1d(np.arange(n_items), request.queries.history_idx)
    above = (counts[unseen] > counts[request.queries.history_idx[4]]).sum()
    rank = next(channel.rank for channel in found.channels if channel.name == "popularity")
    assert rank is not None
    assert above < rank <= above + (counts[unseen] == counts[request.queries.history_idx[4]]).sum() + 1


def test_an_excluded_film(pipeline: Pipeline) -> None:
    first = answer(pipeline, user_id(1))[0]
    found = explain(pipeline, first, user=user_id(1), k=K, exclude=[first])
    assert (found.fate, found.why, found.facts.seen) == ("excluded", "the request excludes it", None)
    assert explain(pipeline, first, user=user_id(1), k=K).fate == "recommended"


def test_a_watched_film_among_rated_ones_has_no_rating(pipeline: Pipeline) -> None:
    history = [(movie_id(1), 4.0), (movie_id(2),)]
    found = explain(pipeline, movie_id(2), history=history, k=K)
    assert found.facts.seen == SeenEvent(2, 2, None)
    assert "(event 2 of 2)" in found.why


def test_a_film_that_a_filter_drops(pipeline: Pipeline) -> None:
    first = int(pipeline.vocabulary.items.encode(answer(pipeline, user_id(1))[0]))

    class WithoutFirst(Filter):
        name = "without_first"

        def keep(self, request: Request, candidates: Candidates) -> BoolArray:
            return candidates.item_idx != first

    at = next(place for place, stage in enumerate(pipeline.stages) if isinstance(stage, SeenFilter))
    filtered = Pipeline(
        pipeline.config,
        sources=pipeline.sources,
        merger=pipeline.merger,
        stages=[*pipeline.stages[:at], WithoutFirst(), *pipeline.stages[at:]],
        items=pipeline.items,
        vocabulary=pipeline.vocabulary,
        histories=pipeline.histories,
    )
    found = explain(filtered, int(pipeline.vocabulary.items.decode(first)), user=user_id(1), k=K)
    assert (found.fate, found.why) == ("filtered", "the filter 'without_first' dropped it")
    assert found.contributions == ()


def test_a_film_beyond_every_quota(pipeline: Pipeline) -> None:
    few = changed(
        pipeline, merge={"kind": "quota", "quota": dict.fromkeys(("itemcf", "mf", "two_tower"), 1)}, fill=None
    )
    few.merger.config.quota["popularity"] = 1
    request, _ = few.request(user=user_id(2), k=K)
    offered = few.sources[2].channel.retrieve(request.queries, 30).item_idx[0]
    found = explain(few, int(few.vocabulary.items.decode(offered[20])), user=user_id(2), k=K)
    assert found.fate == "cut_by_merge"
    assert "the merge gives it no points" in found.why
    assert "mf: a quota of at least 21 instead of 1" in found.would_help


def test_without_ranker_and_reranker_the_merged_order_counts(pipeline: Pipeline) -> None:
    plain = changed(pipeline, ranker=None, rerank=None)
    user = user_id(5)
    films = answer(plain, user, 9)
    found = explain(plain, films[-1], user=user, k=K)
    assert (found.fate, found.why) == ("ranked_low", f"it stands at place 9 of 25, and the list has {K}")
    assert "a list of at least 9 films" in found.would_help
    assert found.contributions == ()
    assert explain(plain, films[0], user=user, k=K).fate == "recommended"


def test_a_film_that_no_channel_knows(pipeline: Pipeline, examples: Mapping[Fate, tuple[int, int]]) -> None:
    """Without a history only popularity has scores; a film beyond its offers has no rank elsewhere."""
    found = explain(pipeline, movie_id(N_MOVIES - 1), history=[], k=K)
    ranks = {channel.name: channel.rank for channel in found.channels}
    assert ranks["itemcf"] is None
    assert ranks["popularity"] is not None
    assert all("itemcf" not in line for line in found.would_help)


def test_contributions_add_up_to_the_ranker_s_score(
    pipeline: Pipeline, examples: Mapping[Fate, tuple[int, int]]
) -> None:
    """Two candidates of one request: the difference of their scores is the difference of their contributions."""
    user, _ = examples["recommended"]
    one, other = (explain(pipeline, movie, user=user, k=K) for movie in answer(pipeline, user)[:2])

    def score(found: Explanation) -> float:
        value = next(view.score for view in found.stages if view.stage == "score")
        assert value is not None
        return value

    def total(found: Explanation) -> float:
        return sum(part.value for part in found.contributions)

    assert total(one) - total(other) == pytest.approx(score(one) - score(other), abs=0.01)
    assert all(part.meaning for part in one.contributions)
    strength = [abs(part.value) for part in one.contributions]
    assert strength == sorted(strength, reverse=True)


@pytest.mark.parametrize("role", ["source", "score", "select"])
def test_a_request_that_went_on_without_a_component(pipeline: Pipeline, role: str) -> None:
    """The explanation is that of the list that was given, and names what is missing."""
    broken = breaking(pipeline, role, fail)
    user = user_id(3)
    films = [item.movie_id for item in broken.recommend(user=user, k=K, degrade=True).items]
    others = [
        item.movie_id for item in broken.recommend(user=user, k=12, degrade=True).items if item.movie_id not in films
    ]
    for movie in (films[2], *others[:2], *(m for m in answer(pipeline, user) if m not in films)):
        found = explain(broken, movie, user=user, k=K, degrade=True)
        assert (found.fate == "recommended") == (movie in films)
        assert found.place == (films.index(movie) + 1 if movie in films else None)
        assert found.skipped == (f"{role} {PARTS[role]}",)
        assert all(channel.name != "mf" for channel in found.channels) == (role == "source")
        assert all(view.stage != role for view in found.stages)
        assert found.contributions == () or role != "score"
    with pytest.raises(RuntimeError, match="on fire"):
        explain(broken, films[0], user=user, k=K)


def test_a_channel_that_fails_in_the_explanation_alone(pipeline: Pipeline) -> None:
    """It scores given films, which the request itself does in a hydrator."""
    broken = breaking(pipeline, "source", lambda original, *args, **kwargs: original(*args, **kwargs))
    channel = broken.source("mf").channel
    channel.score = fail  # type: ignore[method-assign]
    found = explain(broken, answer(pipeline, user_id(3))[0], user=user_id(3), k=K, degrade=True)
    assert [channel.name for channel in found.channels] == ["popularity", "itemcf", "two_tower"]
    assert found.fate == "recommended"
    assert found.skipped == ("source mf",)


def test_a_channel_that_hangs_in_the_explanation_is_left_behind(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.explain.PATIENCE", 1.0)
    released = Event()

    def hang(*_: Any, **__: Any) -> Any:
        assert released.wait(60)
        raise RuntimeError("released")

    broken = breaking(pipeline, "source", lambda original, *args, **kwargs: original(*args, **kwargs))
    broken.source("mf").channel.score = hang  # type: ignore[method-assign]
    movie = answer(pipeline, user_id(3))[0]
    found = explain(broken, movie, user=user_id(3), k=K, degrade=True, limits=StageLimits(source=0.5))
    released.set()
    assert found.skipped == ("source mf",)
    assert found.fate == "recommended"


def test_without_any_channel(pipeline: Pipeline) -> None:
    broken = pipeline
    for source in pipeline.sources:
        others = [breaking_source(s) if s.name == source.name else s for s in broken.sources]
        broken = with_parts(broken, sources=others)
    found = explain(broken, movie_id(3), history=[], k=K, degrade=True)
    assert (found.fate, found.why) == ("not_offered", "every channel was skipped")
    assert len(found.skipped) >= 4


def breaking_source(source: Any) -> Any:
    other = copy(source)
    other.channel = copy(source.channel)
    other.channel.retrieve = fail
    return other


def test_errors_of_requests(pipeline: Pipeline) -> None:
    with pytest.raises(DataError, match=r"movie 998 is not in the catalogue of this pipeline \(\d+ films\)"):
        explain(pipeline, 998, user=user_id(0))
    with pytest.raises(DataError, match="user 4 is not known here"):
        explain(pipeline, movie_id(0), user=4)
    with pytest.raises(DataError, match="give a user, a history, or both"):
        explain(pipeline, movie_id(0))
