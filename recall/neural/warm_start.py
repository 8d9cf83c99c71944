"""Item ids that start from co-occurrence in place of random rows.

    PPMI(i, j) = max(0, log(c(i, j) · Σ_k c_k^α / (c_i · c_j^α))),   PPMI ≈ U S Vᵀ,   e(i) ∝ U_i √S

c(i, j) counts the pairs of events of i and j that are at most ``window`` apart in one history, c_i = Σ_j c(i, j), and
α = .75 keeps rare items from being neighbours of everything. Levy, Goldberg & Dagan, "Improving distributional
similarity with lessons learned from word embeddings", TACL 2015, sections 3.1 to 3.3. Where most items have few events,
gradients alone move their rows little in the epochs before a model over-fits.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy import sparse

from recall.cooccurrence import nearest_items
from reccore import ComponentConfig, Interactions
from reccore.arrays import FloatArray

SMOOTHING = 0.75


class WarmStartConfig(ComponentConfig):
    """Options of ``cooccurrence_vectors``.

    Attributes:
        window: items co-occur where they are at most so many events apart in a history.
        neighbours: items that each item is counted with, those of greatest cosine.
    """

    window: int = Field(default=50, ge=1)
    neighbours: int = Field(default=100, ge=1)


def cooccurrence_vectors(
    interactions: Interactions, size: int, config: WarmStartConfig, *, seed: int, progress: bool = False
) -> FloatArray:
    """(N, D) U √S of the items of the fit split, scaled to a mean length of 1; 0 for items that co-occur with none.

    Columns beyond the rank of the matrix, at most N, are 0.

    Args:
        interactions: the fit split.
        size: D.
        config: what counts as co-occurrence.
        seed: of the randomised decomposition.
        progress: show a bar while counting.
    """
    matrix = ppmi(_counts(interactions, config, progress=progress))
    rank = min(size, matrix.shape[0])
    vectors = np.zeros((matrix.shape[0], size), dtype=np.float32)
    if matrix.nnz == 0:
        return vectors
    from sklearn.utils.extmath import randomized_svd

    left, strength, _ = randomized_svd(matrix, rank, random_state=seed)
    vectors[:, :rank] = left * np.sqrt(strength)
    length = np.linalg.norm(vectors, axis=1)
    scaled: FloatArray = vectors / length[length > 0].mean()
    return scaled


def ppmi(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Positive pointwise mutual information of symmetric counts (N, N), sparse float64."""
    degree = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    smoothed = degree**SMOOTHING
    pairs = counts.tocoo()
    information = np.log(pairs.data * smoothed.sum() / (degree[pairs.row] * smoothed[pairs.col]))
    kept = information > 0
    return sparse.csr_matrix((information[kept], (pairs.row[kept], pairs.col[kept])), shape=counts.shape)


def _counts(interactions: Interactions, config: WarmStartConfig, *, progress: bool) -> sparse.csr_matrix:
    """(N, N) symmetric c(i, j) float64, where i or j is among the other's neighbours; the diagonal is empty."""
    bar = "co-occurrence" if progress else None
    cosines = nearest_items(interactions, neighbours=config.neighbours, window=config.window, progress=bar)
    scale = sparse.diags(np.sqrt(interactions.item_counts()))
    counts: sparse.csr_matrix = (scale @ cosines @ scale).tocsr()
    return counts.maximum(counts.T).tocsr()
