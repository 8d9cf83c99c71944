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
    "recommended",
]
FATES: tuple[Fate, ...] = get_args(Fate)
"""In the order in which an item meets them:

================ ======================================================================================
``unknown``      not in the catalogue
``excluded``     in the history, or among the items that the request excludes
``not_offered``  no channel has it among the candidates that it retrieves
``cut_by_merge`` a channel offers it, and the merge does not keep it
``filtered``     a filter after the merge drops it
``ranked_low``   a candidate, not among the first k in the order that the selector receives
``reranked_out`` among the first k in that order, and the reranker puts other items in its place
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
    def of(cls, pipeline: Pipeline, queries: QueryBatch, k: int, *, exclude: Exclusions | None = None) -> Passage:
        """Run a batch of queries as ``Pipeline.run`` does, and keep what every stage passes on.

        Memory grows with the number of stages times that of one batch of candidates.
        """
        request = Request(queries, k, Exclusions.of_history(queries) if exclude is None else exclude)
        trace = Trace(len(queries))
        (_, merged), *rest = pipeline.steps(request, trace)
        return cls(request, merged, [(stage, after) for stage, after in rest if isinstance(stage, Stage)], trace)

    @property
    def final(self) -> Candidates:
        """(B, ≤ k) the answer."""
        return self.later[-1][1].head(self.request.k)

    @property
    def before_selection(self) -> Candidates:
        """What the selector receives."""
        return self.later[-2][1] if len(self.later) > 1 else self.merged

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
        pool = self.before_selection
        excluded = self.request.exclude.select(rows).contains(item_idx[:, None])[:, 0]
        offered = np.zeros(len(rows), dtype=bool)
        for offer in self.request.offers.values():
            offered |= places(offer, rows, item_idx) >= 0
        tests: dict[Fate, np.ndarray] = {  # the first that holds counts
            "recommended": places(self.final.head(k), rows, item_idx) >= 0,
            "unknown": item_idx < 0,
            "excluded": excluded,
            "not_offered": ~offered,
            "cut_by_merge": places(self.merged, rows, item_idx) < 0,
            "filtered": places(pool, rows, item_idx) < 0,
            "reranked_out": places(pool.head(k), rows, item_idx) >= 0,
        }
        codes = [FATES.index(fate) for fate in tests]
        found: IntArray = np.select(list(tests.values()), codes, default=FATES.index("ranked_low"))
        return found


def places(candidates: Candidates, rows: IntArray, item_idx: IntArray) -> IntArray:
    """(L,) zero-based column of each item among the candidates of its row, -1 where it is not among them.

    Args:
        candidates: (B, K).
        rows: (L,) rows of ``candidates``.
        item_idx: (L,) items; -1 is never among the candidates.
    """
    found: IntArray = np.full(len(rows), -1, dtype=np.int64)
    if candidates.k == 0:
        return found
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        same = candidates.item_idx[rows[part]] == item_idx[part, None]  # (l, K)
        found[part] = np.where(same.any(axis=1) & (item_idx[part] >= 0), same.argmax(axis=1), -1)
    return found


def place_of(candidates: Candidates, item: int) -> int | None:
    """Place of an item in the first row, from 1; None where it is not in it."""
    column = int(places(candidates, np.zeros(1, dtype=np.int64), np.array([item]))[0])
    return None if column < 0 else column + 1
