"""Recommended items: one row per query, the best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from reccore.arrays import BoolArray, FloatArray, IntArray

LOWEST = np.float32(np.finfo(np.float32).min)
"""Score of an item whose own is not finite."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """B rows of at most K items. **Column order is the ranking.**

    Attributes:
        item_idx: (B, K) int64, -1 = empty; valid slots come first, and a row holds an item at most once.
        score: (B, K) float32, finite for real items, −inf for padding.
        features: name → (B, K) float32 for what later stages need, such as ``recall_score.<channel>``
            and ``recall_rank.<channel>`` (from 1); NaN where that channel did not offer the item.
    """

    item_idx: IntArray
    score: FloatArray
    features: Mapping[str, FloatArray] = field(default_factory=dict)

    @classmethod
    def _unchecked(cls, item_idx: IntArray, score: FloatArray, features: Mapping[str, FloatArray]) -> Candidates:
        """Candidates of arrays whose shapes are known to agree: the checks take longer than one query's arrays."""
        candidates = object.__new__(cls)
        candidates.__dict__.update(item_idx=item_idx, score=score, features=features)
        return candidates

    def __post_init__(self) -> None:
        if self.item_idx.ndim != 2 or self.item_idx.shape != self.score.shape:
            raise ValueError(f"item_idx {self.item_idx.shape} and score {self.score.shape} must both be (B, K)")
        self._check_features(self.features)

    def _check_features(self, features: Mapping[str, FloatArray]) -> None:
        shape = self.item_idx.shape
        for name, values in features.items():
            if values.shape != shape:
                raise ValueError(f"feature {name} must have shape {shape}, got {values.shape}")

    @classmethod
    def empty(cls, n_queries: int, k: int = 0) -> Candidates:
        """Rows without any item."""
        return cls(np.full((n_queries, k), -1, dtype=np.int64), np.full((n_queries, k), -np.inf, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.item_idx)

    @property
    def k(self) -> int:
        return int(self.item_idx.shape[1])

    @cached_property
    def mask(self) -> BoolArray:
        """(B, K), True on real items."""
        return self.item_idx >= 0

    @cached_property
    def counts(self) -> IntArray:
        """(B,) real items of each row."""
        if len(self) == 1:  # a fifth of the time
            return np.array([np.count_nonzero(self.mask)], dtype=np.int64)
        counts: IntArray = self.mask.sum(axis=1, dtype=np.int64)
        return counts

    @cached_property
    def is_full(self) -> bool:
        """Whether no slot is empty."""
        return bool(self.mask.all())

    @cached_property
    def largest_item(self) -> int:
        """The greatest item index; -1 without items."""
        return int(self.item_idx.max(initial=-1))

    @property
    def place_scores(self) -> FloatArray:
        """(B, K) 0, −1, −2, …: scores of the columns' own order."""
        return np.broadcast_to(-np.arange(self.k, dtype=np.float32), self.item_idx.shape)

    def validate(self) -> None:
        """Check what the constructor does not check, because it costs time.

        Raises:
            ValueError: an empty slot before a valid one, an item twice in one row, a score that is not finite on an
                item or not −inf on padding.
        """
        mask = self.mask
        if np.any(mask[:, 1:] & ~mask[:, :-1]):
            raise ValueError("valid slots must come first")
        if not np.isfinite(self.score[mask]).all() or not np.isneginf(self.score[~mask]).all():
            raise ValueError("scores must be finite on items and −inf on padding")
        ordered = np.sort(self.item_idx, axis=1)
        if np.any((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)):
            raise ValueError("an item occurs twice in one row")

    def head(self, k: int) -> Candidates:
        """The first ``k`` columns."""
        if k >= self.k:
            return self
        features = {name: values[:, :k] for name, values in self.features.items()}
        return self._unchecked(self.item_idx[:, :k], self.score[:, :k], features)

    def take(self, columns: IntArray) -> Candidates:
        """Choose columns of every row: ``columns`` (B, k) are column numbers, -1 = an empty slot."""
        empty = columns < 0
        # One flat index for all arrays: ``take_along_axis`` would make two for each.
        at = np.where(empty, 0, columns) + self.k * np.arange(len(self), dtype=np.int64)[:, None]
        if not empty.any():
            features = {name: values.take(at) for name, values in self.features.items()}
            return self._unchecked(self.item_idx.take(at), self.score.take(at), features)

        def gather(values: npt.NDArray[Any], fill: float) -> npt.NDArray[Any]:
            taken = values.take(at)
            taken[empty] = fill
            return taken

        features = {name: gather(values, np.nan) for name, values in self.features.items()}
        return self._unchecked(gather(self.item_idx, -1), gather(self.score, -np.inf), features)

    def select(self, rows: IntArray | slice) -> Candidates:
        """The given rows."""
        features = {name: values[rows] for name, values in self.features.items()}
        return self._unchecked(self.item_idx[rows], self.score[rows], features)

    def keep(self, wanted: BoolArray) -> Candidates:
        """Only the slots where ``wanted`` (B, K) is True, moved to the left in the same order; K stays."""
        if wanted.shape != self.item_idx.shape:
            raise ValueError(f"wanted {wanted.shape} must have the shape of the candidates, {self.item_idx.shape}")
        if wanted.all():
            return self
        wanted = wanted & self.mask
        order = np.argsort(~wanted, axis=1, kind="stable")
        return self.take(np.where(np.take_along_axis(wanted, order, axis=1), order, -1))

    def with_features(self, features: Mapping[str, FloatArray]) -> Candidates:
        """The same candidates with features added or replaced."""
        self._check_features(features)
        candidates = self._unchecked(self.item_idx, self.score, {**self.features, **features})
        for name in self.__dict__.keys() & _OF_ITEMS:
            candidates.__dict__[name] = self.__dict__[name]
        return candidates

    def reordered(self, score: FloatArray) -> Candidates:
        """Sorted by new scores (B, K), best first, ties by ``item_idx``; non-finite scores of items sort last.

        An item whose new score is not finite gets the lowest float32 as its score.
        """
        with np.errstate(over="ignore"):  # a float64 beyond float32 counts as infinite
            usable = np.asarray(score, dtype=np.float32)
        usable = np.where(np.isfinite(usable), usable, LOWEST)
        usable = np.where(self.mask, usable, np.float32(-np.inf))
        order = np.lexsort((self.item_idx, -usable), axis=1)
        if not self.is_full:
            order = np.where(np.take_along_axis(self.mask, order, axis=1), order, -1)
        return replace(self, score=usable).take(order)


_OF_ITEMS = frozenset(("mask", "counts", "is_full", "largest_item"))
"""Cached properties of the items alone."""


def top_k(scores: FloatArray, k: int) -> Candidates:
    """The exact best ``k`` items of dense scores (B, N), ties by item index; −inf entries are never offered.

    Score and index are packed into one int64 ordered by (score, −index), so that a partition of these integers breaks
    ties by item index. Returns (B, min(k, N)); takes O(B·N) time and 8·B·N bytes.

    Raises:
        ValueError: a NaN or +inf among the scores.
    """
    n_queries, n_items = scores.shape
    k = min(k, n_items)
    if k == 0:
        return Candidates.empty(n_queries)
    scores = np.ascontiguousarray(scores, dtype=np.float32) + np.float32(0.0)  # −0.0 becomes 0.0
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise ValueError("scores must be finite or −inf")
    bits = scores.view(np.int32)
    ordered = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))  # signed order equals float order
    keys = (ordered.astype(np.int64) << 32) | (0xFFFFFFFF - np.arange(n_items, dtype=np.int64))
    if k < n_items:
        keys = np.partition(keys, n_items - k, axis=1)[:, n_items - k :]
    keys = np.sort(keys, axis=1)[:, ::-1]
    item_idx = 0xFFFFFFFF - (keys & 0xFFFFFFFF)
    score = np.take_along_axis(scores, item_idx, axis=1)
    return Candidates(np.where(np.isneginf(score), -1, item_idx), score)


def concatenate(parts: Sequence[Candidates], k: int) -> Candidates:
    """Stack batches into one batch of exactly ``k`` columns, padding narrower ones.

    Features that only some parts have are NaN in the others.
    """
    if not parts:
        return Candidates.empty(0, k)
    if len(parts) == 1 and parts[0].k == k:
        return parts[0]
    names = list(dict.fromkeys(name for part in parts for name in part.features))

    def stack(values: list[FloatArray | IntArray | None], fill: float, dtype: type) -> Any:
        rows = []
        for part, block in zip(parts, values, strict=True):
            wide: npt.NDArray[Any] = np.full((len(part), k), fill, dtype=dtype)
            if block is not None:
                wide[:, : block.shape[1]] = block[:, :k]
            rows.append(wide)
        return np.concatenate(rows)

    return Candidates(
        item_idx=stack([part.item_idx for part in parts], -1, np.int64),
        score=stack([part.score for part in parts], -np.inf, np.float32),
        features={name: stack([part.features.get(name) for part in parts], np.nan, np.float32) for name in names},
    )


def ranks_of_targets(scores: FloatArray, target_idx: IntArray) -> IntArray:
    """(B,) zero-based rank of one target per row of dense scores (B, N), ties by item index as in ``top_k``.

    A target of −1, or one with the score −inf, gets rank N, because it is never offered.
    """
    n_queries, n_items = scores.shape
    known = target_idx >= 0
    at = np.where(known, target_idx, 0)
    own = scores[np.arange(n_queries), at][:, None]
    earlier = np.arange(n_items)[None, :] < at[:, None]
    ranks = ((scores > own) | ((scores == own) & earlier)).sum(axis=1, dtype=np.int64)
    result: IntArray = np.where(known & ~np.isneginf(own[:, 0]), ranks, n_items)
    return result
