"""What a component must return for the chain to go on with it, checked where failures are skipped."""

from __future__ import annotations

import numpy as np

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
    mask = found.mask
    if (np.isfinite(found.score) != mask).any():
        raise ValueError("it returned scores that are not finite")
    if found.item_idx.max(initial=-1) >= n_items:
        raise ValueError(f"it returned item {found.item_idx.max()} of a catalogue of {n_items}")
    if role == "score" and RANK_SCORE in found.features:
        scored = np.isfinite(found.features[RANK_SCORE]).any(axis=1)
        if (mask.any(axis=1) & ~scored).any():
            raise ValueError("it has no finite score for any candidate")
    if role == "select":
        _check_selection(found, before)


def _check_selection(found: Candidates, before: Candidates) -> None:
    for chosen, given in zip(found.item_idx.tolist(), before.item_idx.tolist(), strict=True):
        items = [item for item in chosen if item >= 0]
        if len(set(items)) < len(items) or not set(items) <= set(given):
            raise ValueError("it returned an item twice, or one that is no candidate")
