"""A merge that fails: the answer comes from the source that counts most in it, counted and in the trace."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import pytest

from pipeline import Pipeline
from pipeline.stages import OneSource
from recall.merge.methods import QuotaConfig, RRFConfig
from reccore import Candidates
from reccore.arrays import IntArray
from tests.pipeline.breaking import fail
from tests.pipeline.small import user_id, with_parts

K = 6
USER = user_id(3)


def with_merge(pipeline: Pipeline, merge: Callable[..., Any], weights: dict[str, float] | None = None) -> Pipeline:
    merger = copy(pipeline.merger)
    merger.config = RRFConfig(weights=weights or {"mf": 1.0, "two_tower": 2.0})
    merger.merge = merge  # type: ignore[method-assign]
    return with_parts(pipeline, merger=merger)


def not_finite(offers: dict[str, Candidates], _: IntArray) -> Candidates:
    first = next(iter(offers.values()))
    return Candidates(first.item_idx, np.full_like(first.score, np.nan))


@pytest.mark.parametrize(
    ("merge", "message"), [(fail, "the disk is on fire"), (not_finite, "scores that are not finite")]
)
def test_the_source_of_the_greatest_weight_stands_in(pipeline: Pipeline, merge: Any, message: str) -> None:
    broken = with_merge(pipeline, merge)
    answer = broken.recommend(user=USER, k=K, degrade=True)
    record = next(record for record in answer.trace.stages if record.stage == "merge")
    assert message in str(record.error)
    assert answer.trace.errors == 1
    request, _ = pipeline.request(user=USER, k=K)
    offer = pipeline.source("two_tower").fetch(request)
    assert record.items_out == min(int(offer.counts[0]), pipeline.merger.k)
    assert len(answer.items) == K
    for item in answer.items:
        assert set(item.channels) == {"two_tower"}
        place = item.places["merge"]
        assert item.channels["two_tower"] == place
        assert item.movie_id == pipeline.vocabulary.items.raw_id(int(offer.item_idx[0, place - 1]))
        assert item.scores["merge"] == pytest.approx(float(offer.score[0, place - 1]))


def test_offline_it_raises(pipeline: Pipeline) -> None:
    with pytest.raises(RuntimeError, match="on fire"):
        with_merge(pipeline, fail).recommend(user=USER, k=K)


def test_films_to_include_and_filters_hold(pipeline: Pipeline) -> None:
    request, _ = pipeline.request(user=USER, k=K)
    offered = pipeline.source("two_tower").fetch(request).item_idx[0]
    known = {*offered.tolist(), *request.queries.history_idx.tolist()}
    unoffered = [item for item in range(pipeline.items.n_items) if item not in known]
    film = pipeline.vocabulary.items.raw_id(unoffered[0] if unoffered else int(offered[offered >= 0][-1]))
    barred = pipeline.vocabulary.items.raw_id(int(offered[0]))
    answer = with_merge(pipeline, fail).recommend(user=USER, k=K, degrade=True, must_include=[film], exclude=[barred])
    films = [item.movie_id for item in answer.items]
    assert film in films
    assert barred not in films
    assert len(films) == K


def test_a_source_that_offers_nothing_does_not_stand_in(pipeline: Pipeline) -> None:
    request, _ = pipeline.request(user=USER, k=K)
    offers = {source.name: source.fetch(request) for source in pipeline.sources}
    offers["two_tower"] = Candidates.empty(1)
    merger = with_merge(pipeline, fail).merger
    assert OneSource(merger, offers).source == next(name for name in offers if name not in ("popularity", "two_tower"))
    nothing = {name: offer if name == merger.fill else Candidates.empty(1) for name, offer in offers.items()}
    assert OneSource(merger, nothing).source == "popularity"
    merger.config = QuotaConfig(quota={"mf": 5})
    assert OneSource(merger, offers).source == next(name for name in offers if name != "popularity")


def test_a_user_without_history_is_answered_by_the_filling_source(pipeline: Pipeline) -> None:
    answer = with_merge(pipeline, fail, {"mf": 5.0}).recommend(history=[], k=K, degrade=True)
    assert len(answer.items) == K
