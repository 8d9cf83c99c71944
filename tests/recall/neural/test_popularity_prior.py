"""The popularity of items as a coordinate of their vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.metrics import per_query_metrics
from pipeline.stage_configs import RerankStage
from recall.neural.popularity_prior import PopularityPrior, PopularityPriorConfig
from recall.two_tower import TwoTower
from reccore import Candidates, DataError, Exclusions, Holdout, Interactions, RunOptions, TrainingData
from reccore.candidates import ranks_of_targets
from tests.helpers import training_data
from tests.recall.neural.tiny import fitted

N_USERS, N_ITEMS, N_EVENTS = 300, 40, 7
STRENGTHS = (0.0, 0.02, 0.1, 0.5)
BLIND: dict[str, Any] = {"negatives__logq__kind": "none", "negatives__uniform": 0}
"""Targets of the batch as the only negatives, uncorrected: such a network learns what departs from popularity."""


@pytest.fixture(scope="module")
def fashion() -> tuple[TrainingData, Holdout]:
    """Histories that popularity alone explains, item i chosen in proportion to 1 / (i + 1), and the events after."""
    draws = np.random.default_rng(0)
    weight = 1.0 / (1.0 + np.arange(N_ITEMS))
    rows = [draws.choice(N_ITEMS, N_EVENTS, replace=False, p=weight / weight.sum()) for _ in range(N_USERS)]
    offsets, times = np.arange(N_USERS + 1) * N_EVENTS, np.arange(N_USERS * N_EVENTS)
    events = Interactions(offsets, np.concatenate(rows), N_ITEMS, timestamp=times)
    stops = np.full(N_USERS, N_EVENTS - 1)
    holdout = Holdout.single(events.queries(stops=stops), events.item_idx[N_EVENTS - 1 :: N_EVENTS])
    return training_data(events.first(stops)), holdout


def by_hand(plain: TwoTower, data: TrainingData, strength: float, holdout: Holdout) -> np.ndarray:
    """(B, N) scores in float64, those of seen items −inf."""
    counts = np.bincount(data.interactions.item_idx, minlength=N_ITEMS)
    cosines = plain.encode_queries(holdout.queries).astype(np.float64) @ plain.encode_items().T
    scores: np.ndarray = cosines + strength * np.log(counts + 0.5)
    Exclusions.of_history(holdout.queries).mask_scores(scores)
    return scores


def strength_of(channel: TwoTower) -> float:
    assert channel.network.prior is not None
    return channel.network.prior.strength.item()


def ndcg(scores: np.ndarray, holdout: Holdout) -> float:
    order = np.argsort(-scores, axis=1)[:, :10]
    lists = Candidates(order, np.take_along_axis(scores, order, axis=1).astype(np.float32))
    return float(per_query_metrics(lists, holdout, (10,))["ndcg@10"].mean())


def test_it_adds_the_logarithm_of_the_events_and_changes_nothing_else(
    fashion: tuple[TrainingData, Holdout], options: RunOptions
) -> None:
    data, holdout = fashion
    plain = fitted(data, options)
    channel = fitted(data, options, popularity_prior__default=0.3)
    expected = by_hand(plain, data, 0.3, holdout)
    found = channel.retrieve(holdout.queries, 10)
    np.testing.assert_allclose(found.score, np.take_along_axis(expected, found.item_idx, axis=1), atol=1e-5)
    np.testing.assert_allclose(found.score, -np.sort(-expected, axis=1)[:, :10], atol=1e-5)
    np.testing.assert_array_equal(channel.item_vectors, plain.item_vectors)
    # These vectors are a view without the last column, whose products some CPUs sum in another order.
    np.testing.assert_allclose(channel.similarities(3), plain.similarities(3), atol=1e-6)


def test_rerankers_compare_films_without_it(fashion: tuple[TrainingData, Holdout], options: RunOptions) -> None:
    data, _ = fashion
    channel = fitted(data, options, popularity_prior__default=0.3)
    stage = RerankStage.parse({"similarity": {"channel": "two_tower"}})
    reranker = stage.fit({"two_tower": channel}, data.items, data.vocabulary)
    np.testing.assert_allclose(reranker.vectors, channel.encode_items()[:, :-1], atol=1e-6)


def test_validation_chooses_how_much(fashion: tuple[TrainingData, Holdout], options: RunOptions) -> None:
    data, holdout = fashion
    plain = fitted(data, options, epochs=1, **BLIND)
    channel = fitted(data, options, holdout, epochs=1, popularity_prior__strengths=STRENGTHS, **BLIND)
    figures = [ndcg(by_hand(plain, data, strength, holdout), holdout) for strength in STRENGTHS]
    assert max(figures) > 1.5 * figures[0]  # here popularity is all there is to know
    assert strength_of(channel) == pytest.approx(STRENGTHS[int(np.argmax(figures))])
    assert channel.log.validation == [pytest.approx(max(figures), abs=1e-6)]
    found = per_query_metrics(channel.retrieve(holdout.queries, 10), holdout, (10,))["ndcg@10"].mean()
    assert float(found) == pytest.approx(max(figures), abs=1e-6)


def test_validation_takes_as_many_queries_at_once_as_the_catalogue_allows(
    fashion: tuple[TrainingData, Holdout], options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, holdout = fashion
    channel = fitted(data, options, holdout, epochs=1, popularity_prior__strengths=STRENGTHS, **BLIND)
    chosen = strength_of(channel)
    shapes = []

    def recorded(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        shapes.append(scores.shape)
        return ranks_of_targets(scores, targets)

    monkeypatch.setattr("recall.neural.channel.ranks_of_targets", recorded)
    monkeypatch.setattr("recall.base.SCORES_PER_CHUNK", 128 * N_ITEMS)
    assert channel._validation_ndcg(holdout) == pytest.approx(channel.log.validation[0], abs=1e-12)
    assert strength_of(channel) == chosen
    assert shapes == [(n, N_ITEMS) for n in (128, 128, 44) for _ in STRENGTHS]


def test_the_choice_is_kept_with_the_weights_it_was_made_for(
    fashion: tuple[TrainingData, Holdout], options: RunOptions, tmp_path: Path
) -> None:
    data, holdout = fashion
    channel = fitted(data, options, holdout, popularity_prior={"strengths": STRENGTHS, "default": 0.01}, **BLIND)
    assert strength_of(channel) > 0.01
    channel.save(tmp_path / "model")
    loaded = TwoTower.load(tmp_path / "model")
    for again in (loaded, loaded.refit(data, options)):
        assert strength_of(again) == strength_of(channel)
    assert loaded.refit_facts()["popularity_prior"] == strength_of(channel)
    np.testing.assert_array_equal(
        loaded.retrieve(holdout.queries, 5).item_idx, channel.retrieve(holdout.queries, 5).item_idx
    )


def test_an_update_counts_the_later_events(fashion: tuple[TrainingData, Holdout], options: RunOptions) -> None:
    data, _ = fashion
    channel = fitted(data, options, popularity_prior__default=0.3)
    before = data.interactions
    late = N_ITEMS - 1  # nearly nobody's choice until now
    lengths = before.lengths
    rows = [
        np.append(before.item_idx[start : start + n], late)
        for start, n in zip(before.user_offsets[:-1], lengths, strict=True)
    ]
    offsets = np.concatenate([[0], np.cumsum(lengths + 1)])
    events = Interactions(offsets, np.concatenate(rows), N_ITEMS, timestamp=np.arange(offsets[-1]))
    updated = channel.update(training_data(events), before, options)
    expected = 0.3 * np.log(events.item_counts() + 0.5)
    np.testing.assert_allclose(updated.encode_items()[:, -1], expected, rtol=1e-6)
    assert channel.encode_items()[late, -1] < 0.5 * expected[late]


def test_a_zero_vector_stays_zero(fashion: tuple[TrainingData, Holdout]) -> None:
    prior = PopularityPrior(fashion[0].items, PopularityPriorConfig())
    interests = np.array([[[0.6, 0.8], [0.0, 0.0]]], dtype=np.float32)
    np.testing.assert_array_equal(
        prior.of_queries(interests), np.array([[[0.6, 0.8, 1.0], [0.0, 0.0, 0.0]]], dtype=np.float32)
    )


def test_a_table_without_counts_is_refused(fashion: tuple[TrainingData, Holdout], options: RunOptions) -> None:
    bare = replace(fashion[0], items=replace(fashion[0].items, statistics={}))
    with pytest.raises(DataError, match="no statistic count"):
        fitted(bare, options, popularity_prior={})
