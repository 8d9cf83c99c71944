"""The funnel and its slices, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log2
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dataprep.prepare import Prepared
from evaluation.evaluate import Evaluation
from experiments.funnel import choices, funnel_text, measure_funnel, oracle
from experiments.measuring import measure
from experiments.slices import quantile_groups, slice_rows, slices_of, slices_table
from pipeline import Pipeline
from pipeline.fates import Passage
from pipeline.stages import RankerScorer, Request, RerankSelector, SeenFilter, Stage, TopSelector
from pipeline.trace import Trace
from reccore import Candidates, Exclusions, Holdout, ItemTable, QueryBatch, TrainingData
from tests.helpers import checkerboard


def lists(*rows: Sequence[int]) -> Candidates:
    item = np.array(rows)
    return Candidates(item, np.where(item >= 0, -np.arange(item.shape[1]), -np.inf).astype(np.float32))


def stage(kind: type[Stage]) -> Stage:
    """A stage without its component, which the funnel does not call."""
    return kind.__new__(kind)


def pipeline_with(pool: int | None) -> Any:
    return SimpleNamespace(
        reranker=None if pool == 0 else SimpleNamespace(pool=pool),
        config=SimpleNamespace(merge=SimpleNamespace(k=4)),
    )


# Two targets for the first query, one for the others; the last target is not in the catalogue.
QUERIES = QueryBatch.from_histories([[], [], [9], [], []])
HOLDOUT = Holdout(QUERIES, np.array([0, 2, 3, 4, 5, 6]), np.array([7, 8, 5, 9, 6, -1]))


@pytest.fixture
def passage() -> Passage:
    request = Request(QUERIES, 2, Exclusions.of_history(QUERIES))
    request.offers = {
        "a": lists([7, 1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]),
        "b": lists([8, 7], [5, 3], [1, 2], [6, 5], [-1, -1]),
    }
    merged = lists([1, 7, 8, 2], [5, 1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4])
    ranked = lists([7, 8, 1, 2], [1, 2, 5, 3], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4])
    final = lists([7, 1], [1, 3], [1, 3], [1, 3], [1, 3])
    later = [(SeenFilter(), merged), (stage(RankerScorer), ranked), (stage(RerankSelector), final)]
    return Passage(request, merged, later, Trace(5))


def test_oracle_by_hand() -> None:
    found = np.array([True, False, True, False, False, False])
    metrics = oracle(found, HOLDOUT, 2)
    assert metrics["hit_rate@2"].tolist() == [1, 1, 0, 0, 0]
    half = 1 / (1 + 1 / log2(3))  # one of two targets, at the first place
    np.testing.assert_allclose(metrics["ndcg@2"], [half, 1, 0, 0, 0], rtol=1e-6)
    assert oracle(np.zeros(6, dtype=bool), HOLDOUT, 2)["ndcg@2"].tolist() == [0] * 5


def test_the_funnel_by_hand(passage: Passage) -> None:
    funnel = measure_funnel(pipeline_with(3), passage, HOLDOUT, 2)
    by_name = {stage.name: stage for stage in funnel.stages}
    assert {name: stage.kept for name, stage in by_name.items()} == {
        "all channels together": 4,  # 7, 8, 5 and 6
        "after recall": 3,  # 6 is cut
        "after ranking": 3,  # the reranker reads three
        "after reranking": 1,  # 7
    }
    assert [stage.oracle_hit_rate for stage in funnel.stages] == pytest.approx([0.6, 0.4, 0.4, 0.2])
    half = 1 / (1 + 1 / log2(3))
    assert [stage.oracle_ndcg for stage in funnel.stages] == pytest.approx([0.6, 0.4, 0.4, half / 5])
    # Query 0 holds 1 7 | 8 2, then 7 8 | 1 2, then 7 1; query 1 finds its target at places 1, 3 and not at all.
    second = (1 / log2(3)) / (1 + 1 / log2(3))
    assert [stage.ndcg for stage in funnel.stages][1:] == pytest.approx([(second + 1) / 5, 1 / 5, half / 5])
    assert [stage.hit_rate for stage in funnel.stages] == [None, *map(pytest.approx, (0.4, 0.2, 0.2))]
    assert by_name["all channels together"].candidates == pytest.approx((5 + 5 + 4 + 6 + 4) / 5)
    assert [(move.kept, move.lost, move.gained) for move in funnel.moves] == [(1, 1, 1), (1, 1, 0)]
    met = {fate: count for fate, count in funnel.fates.items() if count}
    assert met == {  # 7; -1; 9; 6; 5; 8
        "recommended": 1, "unknown": 1, "excluded": 1, "cut_by_merge": 1, "ranked_low": 1, "reranked_out": 1,
    }  # fmt: skip
    np.testing.assert_allclose(funnel.recall_oracle, [1, 1, 0, 0, 0])
    text = funnel_text(funnel)
    assert "| after recall " in text
    assert "3 (50.0%)" in text
    assert funnel.losses[-1] == ("recommended", 1)


def test_a_shorter_pool_leaves_the_reranker_less(passage: Passage) -> None:
    assert [choices(pipeline_with(pool), 2) for pool in (0, None, 1, 3)] == [2, 4, 2, 3]
    kept = measure_funnel(pipeline_with(1), passage, HOLDOUT, 2).stages[2].kept  # k counts, as the list has k items
    assert kept == 2


def test_without_a_reranker_the_ranker_passes_on_its_list(passage: Passage) -> None:
    later = [*passage.later[:2], (TopSelector(), passage.later[1][1].head(2))]
    funnel = measure_funnel(pipeline_with(0), replace(passage, later=later), HOLDOUT, 2)
    assert [stage.name for stage in funnel.stages] == ["all channels together", "after recall", "after ranking"]
    assert (funnel.stages[-1].kept, funnel.fates["recommended"], funnel.fates["reranked_out"]) == (2, 2, 0)
    assert len(funnel.moves) == 1


def test_fates_of_real_answers_add_up(pipeline: Pipeline, prepared: Prepared) -> None:
    """Against plain loops over what the stages pass on."""
    test = prepared.split.test()
    passage = Passage.of(pipeline, test.queries, 10)
    funnel = measure_funnel(pipeline, passage, test, 10)
    offers = passage.request.offers.values()
    fates = {"not_offered": 0, "cut_by_merge": 0, "ranked_low": 0, "reranked_out": 0, "recommended": 0}
    answer, _ = pipeline.run(test.queries, 10)
    for row, target in enumerate(test.target_idx):
        ranked = passage.before_selection.item_idx[row]
        if target in answer.item_idx[row]:
            fates["recommended"] += 1
        elif not any(target in offer.item_idx[row] for offer in offers):
            fates["not_offered"] += 1
        elif target not in ranked:
            fates["cut_by_merge"] += 1
        else:
            fates["reranked_out" if target in ranked[:10] else "ranked_low"] += 1
    assert {fate: count for fate, count in funnel.fates.items() if fate in fates} == fates
    assert sum(funnel.fates.values()) == funnel.targets == len(test)
    assert min(fates["not_offered"] + fates["cut_by_merge"], fates["ranked_low"], fates["recommended"]) > 0


def test_quantile_groups_by_hand() -> None:
    groups = quantile_groups(np.array([4, 1, 2, np.nan, 3, 8, 6, 5, 7], dtype=np.float64))
    assert [name for name, _ in groups] == ["1 to 2", "3 to 4", "5 to 6", "7 to 8"]
    assert [inside.sum() for _, inside in groups] == [2, 2, 2, 2]
    assert np.flatnonzero(groups[0][1]).tolist() == [1, 2]
    tied = quantile_groups(np.array([0, 0, 0, 0, 0, 0, -3, 7], dtype=np.float64))
    assert [(name, inside.sum()) for name, inside in tied] == [("−3 to 0", 7), ("7", 1)]
    assert [name for name, _ in quantile_groups(np.array([5.0]))] == ["5"]


def board() -> TrainingData:
    data = checkerboard()
    year = np.full(data.items.n_items, 1990)
    year[0] = 0
    return replace(data, items=replace(data.items, year=year))


def test_slices_by_hand() -> None:
    data = board()
    seconds = 86_400 * 366
    queries = QueryBatch.from_histories([[1], [1, 2], []], as_of=[25 * seconds, 30 * seconds, -1])
    slices = slices_of(Holdout.single(queries, np.array([0, 3, -1])), data)
    counts = data.interactions.item_counts()
    assert slices["events of the user"].tolist() == [1, 2, 0]
    np.testing.assert_array_equal(slices["events of the film"], [counts[0], counts[3], np.nan])
    np.testing.assert_array_equal(slices["years since release"], [np.nan, 2000 - 1990, np.nan])
    several = Holdout(queries, np.array([0, 2, 3, 4]), np.array([0, 1, 2, 3]))
    assert list(slices_of(several, data)) == ["events of the user"]
    undated = replace(data, items=ItemTable(data.items.n_items))
    assert "years since release" not in slices_of(Holdout.single(queries, np.array([0, 3, -1])), undated)


def test_rows_of_slices_by_hand() -> None:
    data = board()
    holdout = Holdout.single(QueryBatch.from_histories([[]] * 4), np.array([5, 5, 5, 5]))

    def measured(name: str, *places: int) -> Evaluation:
        """The target at these zero-based places, 2 = not in the list."""
        rows = [[9, 8] if place == 2 else [5, 8] if place == 0 else [8, 5] for place in places]
        return measure(name, lists(*rows), holdout, data, (2,), 0)

    chain, first, second = measured("chain", 0, 1, 2, 0), measured("first", 0, 0, 2, 2), measured("second", 2, 2, 2, 0)
    values = {"size": np.array([1.0, 1.0, 2.0, 2.0])}
    recall = np.array([1, 1, 0, 1], dtype=np.float32)
    low, high = slice_rows(values, [chain], [first, second], recall, chain, "ndcg@2", seed=0)
    assert [(row.group, row.queries, row.recall_oracle) for row in (low, high)] == [("1", 2, 1.0), ("2", 2, 0.5)]
    assert low.stages == {"chain": pytest.approx((1 + 1 / log2(3)) / 2)}
    assert (low.best_channel, low.channel) == ("first", 1.0)
    assert low.difference.mean == pytest.approx((1 / log2(3) - 1) / 2)
    assert (high.best_channel, high.channel, high.difference.mean) == ("second", 0.5, 0.0)
    assert "| second 0.5000 |" in slices_table([low, high], "chain", "ndcg@2")
    assert low.to_dict()["difference"]["low"] == pytest.approx(1 / log2(3) - 1)
    same = [replace(evaluation, users=np.array([0, 0, 0, 1])) for evaluation in (chain, first, second)]
    low, _ = slice_rows(values, same[:1], same[1:], recall, same[0], "ndcg@2", seed=0)
    assert low.difference.low == low.difference.high == low.difference.mean  # both queries are of one user
