"""Where an item ends in a request: in the list, or at the stage that dropped it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from pipeline.inference import Pipeline
from pipeline.stages import Request, Scorer, Stage
from pipeline.trace import Trace
from reccore import Candidates, Exclusions, QueryBatch
from reccore.arrays import IntArray

Fate: TypeAlias = Literal[
    "unknown",
    "excluded",
    "not_offered",
    "cut_by_merge",
    "filtered",
    "ranked_low",
    "reranked_out",
    "displaced",
    "recommended",
]
FATES: tuple[Fate, ...] = get_args(Fate)
"""In the order in which an item meets them:

================ ======================================================================================
``unknown``      not in the catalogue
``excluded``     in the history, or among the items that the request excludes
``not_offered``  no channel has it among the candidates that it retrieves
``cut_by_merge`` a channel offers it, and the merge does not keep it
``filtered``     the request's filter rejects it, or a filter after the merge drops it
``ranked_low``   a candidate, not among the first k in the order that the selector receives
``reranked_out`` among the first k in that order, and the reranker puts other items in its place
``displaced``    chosen, and its place goes to an item that the request must include
``recommended``  among the k items of the final list
================ ======================================================================================
"""
FATE_LABELS: Mapping[Fate, str] = {
    "unknown": "not in the catalogue",
    "excluded": "seen or excluded",
    "not_offered": "missed by every channel",
    "cut_by_merge": "cut by the merge",
    "filtered": "dropped by a filter",
    "ranked_low": "ranked too low",
    "reranked_out": "moved out by the reranker",
    "displaced": "displaced by a film that must be included",
    "recommended": "recommended",
}
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Passage:
    """What every stage of a pipeline passed on for one request.

    Attributes:
        request: the queries, with the offers of every source.
        merged: candidates after the merge.
        later: every later stage with the candidates after it, in order; the last one selects the final list.
        trace: counts and times of the stages.
    """

    request: Request
    merged: Candidates
    later: Sequence[tuple[Stage, Candidates]]
    trace: Trace

    @classmethod
    def of(cls, pipeline: Pipeline, queries: QueryBatch, k: int) -> Passage:
        """The passage of a batch of queries as ``Pipeline.run`` answers them."""
        return cls.of_request(pipeline, Request(queries, k, Exclusions.of_history(queries)))

    @classmethod
    def of_request(cls, pipeline: Pipeline, request: Request) -> Passage:
        """Run a request as ``Pipeline.run_request`` does, and keep what every stage passes on.

        Memory grows with the number of stages times that of one batch of candidates.
        """
        trace = Trace(len(request.queries))
        (_, merged), *rest = pipeline.steps(request, trace)
        return cls(request, merged, [(stage, after) for stage, after in rest if isinstance(stage, Stage)], trace)

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """Role and name of every component that the request went on without."""
        parts = ((record.stage, record.name) for record in self.trace.stages if record.error is not None)
        return tuple(dict.fromkeys(parts))

    @property
    def final(self) -> Candidates:
        """(B, ≤ k) the answer."""
        return self.later[-1][1].head(self.request.k)

    @property
    def before_selection(self) -> Candidates:
        """What the selector receives."""
        return self.later[-2][1] if len(self.later) > 1 else self.merged

    @property
    def chosen(self) -> IntArray:
        """(B, K) the selector's own order, before films that must be included took places.

        Where the selector was skipped, the order that it would have received.
        """
        if any(role == "select" for role, _ in self.skipped):
            return self.before_selection.item_idx
        return self.request.orders.get("select", self.final.item_idx)

    @property
    def to_rank(self) -> Candidates | None:
        """What the ranker receives; None for a pipeline without one."""
        before = self.merged
        for stage, after in self.later:
            if isinstance(stage, Scorer):
                return before
            before = after
        return None

    @property
    def ranked(self) -> Candidates | None:
        """Candidates after the ranker; None for a pipeline without one."""
        return next((after for stage, after in self.later if isinstance(stage, Scorer)), None)

    def fates(self, rows: IntArray, item_idx: IntArray, k: int) -> IntArray:
        """(L,) position in ``FATES`` of the fate of each item in its query.

        Args:
            rows: (L,) queries.
            item_idx: (L,) items, -1 = not in the catalogue.
            k: length of the final list, at most the request's.
        """
        pool, request = self.before_selection, self.request
        offered = np.isin(item_idx, request.must_include)
        for offer in request.offers.values():
            offered |= places(offer, rows, item_idx) >= 0
        tests: list[tuple[Fate, np.ndarray]] = [  # the first that holds counts
            ("recommended", places(self.final.head(k), rows, item_idx) >= 0),
            ("unknown", item_idx < 0),
            ("filtered", np.isin(item_idx, request.rejected)),
            ("excluded", request.exclude.select(rows).contains(item_idx[:, None])[:, 0]),
            ("not_offered", ~offered),
            ("cut_by_merge", places(self.merged, rows, item_idx) < 0),
            ("filtered", places(pool, rows, item_idx) < 0),
            ("displaced", columns_of(self.chosen[:, :k], rows, item_idx) >= 0),
            ("reranked_out", places(pool.head(k), rows, item_idx) >= 0),
        ]
        codes = [FATES.index(fate) for fate, _ in tests]
        found: IntArray = np.select([holds for _, holds in tests], codes, default=FATES.index("ranked_low"))
        return found


def places(candidates: Candidates, rows: IntArray, item_idx: IntArray) -> IntArray:
    """(L,) zero-based column of each item among the candidates (B, K) of its row, see ``columns_of``."""
    return columns_of(candidates.item_idx, rows, item_idx)


def columns_of(order: IntArray, rows: IntArray, item_idx: IntArray) -> IntArray:
    """(L,) zero-based column of each item in its row, -1 where it is not there.

    Args:
        order: (B, K) items, -1 = empty.
        rows: (L,) rows of ``order``.
        item_idx: (L,) items; -1 is never there.
    """
    found: IntArray = np.full(len(rows), -1, dtype=np.int64)
    if order.shape[1] == 0:
        return found
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        same = order[rows[part]] == item_idx[part, None]  # (l, K)
        found[part] = np.where(same.any(axis=1) & (item_idx[part] >= 0), same.argmax(axis=1), -1)
    return found


def place_of(candidates: Candidates, item: int) -> int | None:
    """Place of an item in the first row, from 1; None where it is not in it."""
    return place_in(candidates.item_idx, item)


def place_in(order: IntArray, item: int) -> int | None:
    """Place of an item in the first row of items (B, K), from 1; None where it is not in it."""
    column = int(columns_of(order, np.zeros(1, dtype=np.int64), np.array([item]))[0])
    return None if column < 0 else column + 1
