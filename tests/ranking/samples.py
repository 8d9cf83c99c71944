"""Ranking samples with a known answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranking import RANKERS
from ranking.neural import NeuralRanker
from reccore import Candidates, ItemTable, QueryBatch, RankingSamples, TrainingData, UserTable, Vocabulary
from reccore.arrays import FloatArray, IntArray
from tests.helpers import FIRST_DAY, checkerboard

NEURAL = [name for name in RANKERS if issubclass(RANKERS[name], NeuralRanker)]
"""Rankers around a torch network."""


def options_of(model: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that a ranker has."""
    return {name: value for name, value in options.items() if name in RANKERS[model].Config.model_fields}


@dataclass(frozen=True)
class Setting:
    """Samples with the tables they were made over."""

    samples: RankingSamples
    valid: RankingSamples
    items: ItemTable
    users: UserTable
    vocabulary: Vocabulary

    def tables(self) -> dict[str, object]:
        """Arguments of ``fit`` besides the samples."""
        return {"items": self.items, "users": self.users, "vocabulary": self.vocabulary}


def candidates_of(item_idx: IntArray, seed: int = 0) -> Candidates:
    """Falling scores, and two channels that each miss some of the items."""
    rng = np.random.default_rng(seed)
    mask = item_idx >= 0
    place = np.broadcast_to(np.arange(1, item_idx.shape[1] + 1), item_idx.shape)
    features: dict[str, FloatArray] = {}
    for channel in ("itemcf", "mf"):
        offered = mask & (rng.random(item_idx.shape) < 0.7)
        features[f"recall_rank.{channel}"] = np.where(offered, place, np.nan).astype(np.float32)
        features[f"recall_score.{channel}"] = np.where(offered, rng.random(item_idx.shape), np.nan).astype(np.float32)
    return Candidates(item_idx, np.where(mask, 1.0 / place, -np.inf).astype(np.float32), features)


def labelled(queries: QueryBatch, item_idx: IntArray, chosen: IntArray, seed: int = 0) -> RankingSamples:
    """Samples whose query ``b`` chose column ``chosen[b]``; every third query did not like its choice."""
    click = np.where(item_idx >= 0, 0.0, np.nan).astype(np.float32)
    like = click.copy()
    rows = np.arange(len(chosen))
    click[rows, chosen] = 1.0
    like[rows, chosen] = rows % 3 != 2
    return RankingSamples(queries, candidates_of(item_idx, seed), {"click": click, "like": like})


def board_setting(n_users: int = 60, k: int = 12) -> Setting:
    """The checkerboard: of ``k`` random items in random order, users choose the first of their own colour."""
    data: TrainingData = checkerboard(n_users=n_users)
    queries = data.interactions.queries()

    def part(seed: int) -> RankingSamples:
        rng = np.random.default_rng(seed)
        item_idx = np.argsort(rng.random((n_users, data.items.n_items)), axis=1)[:, :k].astype(np.int64)
        own = item_idx % 2 == np.arange(n_users)[:, None] % 2
        return labelled(queries, item_idx, own.argmax(axis=1), seed)

    return Setting(part(1), part(2), data.items, data.users, data.vocabulary)


def history_batch(histories: list[list[int]], users: list[int] | None = None, rated: bool = True) -> QueryBatch:
    """Queries with ratings 3, 4, 5, 3, … and a day between events."""
    plain = QueryBatch.from_histories(histories, user_idx=users, as_of=[FIRST_DAY + 100 * 86_400] * len(histories))
    n = len(plain.history_idx)
    return QueryBatch(
        plain.history_offsets,
        plain.history_idx,
        plain.user_idx,
        plain.as_of,
        (3.0 + np.arange(n) % 3).astype(np.float32) if rated else None,
        FIRST_DAY + 86_400 * np.arange(n, dtype=np.int64),
    )
