"""The trace of a request: items in and out and milliseconds of every stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from loguru import logger

from pipeline.limits import OverLimit, StillBusy
from reccore import Candidates
from reccore.arrays import BoolArray, IntArray


@dataclass
class StageRecord:
    """One stage's part of a trace.

    Attributes:
        stage: role of the stage: source, merge, hydrate, filter, score or select.
        name: of the component, such as ``itemcf``.
        items_in: candidates before it, over all queries of the batch.
        items_out: candidates after it.
        milliseconds: wall time.
        unanswered: queries without a candidate after it.
        blended: queries whose order is not the component's alone, such as those with a short history at the ranker.
        error: why it was skipped, in serving: an exception, or that it took longer than its limit; None if it worked.
        of_each: (B,) candidates of each query after it; None of work that ends in none.
        blended_rows: (B,) the queries that ``blended`` counts; None of a stage that blends nothing.
    """

    stage: str
    name: str
    items_in: int = 0
    items_out: int = 0
    milliseconds: float = 0.0
    unanswered: int = 0
    blended: int = 0
    error: str | None = None
    of_each: IntArray | None = field(default=None, repr=False, compare=False)
    blended_rows: BoolArray | None = field(default=None, repr=False, compare=False)

    def count(self, candidates: Candidates) -> None:
        """Note the candidates after the stage."""
        self.of_each = candidates.counts
        each = self.of_each.tolist()
        self.items_out, self.unanswered = sum(each), each.count(0)

    def count_blended(self, rows: BoolArray) -> None:
        """Note the queries whose order is not the component's alone."""
        self.blended_rows, self.blended = rows, int(np.count_nonzero(rows))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {name: value for name, value in vars(self).items() if name not in ("of_each", "blended_rows")}


@dataclass
class Trace:
    """Records of all stages, in the order they ran."""

    queries: int
    stages: list[StageRecord] = field(default_factory=list)

    @contextmanager
    def record(self, stage: str, name: str, items_in: int, *, degrade: bool = False) -> Iterator[StageRecord]:
        """Time a stage. With ``degrade`` an exception is logged and recorded instead of raised."""
        entry = StageRecord(stage, name, items_in)
        started = perf_counter()
        try:
            yield entry
        except Exception as error:
            if not degrade:
                raise
            if isinstance(error, OverLimit):
                entry.error = str(error)
                logger.log("DEBUG" if isinstance(error, StillBusy) else "WARNING", "{} {} {}", stage, name, error)
            else:
                entry.error = f"{type(error).__name__}: {error}"
                logger.exception("stage {} {} failed and was skipped", stage, name)
        finally:
            entry.milliseconds = (perf_counter() - started) * 1e3
            self.stages.append(entry)

    @classmethod
    def joined(cls, traces: Sequence[Trace]) -> Trace:
        """Sums over the traces of several batches that went through the same stages."""
        records = []
        for parts in zip(*(trace.stages for trace in traces), strict=True):
            total = StageRecord(parts[0].stage, parts[0].name, error=next((p.error for p in parts if p.error), None))
            for part in parts:
                for name in ("items_in", "items_out", "milliseconds", "unanswered", "blended"):
                    setattr(total, name, getattr(total, name) + getattr(part, name))
            records.append(total)
        return cls(sum(trace.queries for trace in traces), records)

    def of_query(self, row: int) -> Trace:
        """The trace of one of the queries, with its share of the time; all stages have counted their candidates."""
        records, before = [], 0
        for record in self.stages:
            assert record.of_each is not None
            out, is_source = int(record.of_each[row]), record.stage == "source"
            own = StageRecord(record.stage, record.name, 0 if is_source else before, out, error=record.error)
            own.milliseconds = record.milliseconds / self.queries
            own.unanswered = int(out == 0)
            own.blended = 0 if record.blended_rows is None else int(record.blended_rows[row])
            records.append(own)
            before = before + out if is_source else out
        return Trace(1, records)

    @property
    def errors(self) -> int:
        """Number of stages that failed or were over their limit."""
        return sum(record.error is not None for record in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"queries": self.queries, "stages": [record.to_dict() for record in self.stages]}

    def __str__(self) -> str:
        lines = [f"{'stage':<8} {'component':<14} {'in':>9} {'out':>9} {'ms':>9}"]
        for r in self.stages:
            notes = [f"skipped: {r.error}"] if r.error else []
            notes += [f"{n:,} {what}" for n, what in ((r.unanswered, "unanswered"), (r.blended, "blended")) if n]
            note = f"  {', '.join(notes)}" if notes else ""
            lines.append(f"{r.stage:<8} {r.name:<14} {r.items_in:>9,} {r.items_out:>9,} {r.milliseconds:>9.1f}{note}")
        return "\n".join(lines)
