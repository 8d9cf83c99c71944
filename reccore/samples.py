"""Data for training and evaluation: the fit split, held-out targets, and labelled candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from reccore.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    are_among,
    check_offsets,
    offsets_from_lengths,
    ragged_positions,
    row_of_each,
)
from reccore.candidates import Candidates
from reccore.errors import ConfigError
from reccore.interactions import Interactions
from reccore.queries import QueryBatch
from reccore.tables import ItemTable, UserTable
from reccore.vocabulary import Vocabulary

if TYPE_CHECKING:
    from scipy import sparse

CLICK = "click"
"""The task whose positives are all chosen items, liked or not."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The fit split: events, and the facts about items and users that fitting may use.

    Attributes:
        interactions: events of the fit split.
        items: facts of the catalogue.
        users: facts of the users.
        vocabulary: raw ids of the indices.
        item_graph: (N, N) symmetric weights of a given item–item graph, ≥ 0; None = no graph is given. It must not
            depend on events that are to be predicted.
    """

    interactions: Interactions
    items: ItemTable
    users: UserTable
    vocabulary: Vocabulary
    item_graph: sparse.csr_matrix | None = None

    def __post_init__(self) -> None:
        n_users, n_items = len(self.vocabulary.users), len(self.vocabulary.items)
        if self.interactions.n_users != n_users or self.interactions.n_items != n_items:
            raise ValueError("interactions and vocabulary differ in size")
        if self.items.n_items != n_items or self.users.n_users != n_users:
            raise ValueError("item or user table and vocabulary differ in size")
        if self.item_graph is not None and self.item_graph.shape != (n_items, n_items):
            raise ValueError(f"item_graph must have shape {(n_items, n_items)}, got {self.item_graph.shape}")


@dataclass(frozen=True, eq=False)
class Holdout:
    """Queries and the items their users chose next.

    Attributes:
        queries: B queries; each history ends before its targets.
        target_offsets: (B+1,) int64 CSR offsets.
        target_idx: (L,) int64; -1 for an item outside the vocabulary, which no channel can find and
            which counts as a miss.
        tied: (B,) True where the order of a target and its neighbour was decided by a tie rule, or None.
        target_rating: (L,) float32 rating of each target, NaN where it is unknown; None = no ratings.
    """

    queries: QueryBatch
    target_offsets: IntArray
    target_idx: IntArray
    tied: BoolArray | None = None
    target_rating: FloatArray | None = None

    def __post_init__(self) -> None:
        check_offsets("target_offsets", self.target_offsets, len(self.target_idx))
        if len(self.target_offsets) != len(self.queries) + 1:
            raise ValueError("one row of targets per query is needed")
        if self.target_rating is not None and len(self.target_rating) != len(self.target_idx):
            raise ValueError(f"{len(self.target_idx)} targets but {len(self.target_rating)} ratings of targets")

    @classmethod
    def single(
        cls,
        queries: QueryBatch,
        target_idx: IntArray,
        tied: BoolArray | None = None,
        target_rating: FloatArray | None = None,
    ) -> Holdout:
        """One target per query."""
        return cls(queries, np.arange(len(target_idx) + 1, dtype=np.int64), target_idx, tied, target_rating)

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def target_counts(self) -> IntArray:
        """(B,) targets of each query."""
        return np.diff(self.target_offsets)

    def seen_targets(self) -> BoolArray:
        """(L,) whether each target lies in its query's history, so that nothing finds it where seen items are filtered.

        False for an unknown item. Sorts the events of all histories.
        """
        queries, span = self.queries, int(self.target_idx.max(initial=-1)) + 1
        known = (queries.history_idx >= 0) & (queries.history_idx < span)
        seen = row_of_each(queries.history_offsets)[known] * span + queries.history_idx[known]
        wanted = row_of_each(self.target_offsets) * span + self.target_idx
        seen.sort()
        return are_among(wanted, seen) & (self.target_idx >= 0)

    def seen_share(self) -> float:
        """Share of the targets that ``seen_targets`` finds; 0 without targets."""
        return float(self.seen_targets().mean()) if len(self.target_idx) else 0.0

    def select(self, rows: IntArray) -> Holdout:
        """The given queries with their targets."""
        counts = self.target_counts[rows]
        at = ragged_positions(self.target_offsets[:-1][rows], counts)
        return Holdout(
            self.queries.select(rows),
            offsets_from_lengths(counts),
            self.target_idx[at],
            None if self.tied is None else self.tied[rows],
            None if self.target_rating is None else self.target_rating[at],
        )


@dataclass(frozen=True, eq=False)
class RankingSamples:
    """Queries, their candidates from recall, and the label of each candidate.

    Attributes:
        queries: B queries with the history before the label.
        candidates: (B, K) with recall features.
        labels: task name → (B, K) float32; NaN = no label (an event of the label window after the target, or
            padding), which losses must skip. Features that learn from histories need those of ``click``, whichever
            task a ranker learns.
        weight: (B,) float32 weight of each query.
        missed: (B,) number of positives that recall did not offer and that are not inserted; None = not counted.
        window: (B,) label window of each query, 0 = the latest; None = all of that one.
        earlier_items: the catalogue as known before window 1, 2, …; before window 0 it is what a ranker is fitted with.
    """

    queries: QueryBatch
    candidates: Candidates
    labels: Mapping[str, FloatArray]
    weight: FloatArray | None = None
    missed: IntArray | None = None
    window: IntArray | None = None
    earlier_items: tuple[ItemTable, ...] = ()
    tasks: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.candidates):
            raise ValueError(f"{len(self.queries)} queries but {len(self.candidates)} rows of candidates")
        for task, values in self.labels.items():
            if values.shape != self.candidates.item_idx.shape:
                raise ValueError(f"labels of {task} must have shape {self.candidates.item_idx.shape}")
        if self.window is not None and np.any(self.window > len(self.earlier_items)):
            raise ValueError(f"label window {self.window.max()} needs a table of items in earlier_items")
        object.__setattr__(self, "tasks", tuple(self.labels))

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def chosen(self) -> BoolArray:
        """(B, K) True on the items that the user chose, liked or not.

        Raises:
            ConfigError: no labels of ``click``.
        """
        if CLICK not in self.labels:
            raise ConfigError(
                f"the samples have labels of {', '.join(self.tasks) or 'no task'}; those of {CLICK!r} must be there "
                "too: they say which events of the histories are answers, which features must not learn from"
            )
        return np.equal(self.labels[CLICK], 1.0)

    def labels_of(self, task: str) -> FloatArray:
        """(B, K) float32 labels of a task, NaN on padding whatever is stored there."""
        return np.where(self.candidates.mask, self.labels[task], np.float32(np.nan)).astype(np.float32)

    def select(self, rows: IntArray | slice) -> RankingSamples:
        """The given queries; those of a slice share memory."""
        return RankingSamples(
            self.queries.select(rows),
            self.candidates.select(rows),
            {task: values[rows] for task, values in self.labels.items()},
            None if self.weight is None else self.weight[rows],
            None if self.missed is None else self.missed[rows],
            None if self.window is None else self.window[rows],
            self.earlier_items,
        )
