"""Item-based collaborative filtering: films watched by the same people as the films of the history.

Sarwar et al., "Item-based collaborative filtering recommendation algorithms", WWW 2001; the damping of
active users is the inverse user frequency of Breese et al., UAI 1998.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from pydantic import Field
from scipy import sparse

from recall.base import BaseRecall
from recall.history import history_matrix
from reccore import (
    Bundle,
    Candidates,
    ComponentConfig,
    Exclusions,
    Holdout,
    Interactions,
    QueryBatch,
    RunOptions,
    TrainingData,
    top_k,
)
from reccore.bundle import BundleWriter
from reccore.progress import track

ITEMS_PER_BLOCK = 2048


class ItemCFConfig(ComponentConfig):
    """Options of ``ItemCF``.

    Attributes:
        neighbours: similar items kept for each item.
        user_damping: a user with n events counts log(1 + n)^−user_damping in every co-occurrence.
        shrinkage: added to the denominator; pulls similarities that rest on few users towards 0.
        history_cap: only the latest so many events of a user form pairs, which bounds the quadratic cost.
        half_life: at retrieval an event counts half for every so many later ones; None counts all alike.
    """

    neighbours: int = Field(default=100, ge=1)
    user_damping: float = Field(default=1.0, ge=0, le=10)
    shrinkage: float = Field(default=0.0, ge=0)
    history_cap: int = Field(default=500, ge=2)
    half_life: float | None = Field(default=4.0, gt=0)


class ItemCF(BaseRecall):
    """Cosine between the columns of the weighted user–item matrix, top neighbours of each item.

    With w_u the damped weight of user u, sim(i, j) = Σ_{u∈i∩j} w_u / (√(Σ_{u∈i} w_u · Σ_{u∈j} w_u) + shrinkage).
    Fitting takes Σ_u min(n_u, history_cap)² multiply-adds and memory for one dense row per thread; the
    score of an item is the recency-weighted sum of its similarities to the history. An empty history, or
    one whose films have no neighbours, gets an empty row.
    """

    name = "itemcf"
    Config = ItemCFConfig
    config: ItemCFConfig
    similarity: sparse.csr_matrix  # (N, N), row i = neighbours of i

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        self.similarity = item_similarity(data.interactions, self.config, progress=options.progress)

    def _retrieve(self, queries: QueryBatch, k: int, exclude: Exclusions) -> Candidates:
        n_items = self.similarity.shape[0]
        scores = (history_matrix(queries, n_items, self.config.half_life) @ self.similarity).toarray()
        scores[scores == 0.0] = -np.inf  # no evidence is not an offer
        exclude.mask_scores(scores)
        return top_k(scores, k)

    def _write(self, bundle: BundleWriter) -> None:
        matrix = self.similarity
        arrays = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr}
        bundle.arrays("similarity.npz", arrays)

    def _read(self, bundle: Bundle) -> None:
        stored = bundle.arrays("similarity.npz")
        n_items = len(self.vocabulary.items)
        self.similarity = sparse.csr_matrix(
            (stored["data"], stored["indices"], stored["indptr"]), shape=(n_items, n_items)
        )


def item_similarity(interactions: Interactions, config: ItemCFConfig, *, progress: bool = False) -> sparse.csr_matrix:
    """(N, N) float32 CSR with at most ``neighbours`` positive entries per row, none on the diagonal."""
    events = interactions.latest(config.history_cap).to_csr()
    events.data[:] = 1.0
    n_events = np.diff(events.indptr)
    weight = (np.log1p(np.maximum(n_events, 1)) ** -config.user_damping).astype(np.float32)
    norm = np.sqrt(np.asarray(events.T @ weight, dtype=np.float32))
    by_item = events.tocsc()
    blocks = range(0, interactions.n_items, ITEMS_PER_BLOCK)
    parts = []
    for start in track(blocks, "item similarities", unit="blocks", enabled=progress):
        stop = min(start + ITEMS_PER_BLOCK, interactions.n_items)
        parts.append(
            _block_neighbours(
                start,
                stop,
                by_item.indptr,
                by_item.indices,
                events.indptr,
                events.indices,
                weight,
                norm,
                config.shrinkage,
                min(config.neighbours, max(interactions.n_items - 1, 1)),
            )
        )
    ids = np.concatenate([part[0] for part in parts])  # (N, neighbours), -1 = none
    values = np.concatenate([part[1] for part in parts])
    kept = ids >= 0
    indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    shape = (interactions.n_items, interactions.n_items)
    matrix = sparse.csr_matrix((values[kept], ids[kept].astype(np.int32), indptr), shape=shape)
    matrix.sort_indices()
    return matrix


@njit(parallel=True, cache=True)
def _block_neighbours(
    start: int,
    stop: int,
    item_offsets: np.ndarray,
    item_users: np.ndarray,
    user_offsets: np.ndarray,
    user_items: np.ndarray,
    weight: np.ndarray,
    norm: np.ndarray,
    shrinkage: float,
    n_neighbours: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of items start…stop-1: row-wise sparse product with the top-N taken before the next row."""
    ids = np.full((stop - start, n_neighbours), -1, dtype=np.int64)
    values = np.zeros((stop - start, n_neighbours), dtype=np.float32)
    n_lanes = 16
    for lane in prange(n_lanes):
        total = np.zeros(len(norm), dtype=np.float32)
        touched = np.empty(len(norm), dtype=np.int64)
        for row in range(lane, stop - start, n_lanes):
            item = start + row
            n_touched = 0
            for at in range(item_offsets[item], item_offsets[item + 1]):
                user = item_users[at]
                for other_at in range(user_offsets[user], user_offsets[user + 1]):
                    other = user_items[other_at]
                    if total[other] == 0.0:
                        touched[n_touched] = other
                        n_touched += 1
                    total[other] += weight[user]
            found = np.sort(touched[:n_touched])
            score = np.empty(n_touched, dtype=np.float32)
            for slot in range(n_touched):
                other = found[slot]
                same = other == item
                score[slot] = 0.0 if same else total[other] / (norm[item] * norm[other] + shrinkage)
                total[other] = 0.0
            # Stable, so that equal similarities keep the lower item index.
            order = np.argsort(-score, kind="mergesort")[:n_neighbours]
            for slot in range(len(order)):
                if score[order[slot]] > 0.0:
                    ids[row, slot] = found[order[slot]]
                    values[row, slot] = score[order[slot]]
    return ids, values
