"""Accuracy of ranked lists against held-out targets, per query, for all queries and all K in one pass.

Notation, for one query: ``rel(r)`` is 1 if the item at rank ``r`` (from 1) is a target, else 0; ``T`` is the number
of targets. Targets are a set: a target given twice counts once. A target outside the vocabulary (-1) counts in
``T`` and is always a miss. The missing ranks of a list shorter than K are misses.

=========== ==============================================================================================
HitRate@K   1 if any of the first K items is a target, else 0.
Recall@K    hits among the first K ÷ T. Divided by T, not by min(K, T).
Precision@K hits among the first K ÷ K, also where the list is shorter than K.
NDCG@K      Σ_{r≤K} rel(r)/log2(r+1) ÷ Σ_{r≤min(K,T)} 1/log2(r+1): binary gains, ideal list as long as it can be.
MAP@K       Σ_{r≤K} rel(r)·Precision@r ÷ min(K, T). The per-query value is the average precision.
MRR@K       1 ÷ rank of the first hit, 0 if it is beyond K.
=========== ==============================================================================================

With one target, HitRate = Recall = K·Precision and MAP = MRR.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reccore import Candidates, DataError, Holdout
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths, row_of_each, sorted_distinct

METRICS = ("hit_rate", "recall", "precision", "ndcg", "map", "mrr")
DEFAULT_KS = (10, 20, 50, 100, 200, 500)

_CELLS_PER_CHUNK = 1 << 26


def metric_name(metric: str, k: int) -> str:
    """Name of a metric at K, such as ``ndcg@10``."""
    return f"{metric}@{k}"


def check_ks(ks: Sequence[int]) -> tuple[int, ...]:
    """Sorted distinct list lengths.

    Raises:
        DataError: no K, or a K below 1.
    """
    if not ks or min(ks) < 1:
        raise DataError(f"list lengths K must be whole numbers from 1, got {list(ks)}")
    return tuple(sorted({int(k) for k in ks}))


def item_rows(candidates: Candidates | IntArray) -> IntArray:
    """(B, K) item indices of candidates, or the array itself."""
    return candidates.item_idx if isinstance(candidates, Candidates) else candidates


def per_query_metrics(
    candidates: Candidates | IntArray, holdout: Holdout, ks: Sequence[int] = DEFAULT_KS
) -> dict[str, FloatArray]:
    """Every metric of this module at every K, for each query.

    O(B·K) time; at most 64 MiB of memory beside the input.

    Args:
        candidates: (B, K) ranked items, best first, -1 = empty, no item twice in a row.
        holdout: B queries with at least one target each.
        ks: list lengths; for a K above the width of the candidates the missing ranks are misses.

    Returns:
        ``{"ndcg@10": (B,) float32, …}`` in [0, 1], metric by metric, K ascending.

    Raises:
        DataError: different numbers of rows, a query without targets, a hit item twice in one row, or a bad K.
    """
    ks = check_ks(ks)
    n_targets = _target_counts(holdout)
    row, rank = _hits(item_rows(candidates), holdout)
    nth = _number_within_row(row, len(holdout))

    found: dict[str, dict[int, npt.NDArray[np.float64]]] = {metric: {} for metric in METRICS}
    for k in ks:
        inside = rank <= k
        row_k, rank_k, nth_k = row[inside], rank[inside], nth[inside]
        reachable = np.minimum(k, n_targets)

        def total(weights: npt.NDArray[np.float64] | None = None, rows: IntArray = row_k) -> npt.NDArray[np.float64]:
            return np.bincount(rows, weights=weights, minlength=len(holdout)).astype(np.float64)

        hits = total()
        found["hit_rate"][k] = np.minimum(hits, 1.0)
        found["recall"][k] = hits / n_targets
        found["precision"][k] = hits / k
        found["ndcg"][k] = ndcg(row, rank, n_targets, k)
        found["map"][k] = total(nth_k / rank_k) / reachable
        found["mrr"][k] = total((nth_k == 1) / rank_k)
    return {
        metric_name(metric, k): values.astype(np.float32) for metric in METRICS for k, values in found[metric].items()
    }


def ndcg(row: IntArray, rank: IntArray, n_targets: IntArray, k: int) -> npt.NDArray[np.float64]:
    """(B,) NDCG@k of each query from its hits; 0 for a query without a target.

    Args:
        row: (H,) the query of each hit, 0 … B - 1.
        rank: (H,) the rank of each hit, from 1; hits beyond ``k`` do not count.
        n_targets: (B,) number of targets of each query.
        k: length of the list.
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))  # (k,), of ranks 1 … k
    inside = rank <= k
    dcg = np.bincount(row[inside], weights=discount[rank[inside] - 1], minlength=len(n_targets))
    ideal = np.concatenate([[1.0], np.cumsum(discount)])[np.minimum(n_targets, k)]  # without a target, DCG is 0
    found: npt.NDArray[np.float64] = dcg / ideal
    return found


def ndcg_of_ranks(ranks: IntArray, k: int = 10) -> npt.NDArray[np.float64]:
    """(B,) NDCG@k of queries with one target each, from the targets' zero-based ranks (B,).

    ``reccore.candidates.ranks_of_targets`` gives such ranks for dense scores.
    """
    return ndcg(np.arange(len(ranks)), ranks + 1, np.ones(len(ranks), dtype=np.int64), k)


def ndcg_of_scores(scores: FloatArray, labels: FloatArray, item_idx: IntArray, k: int = 10) -> npt.NDArray[np.float64]:
    """(B,) NDCG@k of candidates ranked by score, ties by ``item_idx``; targets are the candidates with label 1.

    The ideal list holds the positive candidates only, so a positive that recall missed lowers no figure. A
    candidate with label NaN keeps its rank and gains nothing.

    Args:
        scores: (B, K), higher is better.
        labels: (B, K), 1 = positive, 0 = negative, NaN = unlabelled.
        item_idx: (B, K), -1 = no item, which is ranked last.
    """
    is_item = item_idx >= 0
    positive = (labels == 1.0) & is_item
    order = np.lexsort((item_idx, -np.where(is_item, scores, -np.inf)), axis=1)
    row, column = np.nonzero(np.take_along_axis(positive, order[:, :k], axis=1))
    return ndcg(row, column + 1, positive.sum(axis=1), k)


def _target_counts(holdout: Holdout) -> IntArray:
    """(B,) number of distinct targets; every unknown target counts."""
    if len(holdout) == 0:
        raise DataError("no query to evaluate; check the split")
    rows = row_of_each(holdout.target_offsets)
    known = holdout.target_idx >= 0
    span = int(holdout.target_idx.max(initial=-1)) + 1
    pairs = sorted_distinct(rows[known] * span + holdout.target_idx[known])
    found = pairs // max(span, 1)
    counts = np.bincount(found, minlength=len(holdout)) + np.bincount(rows[~known], minlength=len(holdout))
    without = np.flatnonzero(counts == 0)
    if len(without):
        raise DataError(f"{len(without)} queries have no target, the first is query {without[0]}; leave them out")
    return counts


def _hits(item_idx: IntArray, holdout: Holdout) -> tuple[IntArray, IntArray]:
    """Row and rank (from 1) of every hit, sorted by row and then rank."""
    if item_idx.ndim != 2 or len(item_idx) != len(holdout):
        raise DataError(f"candidates of shape {item_idx.shape} for {len(holdout)} queries; one row per query is needed")
    if item_idx.size == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    find = _single_hits if (holdout.target_counts == 1).all() else _marked_hits
    row, column = find(item_idx, holdout)
    _refuse_duplicates(row, item_idx[row, column])
    return row, column + 1


def _single_hits(item_idx: IntArray, holdout: Holdout) -> tuple[IntArray, IntArray]:
    """Row and column of every hit where each query has one target, which is compared with all its candidates."""
    target = np.where(holdout.target_idx < 0, -2, holdout.target_idx)[:, None]  # an unknown one is no empty slot
    step = max(1, _CELLS_PER_CHUNK // item_idx.shape[1])
    parts = [np.nonzero(item_idx[at : at + step] == target[at : at + step]) for at in range(0, len(item_idx), step)]
    rows = [row + number * step for number, (row, _) in enumerate(parts)]
    return np.concatenate(rows), np.concatenate([column for _, column in parts])


def _marked_hits(item_idx: IntArray, holdout: Holdout) -> tuple[IntArray, IntArray]:
    """The same for any number of targets.

    For each chunk of queries the targets are marked in a (rows, items) table and the candidates looked up in it.
    """
    span = int(max(item_idx.max(), holdout.target_idx.max(initial=-1))) + 2  # column 0 is "no item"
    step = max(1, _CELLS_PER_CHUNK // max(span, 8 * item_idx.shape[1]))
    rows, columns = [], []
    for start in range(0, len(item_idx), step):
        stop = min(start + step, len(item_idx))
        offsets = holdout.target_offsets[start : stop + 1]
        targets = holdout.target_idx[offsets[0] : offsets[-1]]
        table = np.zeros((stop - start, span), dtype=bool)
        table[row_of_each(offsets - offsets[0]), targets + 1] = True
        table[:, 0] = False
        row, column = np.nonzero(np.take_along_axis(table, item_idx[start:stop] + 1, axis=1))
        rows.append(row + start)
        columns.append(column)
    return np.concatenate(rows), np.concatenate(columns)


def _refuse_duplicates(row: IntArray, item: IntArray) -> None:
    """Raise ``DataError`` if an item is hit twice in one row, which would count it twice.

    Only hits are checked, which is cheap.
    """
    order = np.lexsort((item, row))
    twice = (np.diff(row[order]) == 0) & (np.diff(item[order]) == 0)
    if twice.any():
        at = order[np.flatnonzero(twice)[0]]
        raise DataError(f"item {item[at]} occurs twice in the candidates of query {row[at]}")


def _number_within_row(row: IntArray, n_rows: int) -> IntArray:
    """1 for the first hit of each row, 2 for the second, …; rows must be in ascending order."""
    first = offsets_from_lengths(np.bincount(row, minlength=n_rows))
    return np.arange(1, len(row) + 1, dtype=np.int64) - first[row]
