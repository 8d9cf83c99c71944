"""The trade-off curves of rerankers: figures by hand, the choice, and the evaluation on a trained pipeline."""

from __future__ import annotations

import json

import matplotlib.image
import numpy as np
import pytest

from evaluation.significance import Interval
from experiments.evaluate_rerank import evaluate_rerank, fit_families
from experiments.rerank_curve import (
    BEFORE,
    CALIBRATION,
    COVERAGE,
    FAMILIES,
    GENRES,
    NDCG,
    NOVELTY,
    VECTORS,
    CurveData,
    CurvePoint,
    choose,
    curve_table,
    measure_curves,
)
from reccore import Candidates, ConfigError, Holdout, ItemTable, TrainingData, Workspace
from rerank.mmr import MMR
from tests.experiments.test_trade_off import Backwards


def backwards_on(board: TrainingData) -> tuple[CurveData, Backwards]:
    """Twelve items in order, whose first is the target of every user."""
    queries = board.interactions.queries().select(slice(0, 6))
    item_idx = np.tile(np.arange(12), (6, 1))
    holdout = Holdout.single(queries, np.zeros(6, dtype=np.int64))
    given = CurveData(Candidates(item_idx, -item_idx.astype(np.float32)), holdout, board, None, 0)
    return given, Backwards().fit(board.items, None, board.vocabulary)


def test_points_and_their_changes_by_hand(board: TrainingData) -> None:
    given, reranker = backwards_on(board)
    before, kept, reversed_ = measure_curves(given, {"backwards": reranker}, (0.2, 0.9))
    assert [p.trade_off for p in (before, kept, reversed_)] == [1.0, 0.9, 0.2]
    assert before.family == BEFORE
    assert not before.changes
    assert [p.values[NDCG].mean for p in (before, kept, reversed_)] == [1.0, 1.0, 0.0]
    assert kept.changes[NDCG] == Interval(0.0, 0.0, 0.0)
    assert reversed_.changes[NDCG] == Interval(-1.0, -1.0, -1.0)
    n_items = board.items.n_items
    assert before.values[COVERAGE].mean == pytest.approx(10 / n_items)
    # Coverage of the ten shown films is compared with that of ten, not of all twelve candidates.
    assert kept.changes[COVERAGE].mean == 0.0
    assert NOVELTY in before.values
    table = curve_table([before, kept, reversed_])
    assert "| backwards, λ = 0.2 " in table
    assert "-100.0%" in table


def test_intervals_are_paired_and_leave_out_lists_without_a_value(board: TrainingData) -> None:
    given, reranker = backwards_on(board)
    target = np.array([0, 0, 11, 11, 0, 11])
    given = CurveData(given.candidates, Holdout.single(given.holdout.queries, target), board, given.vectors, 0)
    before, changed = measure_curves(given, {"backwards": reranker}, (0.2,))
    assert (before.values[NDCG].mean, changed.values[NDCG].mean) == (0.5, 0.5)
    assert before.values[NDCG].low < 0.5 < before.values[NDCG].high
    rows = np.repeat(np.arange(6), 3)  # three equal queries of each user say no more than one
    candidates, holdout = given.candidates.select(rows), given.holdout.select(rows)
    thrice = measure_curves(CurveData(candidates, holdout, board, None, 0), {"backwards": reranker}, (0.2,))
    for one, three in zip((before, changed), thrice, strict=True):
        for name, interval in (one.values | one.changes).items():
            assert vars((three.values | three.changes)[name]) == pytest.approx(vars(interval))
    vectors = np.zeros((board.items.n_items, 2), dtype=np.float32)
    vectors[:2] = np.eye(2)  # of the lists only the first two films have a vector
    by_vectors = CurveData(given.candidates, given.holdout, board, vectors, 0)
    before, changed = measure_curves(by_vectors, {"backwards": reranker}, (0.2,))
    assert before.values[VECTORS].mean == pytest.approx(1.0)
    assert np.isnan(changed.values[VECTORS].mean)  # the last ten films have none


def point(family: str, trade_off: float, ndcg: float, diversity: float) -> CurvePoint:
    changes = {NDCG: Interval(ndcg, ndcg, ndcg), GENRES: Interval(diversity, diversity, diversity)}
    return CurvePoint(family, trade_off, changes, changes)


def test_the_choice_is_the_largest_trade_off_of_each_curve_and_then_the_least_loss() -> None:
    points = [
        CurvePoint(BEFORE, 1.0, {}, {}),
        point("a", 0.9, 0.00, 0.05),
        point("a", 0.8, -0.03, 0.11),
        point("a", 0.7, -0.01, 0.15),  # better by chance, and further than needed
        point("b", 0.9, -0.02, 0.10),
        point("c", 0.9, 0.01, 0.02),
    ]
    assert choose(points, 0.1) is points[4]
    assert choose(points, 0.05) is points[1]
    assert choose(points, 0.5) is None


def test_curves_need_what_they_compare_by(board: TrainingData) -> None:
    n, genres = (
        board.items.n_items,
        ItemTable(
            board.items.n_items,
            genre_names=("a",),
            genre_offsets=np.arange(board.items.n_items + 1),
            genre_idx=np.zeros(board.items.n_items, dtype=np.int64),
        ),
    )
    vectors = np.ones((n, 2), dtype=np.float32)
    whole = fit_families(None, 12, genres, "mf", vectors, board.vocabulary)
    assert list(whole) == list(FAMILIES)
    assert {reranker.pool for reranker in whole.values()} == {12}
    mmr = whole["mmr, vectors"]
    assert isinstance(mmr, MMR)
    assert (mmr.vectors_of, mmr.config.sort_first) == ("mf", 10)
    assert list(fit_families(None, 12, genres, None, None, board.vocabulary)) == [
        "mmr, genres",
        "dpp, genres",
        "calibrated",
    ]
    assert list(fit_families(None, 12, ItemTable(n), "mf", vectors, board.vocabulary)) == [
        "mmr, vectors",
        "dpp, vectors",
    ]
    with pytest.raises(ConfigError, match="no curve can be measured"):
        fit_families(None, 12, ItemTable(n), None, None, board.vocabulary)
    with pytest.raises(ConfigError, match="unknown curve 'mmr'; known: 'mmr, vectors'"):
        fit_families(["mmr"], 12, genres, None, None, board.vocabulary)
    with pytest.raises(ConfigError, match="channel 'two_tower' has none"):
        fit_families(["mmr, vectors"], 12, genres, None, None, board.vocabulary)


def test_on_a_trained_pipeline(own: Workspace) -> None:
    result = evaluate_rerank(own, trade_offs=(0.9, 0.2), min_gain=0.0)
    for points in (result.valid, result.test):
        assert len(points) == 1 + 2 * len(FAMILIES)
        assert set(points[0].values) == {NDCG, GENRES, VECTORS, CALIBRATION, NOVELTY, COVERAGE}
    by_label = {p.label: p for p in result.test}
    assert by_label["dpp, genres, λ = 0.2"].changes[GENRES].mean > by_label["dpp, genres, λ = 0.9"].changes[GENRES].mean
    assert by_label["dpp, vectors, λ = 0.2"].changes[VECTORS].mean > 0
    assert by_label["calibrated, λ = 0.2"].changes[CALIBRATION].mean < 0
    assert result.chosen is not None
    assert result.at_test is by_label[result.chosen.label]
    assert result.chosen in result.valid
    text = result.report.read_text(encoding="utf-8")
    assert result.sentence in text
    assert "leave_one_out (valid)" in text
    assert "leave_one_out (test)" in text
    stored = json.loads(result.report.with_suffix(".json").read_text(encoding="utf-8"))
    assert stored["at_test"] == result.at_test.to_dict()
    pixels = matplotlib.image.imread(result.report.with_suffix(".png"))
    assert (pixels[..., :3] < 0.95).any(axis=2).mean() > 0.02


def test_pool_seed_gain_and_names_count(own: Workspace) -> None:
    def run(**options: object) -> dict[str, object]:
        wanted: dict[str, object] = {"only": ["mmr, genres"], "trade_offs": (0.5,), "min_gain": 0.0, **options}
        return evaluate_rerank(own, **wanted).to_dict()  # type: ignore[arg-type]

    base = run()
    assert [p["family"] for p in base["test"]] == [BEFORE, "mmr, genres"]  # type: ignore[attr-defined]
    assert run(pool=11)["test"] != base["test"]
    assert run(seed=1)["test"] != base["test"]
    assert run(min_gain=9.0)["chosen"] is None
    assert run() == base
