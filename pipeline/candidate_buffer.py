"""Candidates of many queries in arrays that are allocated once, so that joining them takes no second copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from reccore import Candidates


class CandidateBuffer:
    """Rows of candidates, added batch by batch; the same as ``reccore.candidates.concatenate`` of the batches.

    Memory is taken as rows are written, not by ``capacity``: the system gives pages when they are touched.

    Args:
        capacity: greatest number of rows.
        k: columns; narrower batches are padded, wider ones cut.
    """

    def __init__(self, capacity: int, k: int) -> None:
        self._shape, self._n = (capacity, k), 0
        self._item_idx = np.empty(self._shape, dtype=np.int64)
        self._score = np.empty(self._shape, dtype=np.float32)
        self._features: dict[str, npt.NDArray[np.float32]] = {}

    def add(self, candidates: Candidates) -> None:
        """Append rows."""
        start, stop = self._n, self._n + len(candidates)
        for name in candidates.features:  # in their order: rankers that draw by column depend on it
            if name not in self._features:
                self._features[name] = np.empty(self._shape, dtype=np.float32)
                self._features[name][:start] = np.nan
        _write(self._item_idx[start:stop], candidates.item_idx, -1)
        _write(self._score[start:stop], candidates.score, -np.inf)
        for name, rows in self._features.items():
            _write(rows[start:stop], candidates.features.get(name), np.nan)
        self._n = stop

    def candidates(self) -> Candidates:
        """The rows added so far, sharing the buffer's memory."""
        rows = slice(0, self._n)
        features = {name: values[rows] for name, values in self._features.items()}
        return Candidates(self._item_idx[rows], self._score[rows], features)


def _write(rows: npt.NDArray[Any], values: npt.NDArray[Any] | None, fill: float) -> None:
    """Set ``rows`` (n, K) to the values (n, any width) and the rest to ``fill``."""
    width = 0 if values is None else min(values.shape[1], rows.shape[1])
    if values is not None:
        rows[:, :width] = values[:, :width]
    rows[:, width:] = fill
