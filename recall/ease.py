"""EASE: a linear model over items whose weights have a closed form.

Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from numba import njit, prange
from pydantic import Field, Tag
from scipy import linalg, sparse

from recall.similarity import ItemSimilarityConfig, ItemSimilarityRecall, Similarity
from reccore import ComponentConfig, ConfigError, DataError, RunOptions, TrainingData
from reccore.arrays import FloatArray
from reccore.config import by_kind
from reccore.progress import track

ITEMS_PER_BLOCK = 1024
BYTES_PER_PAIR = 12  # a float64 to invert and a float32 to keep


class ExactConfig(ComponentConfig):
    """All weights by one inversion: O(N³) time and 12·N² bytes for a catalogue of N items.

    Attributes:
        max_items: a larger catalogue is refused; 20,000 items take 4.8 GB.
    """

    kind: Literal["exact"] = "exact"
    max_items: int = Field(default=20_000, ge=1)


class TruncatedConfig(ComponentConfig):
    """Each item is predicted from few others: O(N · cooccurring³) time and N · cooccurring weights.

    Fitting keeps the counts of all pairs of items that occur in one history, 8 bytes each.

    Attributes:
        cooccurring: only the items of greatest cosine of co-occurrence have a weight. At N − 1 the result is exact.
    """

    kind: Literal["truncated"] = "truncated"
    cooccurring: int = Field(default=200, ge=1)


class EASEConfig(ItemSimilarityConfig):
    """Options of ``EASE``, beside those of its family.

    Attributes:
        reg: L2 regularisation λ of the weights.
        solver: ``exact`` takes all pairs of items; ``truncated`` is for catalogues too large for it.
    """

    half_life: float | None = Field(default=5.0, gt=0)
    reg: float = Field(default=300.0, gt=0)
    solver: Annotated[
        Annotated[ExactConfig, Tag("exact")] | Annotated[TruncatedConfig, Tag("truncated")], by_kind("exact")
    ] = ExactConfig()


class EASE(ItemSimilarityRecall):
    """Weights B = argmin |X − X·B|² + λ·|B|² with a zero diagonal; a history x scores the items by x·B.

    X (U, N) is 1 where a user has an event of an item, however often. Weights may be negative: one film can speak
    against another. The paper weighs all events of a history alike; their decay doubles the hit rate on ml-1m.
    Items without events have zero weights and are never offered.
    """

    name: ClassVar[str] = "ease"
    Config: ClassVar[type[EASEConfig]] = EASEConfig
    config: EASEConfig

    def _similarity(self, data: TrainingData, options: RunOptions) -> Similarity:
        events, solver = data.interactions, self.config.solver
        if events.n_events == 0:
            raise DataError("ease needs at least one event to learn from")
        if isinstance(solver, ExactConfig) and events.n_items > solver.max_items:
            raise ConfigError(
                f"exact EASE of {events.n_items:,} items takes {BYTES_PER_PAIR * events.n_items**2 / 1e9:,.1f} GB of "
                f"memory, and solver.max_items is {solver.max_items:,}; set solver.kind=truncated, or raise "
                "solver.max_items if the memory is there"
            )
        seen = events.to_csr()
        seen.data[:] = 1.0
        if isinstance(solver, ExactConfig):
            return exact_weights(seen, self.config.reg)
        return truncated_weights(seen, self.config.reg, solver.cooccurring, progress=options.progress)


def exact_weights(seen: sparse.csr_matrix, reg: float) -> FloatArray:
    """B_ij = −P_ij / P_jj off the diagonal, with P = (XᵀX + λI)⁻¹ (the paper's equation 8), in float64.

    Args:
        seen: (U, N) X, zeros and ones.
        reg: λ.

    Returns:
        (N, N) float32.
    """
    n_items = seen.shape[1]
    gram = np.empty((n_items, n_items))
    by_item = seen.T.tocsr()
    for start in range(0, n_items, ITEMS_PER_BLOCK):
        rows = slice(start, start + ITEMS_PER_BLOCK)
        gram[rows] = (by_item[rows] @ seen).toarray()
    gram[np.diag_indices(n_items)] += reg
    inverse = linalg.inv(gram.T, overwrite_a=True, check_finite=False)  # symmetric; LAPACK overwrites columns only
    inverse /= -np.diag(inverse).copy()
    np.fill_diagonal(inverse, 0.0)
    weights: FloatArray = inverse.astype(np.float32, order="C")
    return weights


def truncated_weights(
    seen: sparse.csr_matrix, reg: float, cooccurring: int, *, progress: bool = False
) -> sparse.csr_matrix:
    """The weights to each item of the ``cooccurring`` items most similar to it, the others being zero.

    Column j of B is the ridge regression of column j of X on the other columns. Here it is the regression on the
    columns S of greatest cosine G_ij / √(G_ii·G_jj), ties by item: B_Sj = (G_SS + λI)⁻¹ G_Sj with G = XᵀX.

    Args:
        seen: (U, N) X, zeros and ones.
        reg: λ.
        cooccurring: size of S; fewer where fewer items co-occur.
        progress: show a progress bar.

    Returns:
        (N, N) float32 CSR.
    """
    n_items = seen.shape[1]
    gram = (seen.T @ seen).tocsr()
    gram.sort_indices()
    counts = gram.diagonal().astype(np.float64)
    size = min(cooccurring, max(n_items - 1, 1))
    parts = []
    for start in track(range(0, n_items, ITEMS_PER_BLOCK), "truncated EASE", unit="blocks", enabled=progress):
        stop = min(start + ITEMS_PER_BLOCK, n_items)
        parts.append(_regressions(start, stop, gram.indptr, gram.indices, gram.data, counts, reg, size))
    sources = np.concatenate([part[0] for part in parts])  # (N, size), -1 = none
    weights = np.concatenate([part[1] for part in parts])
    target, slot = np.nonzero(sources >= 0)
    entries = (weights[target, slot], (sources[target, slot], target))
    return sparse.csr_matrix(entries, shape=(n_items, n_items))


@njit(parallel=True, cache=True)
def _regressions(
    first: int,
    stop: int,
    indptr: npt.NDArray[np.int32],
    indices: npt.NDArray[np.int32],
    values: FloatArray,
    counts: npt.NDArray[np.float64],
    reg: float,
    size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Sources and their weights, (stop − first, size) each, for the items ``first … stop − 1``."""
    sources = np.full((stop - first, size), -1, dtype=np.int32)
    weights = np.zeros((stop - first, size), dtype=np.float32)
    for row in prange(stop - first):
        item = first + row
        others = indices[indptr[item] : indptr[item + 1]]
        together = values[indptr[item] : indptr[item + 1]].astype(np.float64)
        cosine = together / np.sqrt(counts[others])  # times a constant of the item
        cosine[others == item] = -1.0
        chosen = np.sort(np.argsort(-cosine, kind="mergesort")[: min(size, len(others) - 1)])
        if len(chosen) == 0:
            continue
        columns = others[chosen]
        gram = np.zeros((len(columns), len(columns)))
        for a in range(len(columns)):
            start, end = indptr[columns[a]], indptr[columns[a] + 1]
            at = np.searchsorted(indices[start:end], columns)
            for b in range(len(columns)):
                if at[b] < end - start and indices[start + at[b]] == columns[b]:
                    gram[a, b] = values[start + at[b]]
            gram[a, a] += reg
        sources[row, : len(columns)] = columns
        weights[row, : len(columns)] = np.linalg.solve(gram, together[chosen])
    return sources, weights
