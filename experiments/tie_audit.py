"""How much the order of events with equal times decides: the headline figures under other orders of ties.

Which of a user's events is the last, and so the target, is a matter of the tie rule where events have equal times.
The audit sorts ties in each of three ways, cuts the events again and asks the same trained system. Nothing is fitted
again, so under another order some targets are events that the system has learnt from; their number is stated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from dataprep.cleaning import tie_hash
from dataprep.prepare import Prepared
from dataprep.splits import Split
from evaluation.metrics import per_query_metrics
from reccore import Candidates, Holdout, Interactions, QueryBatch, Vocabulary
from reccore.arrays import BoolArray, FloatArray, IntArray, are_among, row_of_each, sorted_distinct

K = 10
QUERIES_AT_ONCE = 8192
USERS_AUDITED = 20_000
"""Of more users so many are drawn, always the same: another order may change nearly all of their queries, and to ask
them again would take as long as the evaluation."""
NO_TIES = "Order of ties: no times, no ties."
HIT_RATE, NDCG = f"hit_rate@{K}", f"ndcg@{K}"
Order = Literal["file", "hash", "id"]
ORDERS: tuple[Order, ...] = ("file", "hash", "id")


@dataclass(frozen=True)
class OrderFigures:
    """Figures of one system under one order of ties.

    Attributes:
        order: ``file``, ``hash`` of (userId, movieId), or ``id``: ascending movieId.
        ndcg, hit_rate: means over queries, at 10.
        other_targets: share of the targets that are no target under the reported order.
        learnt: share of the targets that are fit events under the reported order.
    """

    order: str
    ndcg: float
    hit_rate: float
    other_targets: float
    learnt: float


@dataclass(frozen=True)
class TieAudit:
    """Figures of one system under all orders, the reported one first; none for data without times.

    Attributes:
        system: name of the system.
        orders: figures.
        drawn: how many users, drawn at random, the figures are of; None = all.
    """

    system: str
    orders: tuple[OrderFigures, ...]
    drawn: int | None = None

    def line(self) -> str:
        """One line for reports."""
        if not self.orders:
            return NO_TIES
        parts = []
        for figures in self.orders:
            note = "reported"
            if figures is not self.orders[0]:
                note = f"{figures.other_targets:.1%} of the targets differ, {figures.learnt:.1%} were learnt from"
            parts.append(f"{figures.order} {figures.ndcg:.4f}/{figures.hit_rate:.4f} ({note})")
        of = "" if self.drawn is None else f" for {self.drawn:,} users drawn at random"
        return f"Order of ties, NDCG@{K}/HitRate@{K} of {self.system}{of}: " + "; ".join(parts) + "."

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"system": self.system, "orders": [asdict(figures) for figures in self.orders], "drawn": self.drawn}


def audit_ties(
    prepared: Prepared,
    split: str,
    system: str,
    answer: Callable[[QueryBatch], Candidates],
    *,
    query_time: bool = False,
    measured: Mapping[str, FloatArray] | None = None,
    users: IntArray | None = None,
) -> TieAudit:
    """Measure a system under the reported order of ties and under the others; under these only users with ties.

    Of more than ``USERS_AUDITED`` users so many are drawn for all orders.

    Where the prepared data has hashed ties, the release's file is sorted by id, so ``id`` is also the file's order.

    Args:
        prepared: the data, in the reported order.
        split: ``valid`` or ``test``.
        system: its name.
        answer: what it offers, at least 10 items per query where it has them.
        query_time: whether queries carry the time of the event to predict.
        measured: NDCG@10 and HitRate@10 of every query under the reported order; None = not measured yet.
        users: whose queries are measured; None = all users'.
    """
    events = prepared.split.interactions
    if events.timestamp is None:
        return TieAudit(system, ())
    reported: Order = "hash" if prepared.source["tie_order"] == "hash" else "file"
    others = [order for order in ORDERS if order not in (reported, "file")]
    as_split = _holdout(prepared.split, split, query_time, users)
    asked, drawn = sorted_distinct(as_split.queries.user_idx), None
    if len(asked) > USERS_AUDITED:
        drawn = USERS_AUDITED
        users = np.sort(np.random.default_rng(0).choice(asked, drawn, replace=False))
        rows = np.flatnonzero(np.isin(as_split.queries.user_idx, users))
        as_split = as_split.select(rows)
        measured = None if measured is None else {name: values[rows] for name, values in measured.items()}
    targets = sorted_distinct(_pairs(as_split, events.n_items))
    learnt = prepared.split.fit()
    fit_pairs = sorted_distinct(learnt.user_idx * events.n_items + learnt.item_idx)
    found = []
    for order in (reported, *others):
        if order == reported:
            holdout = as_split
            metrics = measured if measured is not None else _metrics(answer, holdout)
            as_reported = metrics
        else:
            sorted_events = with_order(events, prepared.vocabulary, order)
            holdout = _holdout(replace(prepared.split, interactions=sorted_events), split, query_time, users)
            changed = _users_of_changes(events, sorted_events)
            same = ~np.isin(as_split.queries.user_idx, changed)
            kept = {name: as_reported[name][same] for name in (NDCG, HIT_RATE)}
            metrics = _where_changed(kept, answer, holdout, np.isin(holdout.queries.user_idx, changed))
        pairs = _pairs(holdout, events.n_items)
        found.append(
            OrderFigures(
                order,
                float(metrics[NDCG].mean()),
                float(metrics[HIT_RATE].mean()),
                float((~are_among(pairs, targets)).mean()),
                float(are_among(pairs, fit_pairs).mean()),
            )
        )
    return TieAudit(system, tuple(found), drawn)


def _users_of_changes(events: Interactions, other: Interactions) -> IntArray:
    """Users whose events the other order changes."""
    return sorted_distinct(events.user_idx[events.item_idx != other.item_idx])


def _where_changed(
    kept: Mapping[str, FloatArray], answer: Callable[[QueryBatch], Candidates], holdout: Holdout, changed: BoolArray
) -> dict[str, FloatArray]:
    """The metrics under another order: measured where a user's events ``changed``, else those ``kept`` as reported.

    Where targets need a rating, another order can give a user another number of them.
    """
    metrics: dict[str, FloatArray] = {name: np.empty(len(holdout), dtype=values.dtype) for name, values in kept.items()}
    rows = np.flatnonzero(changed)
    measured = _metrics(answer, holdout.select(rows)) if len(rows) else {}
    for name, values in metrics.items():
        values[~changed] = kept[name]
        if len(rows):
            values[rows] = measured[name]
    return metrics


def _metrics(answer: Callable[[QueryBatch], Candidates], holdout: Holdout) -> dict[str, FloatArray]:
    """Metrics of every query, a part of them at a time."""
    parts = []
    for start in range(0, len(holdout), QUERIES_AT_ONCE):
        part = holdout.select(np.arange(start, min(start + QUERIES_AT_ONCE, len(holdout))))
        parts.append(per_query_metrics(answer(part.queries).head(K), part, (K,)))
    return {name: np.concatenate([part[name] for part in parts]) for name in (NDCG, HIT_RATE)}


def with_order(events: Interactions, vocabulary: Vocabulary, order: Order) -> Interactions:
    """The same events with equal times of a user sorted by movieId (``id``) or by the hash of both ids (``hash``).

    Raises:
        ValueError: events without times, or the order ``file``, which the events do not know.
    """
    if events.timestamp is None or order == "file":
        raise ValueError(f"events cannot be sorted by {order}" if order == "file" else "events without times")
    user = events.user_idx
    key: np.ndarray = events.item_idx
    if order == "hash":
        key = tie_hash(vocabulary.users.numbers(user), vocabulary.items.numbers(events.item_idx))
    follows = (np.diff(events.timestamp) == 0) & (np.diff(user) == 0)
    tied = np.zeros(events.n_events, dtype=np.bool_)
    tied[1:] = follows
    tied[:-1] |= follows
    rows = np.flatnonzero(tied)
    at = np.arange(events.n_events)
    at[rows] = rows[np.lexsort((key[rows], events.timestamp[rows], user[rows]))]
    return replace(
        events,
        item_idx=events.item_idx[at],
        rating=None if events.rating is None else events.rating[at],
        timestamp=events.timestamp[at],
    )


def queries_of(holdout: Holdout, users: IntArray) -> Holdout:
    """The queries of some users alone, in their order."""
    return holdout.select(np.flatnonzero(np.isin(holdout.queries.user_idx, users)))


def _holdout(split: Split, part: str, query_time: bool, users: IntArray | None) -> Holdout:
    holdout = (split.test if part == "test" else split.valid)(query_time=query_time)
    return holdout if users is None else queries_of(holdout, users)


def _pairs(holdout: Holdout, n_items: int) -> IntArray:
    """(L,) one number for the user and item of every target."""
    return holdout.queries.user_idx[row_of_each(holdout.target_offsets)] * n_items + holdout.target_idx
