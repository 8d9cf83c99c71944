"""The trade-off curve of any reranker that has a trade-off."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.trade_off import TRADE_OFFS, TradeOffCurve
from reccore import (
    Bundle,
    Candidates,
    ComponentConfig,
    ConfigError,
    Holdout,
    ItemTable,
    QueryBatch,
    TrainingData,
    Vocabulary,
)
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter
from rerank.base import BaseReranker


class ShuffleConfig(ComponentConfig):
    trade_off: float = 0.3


class Backwards(BaseReranker):
    """Reverses the list where diversity counts more than relevance; compares items by one-hot vectors."""

    name = "backwards"
    Config = ShuffleConfig

    @property
    def vectors(self) -> FloatArray:
        return np.eye(len(self.vocabulary.items), dtype=np.float32)

    def _fit(self, items: ItemTable, vectors: FloatArray | None, vocabulary: Vocabulary) -> None: ...

    def _rerank(self, queries: QueryBatch, candidates: Candidates, k: int) -> Candidates:
        sign = 1 if self.config.trade_off >= 0.5 else -1
        return candidates.reordered(sign * candidates.score).head(k)

    def _write(self, bundle: BundleWriter) -> None: ...

    def _read(self, bundle: Bundle) -> None: ...


class Plain(Backwards):
    """Without a trade-off."""

    name = "plain"
    Config = ComponentConfig


def test_any_reranker_with_a_trade_off_has_a_curve(board: TrainingData) -> None:
    n_items = len(board.vocabulary.items)
    queries = board.interactions.queries().select(slice(0, 6))
    item_idx = np.tile(np.arange(n_items), (6, 1))
    candidates = Candidates(item_idx, -item_idx.astype(np.float32))
    holdout = Holdout.single(queries, np.zeros(6, dtype=np.int64))
    reranker = Backwards().fit(board.items, None, board.vocabulary)
    running = TradeOffCurve(reranker, board)
    for rows in (np.arange(4), np.arange(4, 6)):  # in parts
        running.add(candidates.select(rows), holdout.select(rows))
    curve = running.points()
    assert [point["lambda"] for point in curve] == [*TRADE_OFFS, 0.3]
    assert [point["ndcg"] for point in curve] == [1.0] * 6 + [0.0, 0.0]  # the target is the first candidate
    assert curve[0]["vector_diversity"] == pytest.approx(1.0)  # one-hot vectors are orthogonal


def test_without_a_trade_off_there_is_no_curve(board: TrainingData) -> None:
    plain = Plain().fit(board.items, None, board.vocabulary)
    queries = board.interactions.queries().select([0])
    holdout = Holdout.single(queries, np.zeros(1, dtype=np.int64))
    for reranker in (None, plain):
        running = TradeOffCurve(reranker, board)
        running.add(Candidates.empty(1, 3), holdout)
        assert running.points() == []
    with pytest.raises(ConfigError, match="reranker 'plain' has no trade_off"):
        plain.with_trade_off(0.5)
