"""A fixed vector of every title: character n-grams weighed by rarity, reduced to their main directions.

Deerwester et al., "Indexing by latent semantic analysis", JASIS 1990, over character n-grams instead of words, so that
parts of a series and spellings of a word come to lie close together. Nothing is downloaded, and nothing is learnt from
events: a title is a fact about an item.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from reccore.arrays import FloatArray

TITLE = "title"
"""Name of these vectors among ``ItemTable.vectors``."""
SIZE = 48
NGRAMS = (3, 5)
MIN_TITLES = 2


def title_vectors(titles: npt.NDArray[Any], size: int = SIZE) -> FloatArray | None:
    """Vectors of the titles of a catalogue, the same for the same titles in the same order.

    Args:
        titles: (N,) strings, "" = unknown.
        size: D.

    Returns:
        (N, D) float32, rows of length 1; 0 for an unknown title or one that shares no n-gram with any other, and in
        columns beyond the rank. None where no two titles share one.
    """
    tfidf = TfidfVectorizer(
        analyzer="char_wb",
        ngram_range=NGRAMS,
        min_df=MIN_TITLES,
        sublinear_tf=True,
        strip_accents="unicode",
        dtype=np.float32,
    )
    try:
        weights = tfidf.fit_transform(titles)  # (N, V) sparse
    except ValueError:  # an empty vocabulary
        return None
    rank = min(size, *weights.shape)
    with threadpool_limits(limits=1):  # sums in one order, whatever the machine
        left, strength, _ = randomized_svd(weights, rank, random_state=0)
    vectors = np.zeros((len(titles), size), dtype=np.float32)
    vectors[:, :rank] = left * strength
    vectors[np.diff(weights.indptr) == 0] = 0.0
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return vectors
