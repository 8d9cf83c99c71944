"""The funnel: what each stage of a pipeline loses of the held-out items, and what a perfect next stage could reach.

The **oracle** after a stage is the metric of a list in which every target that the stage passes on stands first. It
bounds whatever follows: with one target per query, oracle HitRate@k and oracle NDCG@k are both the share of queries
whose target is still there. A stage passes on the candidates from which the next stage can choose:

- the channels: all that any of them offers;
- the merge: its candidates, without what filters drop;
- the ranker: the first k' that the reranker considers (``BaseReranker.pool``), or the first k without a reranker;
- the reranker: its list of k, so that its oracle is the HitRate; NDCG can still gain by the order of these k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from evaluation.metrics import metric_name, per_query_metrics
from evaluation.report import markdown_table
from pipeline.fates import FATE_LABELS, FATES, Fate, Passage, places
from pipeline.inference import Pipeline
from pipeline.stages import RerankSelector
from reccore import Candidates, Holdout
from reccore.arrays import BoolArray, FloatArray, IntArray, offsets_from_lengths, row_of_each

CHANNELS, RECALL, RANKING, RERANKING = "all channels together", "after recall", "after ranking", "after reranking"
ORDERS = (RECALL, RANKING, RERANKING)


MEANS = ("candidates", "oracle_ndcg", "oracle_hit_rate", "ndcg", "hit_rate")
"""Fields of a stage that are means over queries."""


@dataclass(frozen=True)
class FunnelStage:
    """One stage of the funnel.

    Attributes:
        name: of the stage.
        candidates: mean number of candidates per query that it passes on.
        kept: targets among these, over all queries.
        oracle_ndcg, oracle_hit_rate: at k, of a perfect next stage.
        ndcg, hit_rate: at k, of the stage's own order; None for the channels together, which have no common order.
    """

    name: str
    candidates: float
    kept: int
    oracle_ndcg: float
    oracle_hit_rate: float
    ndcg: float | None = None
    hit_rate: float | None = None


@dataclass(frozen=True)
class Move:
    """Targets that enter and leave the first k from one stage to the next.

    Attributes:
        before, after: the two stages.
        kept: targets in the first k of both.
        lost: targets in the first k of ``before`` alone.
        gained: targets in the first k of ``after`` alone.
    """

    before: str
    after: str
    kept: int
    lost: int
    gained: int


@dataclass(frozen=True, eq=False)
class Funnel:
    """The funnel of a pipeline over a holdout.

    Attributes:
        k: length of the final list.
        targets: held-out items of all queries.
        stages: in order.
        moves: between neighbouring orders.
        fates: how many targets met which fate; the counts add up to ``targets``.
        recall_oracle: (B,) oracle NDCG@k after recall.
    """

    k: int
    targets: int
    stages: Sequence[FunnelStage]
    moves: Sequence[Move]
    fates: Mapping[Fate, int]
    recall_oracle: FloatArray

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "k": self.k,
            "targets": self.targets,
            "stages": [asdict(stage) for stage in self.stages],
            "moves": [asdict(move) for move in self.moves],
            "fates": dict(self.fates),
        }

    @property
    def losses(self) -> list[tuple[str, int]]:
        """(label, count) of every fate that a target met, ``recommended`` last."""
        return [(FATE_LABELS[fate], count) for fate, count in self.fates.items() if count or fate == "recommended"]


def orders_of(passage: Passage) -> dict[str, Candidates]:
    """The ordered candidates after recall, ranking and reranking, as far as the pipeline has these stages."""
    orders = {RECALL: passage.merged}
    if passage.ranked is not None:
        orders[RANKING] = passage.ranked
    selector, _ = passage.later[-1]
    if isinstance(selector, RerankSelector):
        orders[RERANKING] = passage.final
    return orders


def measure_funnel(pipeline: Pipeline, passage: Passage, holdout: Holdout, k: int) -> Funnel:
    """The funnel of the queries of a holdout, which ``passage`` answered with lists of at least ``k``."""
    rows, items = row_of_each(holdout.target_offsets), holdout.target_idx
    orders = orders_of(passage)
    offered = np.zeros(len(items), dtype=bool)
    for offer in passage.request.offers.values():
        offered |= places(offer, rows, items) >= 0
    n_offered = sum(offer.counts for offer in passage.request.offers.values())
    stages = [_stage(CHANNELS, offered, _mean(n_offered - _duplicates(passage)), holdout, k)]
    pools = {RECALL: _after_filters(passage)}
    if RANKING in orders:
        pools[RANKING] = passage.before_selection.head(choices(pipeline, k))
    if RERANKING in orders:
        pools[RERANKING] = passage.final.head(k)
    for name, pool in pools.items():
        kept = places(pool, rows, items) >= 0
        stages.append(_stage(name, kept, _mean(pool.counts), holdout, k, orders[name]))
    return Funnel(
        k=k,
        targets=len(items),
        stages=stages,
        moves=[_move(pair, orders, rows, items, k) for pair in pairwise(orders)],
        fates=_count_fates(passage.fates(rows, items, k)),
        recall_oracle=oracle(places(pools[RECALL], rows, items) >= 0, holdout, k)[metric_name("ndcg", k)],
    )


def join_funnels(funnels: Sequence[Funnel]) -> Funnel:
    """The funnel of all queries from those of the parts of a holdout, in order."""
    first, sizes = funnels[0], [len(funnel.recall_oracle) for funnel in funnels]

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.average(known, weights=sizes)) if known else None

    def stage(parts: Sequence[FunnelStage]) -> FunnelStage:
        means = {name: mean([getattr(part, name) for part in parts]) for name in MEANS}
        return FunnelStage(name=parts[0].name, kept=sum(part.kept for part in parts), **means)  # type: ignore[arg-type]

    def move(parts: Sequence[Move]) -> Move:
        counts = (sum(getattr(part, name) for part in parts) for name in ("kept", "lost", "gained"))
        return Move(parts[0].before, parts[0].after, *counts)

    return Funnel(
        k=first.k,
        targets=sum(funnel.targets for funnel in funnels),
        stages=[stage(parts) for parts in zip(*(funnel.stages for funnel in funnels), strict=True)],
        moves=[move(parts) for parts in zip(*(funnel.moves for funnel in funnels), strict=True)],
        fates={fate: sum(funnel.fates[fate] for funnel in funnels) for fate in first.fates},
        recall_oracle=np.concatenate([funnel.recall_oracle for funnel in funnels]),
    )


def choices(pipeline: Pipeline, k: int) -> int:
    """k', how many of the first candidates the selector chooses from."""
    if pipeline.reranker is None:
        return k
    pool = pipeline.reranker.pool
    return pipeline.config.merge.k if pool is None else max(pool, k)


def oracle(found: BoolArray, holdout: Holdout, k: int) -> dict[str, FloatArray]:
    """Metrics at k of each query, (B,) each, if the found targets stand first.

    Args:
        found: (L,) which targets of the holdout can still be chosen.
        holdout: B queries with L targets.
        k: length of the list.
    """
    n = len(holdout)
    pairs = np.stack([row_of_each(holdout.target_offsets)[found], holdout.target_idx[found]])
    rows, items = np.unique(pairs, axis=1)
    counts = np.bincount(rows, minlength=n)
    lists = np.full((n, max(int(counts.max(initial=0)), 1)), -1, dtype=np.int64)
    lists[rows, np.arange(len(rows)) - offsets_from_lengths(counts)[rows]] = items
    return per_query_metrics(lists, holdout, (k,))


def _stage(
    name: str, kept: BoolArray, candidates: float, holdout: Holdout, k: int, order: Candidates | None = None
) -> FunnelStage:
    ndcg, hit_rate = metric_name("ndcg", k), metric_name("hit_rate", k)
    best = oracle(kept, holdout, k)
    own = None if order is None else per_query_metrics(order, holdout, (k,))
    return FunnelStage(
        name=name,
        candidates=candidates,
        kept=int(kept.sum()),
        oracle_ndcg=_mean(best[ndcg]),
        oracle_hit_rate=_mean(best[hit_rate]),
        ndcg=None if own is None else _mean(own[ndcg]),
        hit_rate=None if own is None else _mean(own[hit_rate]),
    )


def _move(pair: tuple[str, str], orders: Mapping[str, Candidates], rows: IntArray, items: IntArray, k: int) -> Move:
    before, after = (places(orders[name].head(k), rows, items) >= 0 for name in pair)
    return Move(*pair, int((before & after).sum()), int((before & ~after).sum()), int((~before & after).sum()))


def _after_filters(passage: Passage) -> Candidates:
    """The candidates that the ranker receives; without a ranker those that the selector receives."""
    ranked = passage.ranked
    return passage.before_selection if ranked is None else ranked


def _duplicates(passage: Passage) -> IntArray:
    """(B,) offers of items that another channel offers too."""
    offers = list(passage.request.offers.values())
    item = np.sort(np.concatenate([offer.item_idx for offer in offers], axis=1), axis=1)
    repeated: IntArray = ((item[:, 1:] == item[:, :-1]) & (item[:, 1:] >= 0)).sum(axis=1)
    return repeated


def _count_fates(codes: IntArray) -> dict[Fate, int]:
    counts = np.bincount(codes, minlength=len(FATES)).tolist()
    return dict(zip(FATES, counts, strict=True))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))


def funnel_table(funnel: Funnel) -> str:
    """The stages as Markdown: what each passes on, what its order reaches, and what a perfect next stage could."""
    k = funnel.k

    def cells(stage: FunnelStage) -> list[str]:
        own = ["–", "–"] if stage.ndcg is None else [f"{stage.ndcg:.4f}", f"{stage.hit_rate:.4f}"]
        kept = f"{stage.kept:,} ({stage.kept / max(funnel.targets, 1):.1%})"
        return [
            stage.name, f"{stage.candidates:,.0f}", kept, f"{stage.oracle_ndcg:.4f}", f"{stage.oracle_hit_rate:.4f}",
            *own,
        ]  # fmt: skip

    header = ["stage", "candidates passed on", "targets among them", f"oracle NDCG@{k}", f"oracle HitRate@{k}"]
    return markdown_table([*header, f"NDCG@{k}", f"HitRate@{k}"], [cells(stage) for stage in funnel.stages])


def moves_table(funnel: Funnel) -> str:
    """The moves as Markdown."""
    rows = [
        [f"{move.before} → {move.after}", *(f"{n:,}" for n in (move.kept, move.lost, move.gained)),
         f"{move.gained - move.lost:+,}"]
        for move in funnel.moves
    ]  # fmt: skip
    return markdown_table([f"targets in the first {funnel.k}", "kept", "lost", "gained", "net"], rows)


def fates_table(funnel: Funnel) -> str:
    """Where the targets end, as Markdown."""
    total = max(funnel.targets, 1)
    rows = [[label, f"{count:,}", f"{count / total:.1%}"] for label, count in funnel.losses]
    return markdown_table(["held-out items", "number", "share"], rows)


def funnel_text(funnel: Funnel) -> str:
    """The funnel's section of a report."""
    note = (
        f"Oracle: the metric if a perfect next stage put every target that this stage passes on first. Of a stage with "
        f"an order, NDCG@{funnel.k} and HitRate@{funnel.k} are those of its first {funnel.k}."
    )
    parts = [note, funnel_table(funnel), *([moves_table(funnel)] if funnel.moves else []), fates_table(funnel)]
    return "\n\n".join(parts)
