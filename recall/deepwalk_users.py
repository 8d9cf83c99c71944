"""DeepWalk by users: films of the people whose vectors lie next to the query's, in the space of the random walks.

Perozzi et al., "DeepWalk: online learning of social representations", KDD 2014; ``deepwalk`` answers from item vectors.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recall.base import DenseRecall, queries_per_chunk
from recall.deepwalk import WalkOptions, walk_sequences
from recall.history import history_matrix, weighted_mean
from recall.skipgram import train_skipgram
from reccore import Bundle, DataError, Holdout, QueryBatch, RunOptions, TrainingData
from reccore.arrays import FloatArray, IntArray, unit_rows
from reccore.bundle import BundleWriter


class DeepWalkUsersConfig(WalkOptions):
    """Options of ``DeepWalkUsers``, beside those of the walks and of skip-gram.

    Attributes:
        neighbours: nearest users who vote.
    """

    neighbours: int = Field(default=30, ge=1)


class DeepWalkUsers(DenseRecall):
    """The nearest users of the fit split vote for the items of their histories, weighted by cosine.

    Users and items are nodes of the same walks and have input vectors in one space. A query is the recency-weighted
    mean of its items' vectors, so that a new user is like any other, and ``user_idx`` only leaves out the user's own
    row. An item's score is the sum of the positive cosines of the neighbours who have it. A query without an item
    that was walked over gets an empty row. A query takes O(U·D + events of the neighbours) time; memory is the events
    of the fit split and (N + U)·D numbers. Queries are compared with all users a block at a time, whose cosines take
    64 MB and three times as much while the nearest are chosen, or one row where U alone needs more.
    """

    name: ClassVar[str] = "deepwalk_users"
    Config: ClassVar[type[DeepWalkUsersConfig]] = DeepWalkUsersConfig
    config: DeepWalkUsersConfig
    item_vectors: FloatArray  # (N, D)
    user_vectors: FloatArray  # (U, D) of length 1, zero for a user without events
    histories: sparse.csr_matrix  # (U, N) ones

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        events = data.interactions
        if len(events.item_idx) == 0:
            raise DataError(f"{self.name} needs at least one event to learn from")
        label = self.name if options.progress else None
        inputs, _ = train_skipgram(walk_sequences(events, self.config, options), self.config, options.seed, label)
        self.item_vectors, self.user_vectors = inputs[: events.n_items], unit_rows(inputs[events.n_items :])
        self.histories = events.to_csr().astype(np.float32)
        self.histories.data[:] = 1.0

    def _prepare(self, queries: QueryBatch) -> sparse.csr_matrix:
        """(B, U) cosines of the nearest users."""
        history = history_matrix(queries, len(self.item_vectors), self.config.half_life)
        query = unit_rows(weighted_mean(history, self.item_vectors))
        n, step = min(self.config.neighbours, len(self.user_vectors)), queries_per_chunk(len(self.user_vectors))
        nearest: IntArray = np.empty((len(queries), n), dtype=np.int64)
        votes: FloatArray = np.empty((len(queries), n), dtype=np.float32)
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            nearest[rows], votes[rows] = self._neighbours(query[rows], queries.user_idx[rows], n)
        offsets = n * np.arange(len(queries) + 1)
        shape = len(queries), len(self.user_vectors)
        return sparse.csr_matrix((votes.ravel(), nearest.ravel(), offsets), shape=shape)

    def _neighbours(self, query: FloatArray, own: IntArray, n: int) -> tuple[IntArray, FloatArray]:
        """(b, n) nearest users of query vectors (b, D), and their positive cosines; own rows (b,) have cosine 0."""
        cosine = query @ self.user_vectors.T
        rows = np.flatnonzero((own >= 0) & (own < cosine.shape[1]))
        cosine[rows, own[rows]] = 0.0
        nearest = np.argpartition(-cosine, n - 1, axis=1)[:, :n]
        return nearest, np.maximum(np.take_along_axis(cosine, nearest, axis=1), 0.0)

    def _scores(self, prepared: sparse.csr_matrix) -> FloatArray:
        scores: FloatArray = (prepared @ self.histories).toarray().astype(np.float32, copy=False)
        scores[scores == 0.0] = -np.inf
        return scores

    def _write(self, bundle: BundleWriter) -> None:
        bundle.arrays("vectors.npz", {"items": self.item_vectors, "users": self.user_vectors})
        bundle.arrays("histories.npz", {"offsets": self.histories.indptr, "items": self.histories.indices})

    def _read(self, bundle: Bundle) -> None:
        vectors, histories = bundle.arrays("vectors.npz"), bundle.arrays("histories.npz")
        self.item_vectors, self.user_vectors = vectors["items"], vectors["users"]
        ones = np.ones(len(histories["items"]), dtype=np.float32)
        shape = len(self.user_vectors), len(self.item_vectors)
        self.histories = sparse.csr_matrix((ones, histories["items"], histories["offsets"]), shape=shape)
