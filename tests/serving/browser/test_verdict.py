"""Sentences of explanations in Chinese: every figure of the English ones, for every fate and every turn of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline import Event, ItemFilter, Pipeline
from pipeline.explain import Explanation, explain
from pipeline.facts import Facts, SimilarFilm, TradeOff
from pipeline.fates import FATES, Passage
from pipeline.verdict import verdict
from tests.pipeline.small import CLUSTERS, N_USERS, changed, user_id
from tests.serving.browser.conftest import Open

pytestmark = pytest.mark.slow

K = 5
USER = user_id(1)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
WRITE = """async (explanation) => {
  const { sentences } = await import("/static/verdict.js");
  return sentences(explanation);
}"""


def of_every_user(pipeline: Pipeline) -> Iterator[Explanation]:
    """One explanation of each fate that requests for varied lists have."""
    found = set()
    for user in map(user_id, range(N_USERS)):
        asked: dict[str, Any] = {"user": user, "k": K, "diversity": 0.8}
        items = np.arange(pipeline.items.n_items)
        passage = Passage.of_request(pipeline, pipeline.request(**asked)[0])
        codes = passage.fates(np.zeros_like(items), items, K)
        for code in set(codes.tolist()) - found:
            movie = pipeline.vocabulary.items.raw_id(int(np.flatnonzero(codes == code)[0]))
            yield explain(pipeline, movie, **asked)
        found |= set(codes.tolist())


def of_special_requests(pipeline: Pipeline) -> Iterator[Explanation]:
    """What filters, exclusions, films to include and other configurations lead to."""
    shown = [item.movie_id for item in pipeline.recommend(user=USER, k=12).items]
    first, late = shown[0], shown[-1]
    asked: dict[str, Any] = {"user": USER, "k": K}
    unwanted = pipeline.items.genres_of(int(pipeline.vocabulary.items.encode(first)))
    wanted = tuple(genre for genre in CLUSTERS if genre not in unwanted)
    for filters in (
        ItemFilter(genres=wanted),
        ItemFilter(not_genres=tuple(unwanted)),
        ItemFilter(year_to=1900),
        ItemFilter(year_from=2100, min_ratings=1_234),
    ):
        yield explain(pipeline, first, filters=filters, **asked)
    yield explain(pipeline, first, exclude=[first], **asked)
    yield explain(pipeline, first, history=[Event(shown[2], 3.5), Event(first)], k=K)
    yield explain(pipeline, late, must_include=[late], **asked)
    last = pipeline.recommend(**asked).items[-1].movie_id
    yield explain(pipeline, last, must_include=[late], **asked)
    plain = changed(pipeline, ranker=None, rerank=None)
    yield explain(plain, plain.recommend(user=USER, k=9).items[-1].movie_id, **asked)
    blended = changed(pipeline, short_history={"below": 99, "weights": {"mf": 3, "deepfm": 1}}, rerank=None)
    films = blended.recommend(user=USER, k=9).items
    for item in (films[0], films[-1]):
        yield explain(blended, item.movie_id, **asked)
    passage = Passage.of_request(blended, blended.request(**asked)[0])
    order = blended.merger.unlimited(passage.request.offers).item_idx[0]
    cut = order[~np.isin(order, passage.merged.item_idx[0])][0]
    yield explain(blended, blended.vocabulary.items.raw_id(int(cut)), **asked)
    for movie in (first, late):
        yield explain(changed(pipeline, rerank={"method": "rules", "block": [movie]}), movie, **asked)
    few = changed(pipeline, merge={"kind": "quota", "quota": dict.fromkeys(("itemcf", "mf", "two_tower"), 1)})
    few.merger.config.quota["popularity"] = 1
    item = few.sources[2].channel.retrieve(few.request(**asked)[0].queries, 30).item_idx[0, 20]
    yield explain(few, few.vocabulary.items.raw_id(int(item)), **asked)


def rewritten(found: Explanation, **changes: Any) -> Explanation:
    """An explanation with other figures, and the sentences that they make."""
    other = replace(found, **changes)
    stages = {view.stage: view for view in other.stages}
    why, would_help = verdict(other.fate, other.k, other.place, other.channels, stages, other.facts)
    return replace(other, why=why, would_help=would_help)


def of_rare_figures(known: dict[str, Explanation]) -> Iterator[Explanation]:
    """Turns that the small pipeline does not take, and numbers of several digits."""
    missed, cut, low, moved = (known[one] for one in ("not_offered", "cut_by_merge", "ranked_low", "reranked_out"))
    yield rewritten(missed, channels=())
    silent = tuple(replace(channel, rank=None, score=None) for channel in missed.channels)
    for no_events in (False, True):
        yield rewritten(missed, channels=silent, facts=Facts(no_events=no_events))
    near = tuple(replace(channel, rank=3, score=-1.5e-7, last_score=1_234_567.8) for channel in missed.channels)
    yield rewritten(missed, channels=near)
    yield rewritten(missed, channels=tuple(replace(one, rank=12_345, retrieves=2_000) for one in near))
    yield rewritten(cut, stages=(replace(cut.stages[0], place=12_345, of=20_000, limit=1_000),))
    order = low.facts.order
    assert order is not None
    assert order.place is not None
    yield rewritten(low, facts=replace(low.facts, pool=order.place - 1))
    yield rewritten(low, facts=replace(low.facts, order=replace(order, score=None)))
    twin = SimilarFilm(7, "8½ (1963)", 0.987)
    yield rewritten(moved, facts=replace(moved.facts, nearest=twin, trade_off=TradeOff(given=0.7, needed=0.85)))


@pytest.fixture(scope="module")
def explanations(pipeline: Pipeline) -> list[Explanation]:
    plain = list(of_every_user(pipeline))
    found = [*plain, *of_special_requests(pipeline)]
    found += of_rare_figures({one.fate: one for one in plain})
    assert {one.fate for one in found} == set(FATES) - {"unknown"}
    return found


def numbers(text: str) -> list[float]:
    return sorted(float(hit.replace(",", "")) for hit in NUMBER.findall(text))


def test_chinese_has_the_figures_of_english(open_page: Open, explanations: list[Explanation]) -> None:
    page = open_page(locale="zh-CN")
    for found in explanations:
        written = page.evaluate(WRITE, json.loads(json.dumps(found.to_dict())))
        english, chinese = [found.why, *found.would_help], [written["why"], *written["helps"]]
        assert len(chinese) == len(english), (english, chinese)
        for ours, theirs in zip(english, chinese, strict=True):
            assert numbers(theirs) == numbers(ours), (ours, theirs)
            assert re.search(r"[\u4e00-\u9fff]", theirs), theirs
            assert not re.search("undefined|null|NaN", theirs), theirs


def test_english_is_that_of_the_service(open_page: Open, explanations: list[Explanation]) -> None:
    page = open_page()
    for found in explanations[:3]:
        written = page.evaluate(WRITE, json.loads(json.dumps(found.to_dict())))
        assert (written["why"], tuple(written["helps"])) == (found.why, found.would_help)
