"""What a component must return for the chain to go on with it, checked where failures are skipped."""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline.stages import RANK_SCORE
from reccore import Candidates


def check_result(role: str, found: Candidates, before: Candidates, n_items: int) -> None:
    """Check the candidates of a source, the merge, a scorer or a selector; other stages check theirs as they make them.

    Takes some 0.01 ms for one query.

    Args:
        role: of the stage.
        found: its candidates.
        before: those that it received; of a source or the merge, empty ones.
        n_items: size of the catalogue.

    Raises:
        ValueError: rows of another number of queries, an item outside the catalogue, a score that is not finite, a
            scorer without a finite score for a query, or a selector that takes an item twice or from elsewhere.
    """
    if role not in ("source", "merge", "score", "select"):
        return
    if len(found) != len(before):
        raise ValueError(f"it returned {len(found)} rows for {len(before)} queries")
    if not _scores_fit(found.item_idx, found.score):
        raise ValueError("it returned scores that are not finite")
    if found.largest_item >= n_items:
        raise ValueError(f"it returned item {found.largest_item} of a catalogue of {n_items}")
    if role == "score" and RANK_SCORE in found.features:
        scored = np.isfinite(found.features[RANK_SCORE]).any(axis=1)
        if ((found.counts > 0) & ~scored).any():
            raise ValueError("it has no finite score for any candidate")
    if role == "select" and not _is_selection(found.item_idx, before.item_idx):
        raise ValueError("it returned an item twice, or one that is no candidate")


@njit(nogil=True, cache=True)
def _scores_fit(item_idx: np.ndarray, score: np.ndarray) -> bool:
    """Whether the scores of items, and they alone, are finite."""
    for row in range(len(item_idx)):
        for j in range(item_idx.shape[1]):
            if np.isfinite(score[row, j]) != (item_idx[row, j] >= 0):
                return False
    return True


@njit(nogil=True, cache=True)
def _is_selection(chosen: np.ndarray, given: np.ndarray) -> bool:
    """Whether every row of ``chosen`` (B, k) holds items of the row of ``given`` (B, K), each once."""
    for row in range(len(chosen)):
        for at in range(chosen.shape[1]):
            item, is_given = chosen[row, at], False
            if item < 0:
                continue
            for before in range(at):
                if chosen[row, before] == item:
                    return False
            for candidate in given[row]:
                is_given |= candidate == item
            if not is_given:
                return False
    return True
