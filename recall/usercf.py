"""User-based collaborative filtering: films of the people whose histories resemble this one.

Herlocker et al., "An algorithmic framework for performing collaborative filtering", SIGIR 1999, on implicit feedback;
the damping of popular items is the inverse user frequency of Breese et al., UAI 1998. That votes fade with the
distance from a shared item follows Garg et al., "Sequence and time aware neighborhood", SIGIR 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numba import njit, prange
from pydantic import Field

from recall.base import DenseRecall
from recall.history import recency_weights, within_half_lives
from recall.unique_events import latest_of_each_item
from reccore import Bundle, ComponentConfig, Holdout, QueryBatch, RunOptions, TrainingData
from reccore.arrays import FloatArray, IntArray, offsets_from_lengths, row_of_each
from reccore.bundle import BundleWriter


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest users of B queries, best first.

    Attributes:
        user: (B, n) int64, -1 = none.
        similarity: (B, n) float32.
        anchor: (B, n) int64 place of the neighbour's event of the item that the query saw last of all they share.
    """

    user: IntArray
    similarity: FloatArray
    anchor: IntArray
    _kept: list[FloatArray] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.user.shape

    def __getitem__(self, rows: slice) -> Neighbours:
        return Neighbours(self.user[rows], self.similarity[rows], self.anchor[rows])

    def scores(self, vote: Callable[[IntArray, FloatArray, IntArray], FloatArray]) -> FloatArray:
        """``vote(user, similarity, anchor)``, computed at the first call: retrieval and scoring need the same."""
        if not self._kept:
            self._kept.append(vote(self.user, self.similarity, self.anchor))
        return self._kept[0]


class UserCFConfig(ComponentConfig):
    """Options of ``UserCF``.

    Attributes:
        neighbours: most similar users who vote.
        item_damping: an item that n of U users have weighs log(1 + U/n)^item_damping when users are compared.
        half_life: exponential decay of the query's history in the comparison; half-life in events, None = no decay.
        vote_half_life: exponential decay of a neighbour's votes with the distance of the event from the neighbour's
            event of the item that the query saw last of all they share; half-life in events, None = no decay.
    """

    neighbours: int = Field(default=200, ge=1)
    item_damping: float = Field(default=1.0, ge=0, le=10)
    half_life: float | None = Field(default=4.0, gt=0)
    vote_half_life: float | None = Field(default=4.0, gt=0)


class UserCF(DenseRecall):
    """The nearest users of the fit split vote for the items of their histories, weighted by similarity.

    With w_i the weight of item i and a_i the recency weight of the query's latest event of i,
    sim(q, v) = Σ_{i∈q∩v} a_i·w_i² / (√Σ_{i∈q} (a_i·w_i)² · √Σ_{i∈v} w_i²), and an item's score is the sum of
    sim(q, v) · 2^(−distance / vote_half_life) over the neighbours v that have it.

    Everything is computed from the query's history, so new users and fresh events need no retraining. ``user_idx``
    only leaves out the user's own row: it would vote for what the user did after a history that is cut short. A query
    that shares no item with any user gets an empty row. A query takes O(users of its items + U + neighbours · their
    events) time; memory is the events of the fit split, twice, and O(U) numbers per thread.
    """

    name = "usercf"
    Config = UserCFConfig
    config: UserCFConfig
    user_offsets: IntArray  # (U+1,)
    user_items: IntArray  # (E,) each item once per user, oldest first

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        events = data.interactions
        kept = latest_of_each_item(events.user_offsets, events.item_idx, events.n_items)
        lengths = np.bincount(events.user_idx[kept], minlength=events.n_users)
        self._set_users(offsets_from_lengths(lengths), events.item_idx[kept], events.n_items)

    def _set_users(self, user_offsets: IntArray, user_items: IntArray, n_items: int) -> None:
        """Keep the histories, and what every query needs of them."""
        self.user_offsets, self.user_items = user_offsets, user_items
        n_users, users = len(user_offsets) - 1, row_of_each(user_offsets)
        counts = np.bincount(user_items, minlength=n_items)
        self._weight = np.log1p(n_users / np.maximum(counts, 1)) ** self.config.item_damping  # (N,)
        self._norm = np.sqrt(np.bincount(users, weights=self._weight[user_items] ** 2, minlength=n_users))  # (U,)
        self._item_events = np.argsort(user_items, kind="stable")  # (E,) places in user_items, by item
        self._item_users = users[self._item_events]
        self._item_offsets = offsets_from_lengths(counts)
        ages = np.arange(int(np.diff(user_offsets).max(initial=0)) + 1)
        half_life = self.config.vote_half_life
        self._decay = np.ones(len(ages)) if half_life is None else np.exp2(-ages / half_life)

    def _prepare(self, queries: QueryBatch) -> Neighbours:
        """The nearest users."""
        queries = within_half_lives(queries, self.config.half_life)
        kept = latest_of_each_item(queries.history_offsets, queries.history_idx, len(self._weight))
        lengths = np.bincount(row_of_each(queries.history_offsets)[kept], minlength=len(queries))
        items = queries.history_idx[kept]
        n_neighbours = min(self.config.neighbours, len(self._norm))
        found = _nearest(
            offsets_from_lengths(lengths),
            items,
            recency_weights(queries, self.config.half_life)[kept] * self._weight[items],
            queries.user_idx,
            self._weight,
            self._norm,
            self._item_offsets,
            self._item_users,
            self._item_events,
            n_neighbours,
        )
        return Neighbours(*found)

    def _scores(self, prepared: Neighbours) -> FloatArray:
        return prepared.scores(self._votes_for_items)

    def _votes_for_items(self, user: IntArray, similarity: FloatArray, anchor: IntArray) -> FloatArray:
        scores: FloatArray = _votes(
            user, similarity, anchor, self.user_offsets, self.user_items, self._decay, len(self._weight)
        )
        scores[scores == 0.0] = -np.inf
        return scores

    def _write(self, bundle: BundleWriter) -> None:
        bundle.arrays("users.npz", {"offsets": self.user_offsets, "items": self.user_items})

    def _read(self, bundle: Bundle) -> None:
        stored = bundle.arrays("users.npz")
        self._set_users(stored["offsets"], stored["items"], len(self.vocabulary.items))


@njit(parallel=True, cache=True)
def _nearest(
    offsets: np.ndarray,
    items: np.ndarray,
    query_weight: np.ndarray,
    own: np.ndarray,
    item_weight: np.ndarray,
    norm: np.ndarray,
    item_offsets: np.ndarray,
    item_users: np.ndarray,
    item_events: np.ndarray,
    n_kept: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(B, ``n_kept``) users by decreasing similarity, ties by index, -1 = none; their similarities and anchors."""
    n_rows, n_users = len(offsets) - 1, len(norm)
    ids = np.full((n_rows, n_kept), -1, dtype=np.int64)
    values = np.zeros((n_rows, n_kept), dtype=np.float32)
    anchors = np.zeros((n_rows, n_kept), dtype=np.int64)
    n_lanes = min(n_rows, 16)
    for lane in prange(n_lanes):
        similarity = np.empty(n_users, dtype=np.float64)
        anchor = np.empty(n_users, dtype=np.int64)
        for row in range(lane, n_rows, n_lanes):
            similarity[:] = 0.0
            length = 0.0
            for at in range(offsets[row + 1] - 1, offsets[row] - 1, -1):  # the latest first: it sets the anchor
                item = items[at]
                length += query_weight[at] ** 2
                for event in range(item_offsets[item], item_offsets[item + 1]):
                    user = item_users[event]
                    if similarity[user] == 0.0:
                        anchor[user] = item_events[event]
                    similarity[user] += query_weight[at] * item_weight[item]
            for user in range(n_users):
                if similarity[user] > 0.0:
                    similarity[user] /= norm[user] * np.sqrt(length)
            if 0 <= own[row] < n_users:
                similarity[own[row]] = 0.0
            best = _greatest(similarity, n_kept)
            for slot in range(len(best)):
                ids[row, slot] = best[slot]
                values[row, slot] = similarity[best[slot]]
                anchors[row, slot] = anchor[best[slot]]
    return ids, values, anchors


@njit(cache=True)
def _greatest(values: np.ndarray, n_kept: int) -> np.ndarray:
    """Places of the greatest positive values, at most ``n_kept``, best first, ties to the lower place; O(U) time."""
    threshold = 0.0
    if n_kept < len(values):
        threshold = np.partition(values, len(values) - n_kept)[len(values) - n_kept]
    above = np.flatnonzero(values > threshold)
    best = above[np.argsort(-values[above], kind="mergesort")]
    if threshold == 0.0:
        return best
    equal = np.flatnonzero(values == threshold)[: n_kept - len(best)]
    return np.concatenate((best, equal))


@njit(parallel=True, cache=True)
def _votes(
    user: np.ndarray,
    similarity: np.ndarray,
    anchor: np.ndarray,
    user_offsets: np.ndarray,
    user_items: np.ndarray,
    decay: np.ndarray,
    n_items: int,
) -> np.ndarray:
    """(B, N) float32 sums of the votes of each row's neighbours."""
    scores = np.zeros((len(user), n_items), dtype=np.float32)
    for row in prange(len(user)):
        for slot in range(user.shape[1]):
            voter = user[row, slot]
            if voter < 0:
                break
            for at in range(user_offsets[voter], user_offsets[voter + 1]):
                scores[row, user_items[at]] += similarity[row, slot] * decay[abs(at - anchor[row, slot])]
    return scores
