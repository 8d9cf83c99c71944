"""What greedy rerankers share: relevance against a formula of whole arrays."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from rerank.greedy import relevance_of

LOWEST = np.finfo(np.float32).min


def by_arrays(score: np.ndarray, mask: np.ndarray, how: str) -> np.ndarray:
    """A score above an earlier one counts as equal to it; the lowest float32 is no score."""
    if how == "rank":
        n = np.maximum(mask.sum(axis=1, keepdims=True) - 1, 1)
        return np.where(mask, 1.0 - np.arange(mask.shape[1]) / n, 0.0)
    usable = mask & (score > LOWEST)
    falling = np.minimum.accumulate(np.where(usable, score, np.inf).astype(np.float64), axis=1)
    found = np.zeros(score.shape)
    for row in range(len(score)):
        own = falling[row, usable[row]]
        if len(own):
            spread = own.max() - own.min()
            found[row, usable[row]] = (own - own.min()) / spread if spread > 0 else 1.0
    return found


@pytest.mark.parametrize("how", ["min_max", "rank"])
def test_relevance_equals_a_formula_of_whole_arrays(how: Literal["min_max", "rank"]) -> None:
    rng = np.random.default_rng(0)
    score = np.sort(rng.standard_normal((6, 9)).astype(np.float32), axis=1)[:, ::-1].copy()
    score[0, 4] = 9.0  # out of order, as of a film that a rule has moved
    score[1, 5:] = LOWEST
    score[2] = LOWEST
    score[3] = 2.5
    lengths = np.array([9, 9, 9, 9, 4, 0])
    mask = np.arange(9) < lengths[:, None]
    score[~mask] = -np.inf
    found = relevance_of(score, mask, how)
    np.testing.assert_allclose(found, by_arrays(score, mask, how), atol=1e-15)
    assert (np.diff(found, axis=1)[:5] <= 1e-15).all()
