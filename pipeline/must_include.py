"""Films that a request must include: always among the candidates, and always in the list."""

from __future__ import annotations

import numpy as np

from pipeline.stages import MERGE_SCORE, Merger, Request
from reccore import Candidates
from reccore.arrays import BoolArray, FloatArray, IntArray


def with_must_include(merger: Merger, request: Request, merged: Candidates) -> Candidates:
    """The merged candidates, followed by the films of ``request.must_include`` that are not among them.

    A film that channels offered and the merge did not keep has the scores and ranks that these channels gave it. One
    that no channel offered has none; its merged score continues the row as the filling channel's do.

    Returns:
        (B, K + m) for m missing films.
    """
    if len(request.must_include) == 0:
        return merged
    wanted = np.broadcast_to(request.must_include, (len(merged), len(request.must_include)))
    missing = _columns_of(merged, wanted) < 0
    if not missing.any():
        return merged
    offered = merger.unlimited(request.offers)
    column = np.where(missing, _columns_of(offered, wanted), -1)  # (B, m)
    order = np.argsort(np.where(column < 0, offered.k, column), axis=1, kind="stable")  # offered ones first, best first
    column, item_idx = np.take_along_axis(column, order, axis=1), np.take_along_axis(wanted, order, axis=1)
    added = offered.take(column) if offered.k else Candidates.empty(*column.shape)
    score = np.where(column >= 0, added.score, _continued(merged, missing.shape[1]))
    there = np.take_along_axis(missing, order, axis=1)
    added = Candidates(
        np.where(there, item_idx, -1),
        np.where(there, score, -np.inf).astype(np.float32),
        {**added.features, MERGE_SCORE: np.where(there, score, np.nan).astype(np.float32)},
    )
    return compact(side_by_side(merged, added))


def with_the_rest(request: Request, before: Candidates, chosen: Candidates) -> Candidates:
    """The chosen list, whose lowest places go to the films of ``request.must_include`` that were not chosen.

    Args:
        request: of the list.
        before: (B, K) candidates that the selector received.
        chosen: (B, ≤ k) its choice.
    """
    if len(request.must_include) == 0:
        return chosen
    wanted = np.broadcast_to(request.must_include, (len(chosen), len(request.must_include)))
    column = np.where(_columns_of(chosen, wanted) < 0, _columns_of(before, wanted), -1)  # of those to add
    n_added = (column >= 0).sum(axis=1)
    if not n_added.any():
        return chosen
    others = chosen.mask & ~np.isin(chosen.item_idx, request.must_include)
    from_the_end = np.cumsum(others[:, ::-1], axis=1)[:, ::-1]  # 1 for the last of the others
    surplus = np.maximum(chosen.counts + n_added - request.k, 0)
    kept = chosen.keep(~(others & (from_the_end <= surplus[:, None])))
    in_order = np.sort(np.where(column < 0, before.k, column), axis=1)
    added = before.take(np.where(in_order == before.k, -1, in_order))
    lowest = np.where(kept.mask, kept.score, np.inf).min(axis=1, keepdims=True, initial=0.0)
    score = np.where(added.mask, lowest - np.arange(1, added.k + 1), -np.inf).astype(np.float32)
    return compact(side_by_side(kept, Candidates(added.item_idx, score, added.features))).head(request.k)


def side_by_side(left: Candidates, right: Candidates) -> Candidates:
    """(B, K + L) the columns of both; a feature that only one has is NaN in the other."""

    def both(name: str) -> FloatArray:
        blocks = [
            part.features.get(name, np.full(part.score.shape, np.nan, dtype=np.float32)) for part in (left, right)
        ]
        joined: FloatArray = np.concatenate(blocks, axis=1)
        return joined

    return Candidates(
        np.concatenate([left.item_idx, right.item_idx], axis=1),
        np.concatenate([left.score, right.score], axis=1),
        {name: both(name) for name in dict.fromkeys([*left.features, *right.features])},
    )


def compact(candidates: Candidates) -> Candidates:
    """The same items with every row's empty slots at its end, without columns that are empty in all rows."""
    mask: BoolArray = candidates.mask
    return candidates.keep(mask).head(int(candidates.counts.max(initial=0)))


def _columns_of(candidates: Candidates, item_idx: IntArray) -> IntArray:
    """(B, m) column of each item (B, m) in its row, -1 where it is not there."""
    if candidates.k == 0:
        return np.full(item_idx.shape, -1, dtype=np.int64)
    same = candidates.item_idx[:, None, :] == item_idx[:, :, None]  # (B, m, K)
    found: IntArray = np.where(same.any(axis=2), same.argmax(axis=2), -1)
    return found


def _continued(merged: Candidates, n: int) -> FloatArray:
    """(B, n) scores of the places after the merged ones: n / p of the lowest at place p, as ``recall.merge`` fills."""
    count = merged.counts[:, None]
    lowest = np.where(merged.mask, merged.score, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    place = count + np.arange(1, n + 1)
    score: FloatArray = np.where(count > 0, np.where(count > 0, lowest, 0.0) * count / place, 1.0 / place)
    return score
