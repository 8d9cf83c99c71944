"""Fixed vectors of texts: terms weighed by rarity, reduced to their main directions.

Deerwester et al., "Indexing by latent semantic analysis", JASIS 1990. Nothing is downloaded, and nothing is learnt from
events: a text is a fact about an item.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from reccore.arrays import FloatArray


def lsa_vectors(texts: npt.NDArray[Any], size: int, **terms: Any) -> FloatArray | None:
    """Vectors of the texts of a catalogue, the same for the same texts in the same order.

    Args:
        texts: (N,) strings, "" = unknown.
        size: D.
        terms: what counts as a term, as scikit-learn's ``TfidfVectorizer`` takes it.

    Returns:
        (N, D) float32, rows of length 1; 0 for an unknown text or one without any term that counts, and in columns
        beyond the rank. None where no term counts.
    """
    tfidf = TfidfVectorizer(sublinear_tf=True, strip_accents="unicode", dtype=np.float32, **terms)
    try:
        weights = tfidf.fit_transform(texts)  # (N, V) sparse
    except ValueError:  # an empty vocabulary
        return None
    rank = min(size, *weights.shape)
    with threadpool_limits(limits=1):  # sums in one order, whatever the machine
        left, strength, _ = randomized_svd(weights, rank, random_state=0)
    vectors = np.zeros((len(texts), size), dtype=np.float32)
    vectors[:, :rank] = left * strength
    vectors[np.diff(weights.indptr) == 0] = 0.0
    return unit_rows(vectors)


def unit_rows(vectors: FloatArray) -> FloatArray:
    """The rows at length 1; rows of zeros stay."""
    rows: FloatArray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return rows
