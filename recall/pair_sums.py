"""Sums over pairs of events in the same histories, kept between updates, and the similarities that follow from them.

A similarity of items is a sum over pairs of events, divided by numbers of each of the two items. The divisors change
with every event, and a channel stores only the greatest similarities of each item, so an update needs the sums
themselves, of all pairs. An event changes the sums of its own user's history alone: an update subtracts the old
histories of the users with new events and adds the new ones, in float64, and the result is that of a full count.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from loguru import logger
from numba import njit
from scipy import sparse

from recall.cooccurrence import ITEMS_PER_BLOCK, LEAST_POSITIVE
from recall.greatest import greatest_in_blocks
from recall.similarity import ItemSimilarityRecall
from recall.topk import run_rows
from recall.topk_kernels import item_of, score_of, scratch, select
from reccore import Bundle, Interactions, RunOptions, TrainingData, write_bundle
from reccore.arrays import IntArray, row_of_each
from reccore.bundle import read_manifest
from reccore.changes import changed_users

MAX_PAIRS = 100_000_000
"""More pairs of items than this, of 12 bytes each on disk and some 40 in memory, are not kept."""
_ENTRIES_PER_BLOCK = 16_000_000
_ROUNDING = 1e-10

Reals: TypeAlias = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class PairHistories:
    """Histories whose pairs are summed: CSR offsets (U+1,), items (E,), and the weight (U,) of a user's pairs."""

    offsets: IntArray
    items: IntArray
    weight: Reals


@dataclass(frozen=True, eq=False)
class PairRule:
    """Which pairs of events count, and how much.

    Attributes:
        back, ahead: greatest distance of the second event before and after the first, in events.
        by_distance: (max(back, ahead) + 1,) weight of each distance.
    """

    back: int
    ahead: int
    by_distance: Reals


class PairSimilarityRecall(ItemSimilarityRecall):
    """sim(i, j) = Σ w_u · by_distance_d / (left_i · right_j + shrinkage), over pairs of events of two items i and j.

    Subclasses compute the matrix of a fit in ``_count``, and say what it consists of.
    """

    _updated: sparse.csr_matrix | None = None

    @abstractmethod
    def _count(self, data: TrainingData, options: RunOptions) -> sparse.csr_matrix:
        """(N, N) float32 similarities."""

    @abstractmethod
    def _histories(self, events: Interactions) -> PairHistories: ...

    @abstractmethod
    def _rule(self) -> PairRule: ...

    @abstractmethod
    def _divisors(self, events: Interactions) -> tuple[Reals, Reals]:
        """left (N,) and right (N,), positive."""

    @property
    def _shrinkage(self) -> float:
        return 0.0

    @property
    @abstractmethod
    def _n_kept(self) -> int:
        """Entries of a row."""

    def _similarity(self, data: TrainingData, options: RunOptions) -> sparse.csr_matrix:
        return self._count(data, options) if self._updated is None else self._updated

    def update(
        self,
        data: TrainingData,
        before: Interactions,
        options: RunOptions | None = None,
        *,
        memory: Path | None = None,
    ) -> Self:
        """Equal to a fit up to rounding.

        The pairs of users with new events are counted, and every kept sum is divided again. The first update counts
        all events once; where they have more than ``MAX_PAIRS`` pairs of items, every update is a fit.
        """
        if memory is None:
            return self.refit(data, options)
        sums = self._sums(data.interactions, before, memory)
        if sums is None:
            return self.refit(data, options)
        left, right = self._divisors(data.interactions)
        again = type(self)(self.config)
        again._updated = greatest(sums, left, right, self._shrinkage, self._n_kept)
        again.fit(data, options=options)
        again._updated = None
        return again

    def _sums(self, events: Interactions, before: Interactions, memory: Path) -> sparse.csr_matrix | None:
        """(N, N) float64 sums of all pairs, from those kept in ``memory``, where the new ones are stored."""
        wanted = self._identity(events)
        kept = KeptSums.read(memory, wanted)
        if kept is not None:  # of an update that was killed later
            return kept
        kept = KeptSums.read(memory, self._identity(before))
        if kept is None:
            logger.info(
                "{}: counting the pairs of {:,} events, for this update and later ones", self.name, events.n_events
            )
            sums = self._pairs_of(events)
        else:
            sums = self._changed(kept, events, before)
        if sums is not None:
            KeptSums.write(memory, sums, wanted)
        return sums

    def _changed(self, kept: sparse.csr_matrix, events: Interactions, before: Interactions) -> sparse.csr_matrix | None:
        n_items = events.n_items
        before = before.resized(events.n_users, n_items)
        changed = changed_users(before, events)
        old, new = (part.first(np.where(changed, part.lengths, 0)) for part in (before, events))
        added, removed = self._pairs_of(new), self._pairs_of(old)
        if added is None or removed is None:
            return None
        kept.resize((n_items, n_items))
        sums: sparse.csr_matrix = (kept + (added - removed)).tocsr()
        # A pair that is in no history any more has a sum that differs from 0 by rounding.
        histories = self._histories(new)
        weights = histories.weight[np.diff(histories.offsets) > 0]
        by_distance = self._rule().by_distance
        least = 0.5 * min(float(weights.min(initial=np.inf)), self._least_weight(before)) * float(by_distance.min())
        if least < _ROUNDING * float(sums.data.max(initial=0.0)):
            logger.info("{}: pair weights differ too much to be updated; counting all events", self.name)
            return self._pairs_of(events)
        sums.data[sums.data < least] = 0.0
        sums.eliminate_zeros()
        return sums

    def _least_weight(self, events: Interactions) -> float:
        return float(self._histories(events).weight.min(initial=np.inf))

    def _pairs_of(self, events: Interactions) -> sparse.csr_matrix | None:
        return pair_sums(self._histories(events), self._rule(), events.n_items)

    def _identity(self, events: Interactions) -> str:
        facts = [self.name, self.config.model_dump(mode="json"), events.fingerprint]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class KeptSums:
    """Sums of pairs in a bundle of their own, which no channel needs to answer."""

    KIND: ClassVar[str] = "pair_sums"

    @classmethod
    def read(cls, folder: Path, identity: str) -> sparse.csr_matrix | None:
        """The sums of those events and settings; None if others are stored, or none."""
        manifest = read_manifest(folder)
        if manifest is None or manifest.get("identity") != identity:
            return None
        stored = Bundle.open(folder, kind=cls.KIND).arrays("sums.npz")
        n = len(stored["indptr"]) - 1
        return sparse.csr_matrix((stored["data"], stored["indices"], stored["indptr"]), shape=(n, n))

    @classmethod
    def write(cls, folder: Path, sums: sparse.csr_matrix, identity: str) -> None:
        with write_bundle(folder, kind=cls.KIND, component=cls.KIND, identity=identity) as bundle:
            parts = {"data": sums.data, "indices": sums.indices, "indptr": sums.indptr}
            bundle.arrays("sums.npz", parts)


def pair_sums(histories: PairHistories, rule: PairRule, n_items: int) -> sparse.csr_matrix | None:
    """(N, N) float64 Σ w_u · by_distance_d over the pairs of events of i and j ≠ i; None beyond ``MAX_PAIRS`` entries.

    O(E · (back + ahead)) time.
    """
    items = histories.items.astype(np.int32, copy=False)
    places = np.argsort(items, kind="stable")
    counts = np.bincount(items, minlength=n_items)
    item_offsets = np.concatenate([[0], np.cumsum(counts)])
    users = row_of_each(histories.offsets)[places]
    most = np.minimum(counts * (rule.back + rule.ahead), max(n_items - 1, 0))  # (N,) entries of each row at most
    lengths, columns, values, total = [], [], [], 0
    for start, stop in _blocks(most):
        size = int(most[start:stop].sum())
        of_block = np.empty(stop - start, dtype=np.int64), np.empty(size, dtype=np.int32), np.empty(size)
        end = _sum_block(
            start,
            item_offsets[start : stop + 1],
            places,
            users,
            histories.offsets,
            items,
            histories.weight.astype(np.float64),
            rule.by_distance.astype(np.float64),
            rule.back,
            rule.ahead,
            n_items,
            *of_block,
        )
        total += end
        if total > MAX_PAIRS:
            logger.info("over {:,} pairs of items are not kept; the channel is fitted anew", MAX_PAIRS)
            return None
        lengths.append(of_block[0])
        columns.append(of_block[1][:end].copy())
        values.append(of_block[2][:end].copy())
    indptr = np.concatenate([[0], np.cumsum(np.concatenate([*lengths, np.zeros(0, dtype=np.int64)]))])
    data = np.concatenate([*values, np.zeros(0)])
    indices = np.concatenate([*columns, np.zeros(0, dtype=np.int32)])
    return sparse.csr_matrix((data, indices, indptr), shape=(n_items, n_items))


def greatest(sums: sparse.csr_matrix, left: Reals, right: Reals, shrinkage: float, kept: int) -> sparse.csr_matrix:
    """(N, N) float32 CSR of the greatest ``kept`` of sums_ij / (left_i · right_j + shrinkage) of each row.

    Ties go to the lower item. O(entries) time.
    """
    n_items = sums.shape[0]
    kept = min(kept, max(n_items - 1, 1))
    left, right = left.astype(np.float64), right.astype(np.float64)

    def best(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        found = np.full((stop - start, kept), -1, dtype=np.int32)
        values = np.empty((stop - start, kept), dtype=np.float32)
        offsets = sums.indptr[start : stop + 1].astype(np.int64)
        run_rows(_greatest_block, start, offsets, sums.indices, sums.data, left, right, shrinkage, values, found)
        return found, values

    return greatest_in_blocks(best, n_items, ITEMS_PER_BLOCK, None)


def _blocks(most: IntArray) -> Iterator[tuple[int, int]]:
    """Cut rows of at most so many entries into blocks of bounded memory."""
    ends, start = np.cumsum(most), 0
    while start < len(most):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + _ENTRIES_PER_BLOCK, side="right")), start + 1)
        yield start, stop
        start = stop


@njit(nogil=True, cache=True)
def _sum_block(
    first: int,
    item_offsets: np.ndarray,
    places: np.ndarray,
    users: np.ndarray,
    user_offsets: np.ndarray,
    items: np.ndarray,
    weight: np.ndarray,
    by_distance: np.ndarray,
    back: int,
    ahead: int,
    n_items: int,
    lengths: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
) -> int:
    """Fill the rows from ``first`` on with ascending columns; returns the number of entries."""
    total = np.zeros(n_items, dtype=np.float64)
    touched = np.empty(n_items, dtype=np.int32)
    end = 0
    for row in range(len(lengths)):
        item, n = first + row, 0
        for at in range(item_offsets[row], item_offsets[row + 1]):
            here, user = places[at], users[at]
            start, stop = max(user_offsets[user], here - back), min(user_offsets[user + 1], here + ahead + 1)
            for near in range(start, stop):
                other = items[near]
                if other == item:
                    continue
                if total[other] == 0.0:
                    touched[n] = other
                    n += 1
                total[other] += weight[user] * by_distance[abs(near - here)]
        found = np.sort(touched[:n])
        for slot in range(n):
            columns[end + slot] = found[slot]
            values[end + slot] = total[found[slot]]
            total[found[slot]] = 0.0
        lengths[row] = n
        end += n
    return end


@njit(nogil=True, cache=True)
def _greatest_block(
    first: int,
    offsets: np.ndarray,
    columns: np.ndarray,
    sums: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    shrinkage: float,
    values: np.ndarray,
    ids: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    n_rows, n_kept = ids.shape
    excluded = np.zeros(len(right), dtype=np.bool_)
    position, sample, keys = scratch(n_kept)
    for row in range(part, n_rows, n_parts):
        start, end = offsets[row], offsets[row + 1]
        score = np.empty(end - start, dtype=np.float32)
        for at in range(start, end):
            score[at - start] = sums[at] / (left[first + row] * right[columns[at]] + shrinkage)
        n = select(score, columns[start:end], n_kept, 0, LEAST_POSITIVE, excluded, position, sample, keys)
        for slot in range(n):
            ids[row, slot] = item_of(keys[slot])
            values[row, slot] = score_of(keys[slot])
