"""The item–item graph that item vectors are propagated over.

Symmetric normalisation as in Kipf & Welling, "Semi-supervised classification with graph convolutional networks",
ICLR 2017, without self-loops as in LightGCN (He et al., SIGIR 2020): the propagation keeps the vector itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recall.cooccurrence import nearest_items
from reccore import Interactions
from reccore.arrays import FloatArray, IntArray, check_offsets


@dataclass(frozen=True, eq=False)
class ItemGraph:
    """Rows of Â = D^-1/2 A D^-1/2 over the N items of the catalogue, symmetric and without a diagonal.

    Attributes:
        indptr: (N+1,) int64 CSR offsets.
        indices: (E,) int64 neighbours of every item, increasing; each edge appears once from either end.
        weights: (E,) float32, positive.
    """

    indptr: IntArray
    indices: IntArray
    weights: FloatArray

    def __post_init__(self) -> None:
        check_offsets("indptr", self.indptr, len(self.indices))
        if self.weights.shape != self.indices.shape:
            raise ValueError(f"weights must have the shape of indices {self.indices.shape}, got {self.weights.shape}")
        if len(self.indices) and (self.indices.min() < 0 or self.indices.max() >= self.n_items):
            raise ValueError(f"indices must lie in 0…{self.n_items - 1}")

    @property
    def n_items(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_edges(self) -> int:
        """Number of pairs of items joined."""
        return len(self.indices) // 2

    @property
    def n_isolated(self) -> int:
        """Number of items without a neighbour."""
        return int((np.diff(self.indptr) == 0).sum())

    @classmethod
    def of(cls, adjacency: sparse.spmatrix) -> ItemGraph:
        """Normalise a square matrix of non-negative weights.

        An edge counts in both directions, with the greater weight where these differ. The diagonal is left out: the
        propagation weighs an item's own vector by a learned share.
        """
        entries = sparse.coo_matrix(adjacency)
        kept = (entries.row != entries.col) & (entries.data > 0)
        ends = (entries.row[kept], entries.col[kept])
        matrix = sparse.csr_matrix((entries.data[kept].astype(np.float64), ends), shape=entries.shape)
        matrix = matrix.maximum(matrix.T).tocsr()
        matrix.sort_indices()
        degree = np.asarray(matrix.sum(axis=1)).ravel()
        scale = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
        indices = matrix.indices.astype(np.int64)
        weights = matrix.data * np.repeat(scale, np.diff(matrix.indptr)) * scale[indices]
        return cls(matrix.indptr.astype(np.int64), indices, weights.astype(np.float32))

    def resized(self, n_items: int) -> ItemGraph:
        """The same edges among more items, the further ones isolated."""
        indptr = np.pad(self.indptr, (0, n_items - self.n_items), mode="edge")
        return ItemGraph(indptr, self.indices, self.weights)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for a bundle."""
        return {"indptr": self.indptr, "indices": self.indices, "weights": self.weights}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ItemGraph:
        """Inverse of ``to_arrays``."""
        return cls(arrays["indptr"], arrays["indices"], arrays["weights"])


def cooccurrence_graph(
    interactions: Interactions, *, neighbours: int, window: int, progress: bool = False
) -> ItemGraph:
    """Items joined where users chose them within ``window`` events of each other.

    The weight of an edge is the cosine of co-occurrence, c(i, j) / √(c_i · c_j), where c(i, j) counts the
    pairs of events of i and j at most ``window`` apart in one history, and c_i the events of i. Each item brings
    its ``neighbours`` heaviest edges, and keeps those that others bring. Linear in events: 2 · window · E
    multiply-adds. Events must be those of the fit split alone, since later ones would give away what is to be
    predicted. Items without an event are isolated.
    """
    bar = "item graph" if progress else None
    return ItemGraph.of(nearest_items(interactions, neighbours=neighbours, window=window, progress=bar))
