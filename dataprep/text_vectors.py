"""Fixed vectors of texts by latent semantic analysis: TF-IDF, reduced by a truncated SVD.

Deerwester et al., "Indexing by latent semantic analysis", JASIS 1990. The vectors depend on the texts only, not on
events.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from reccore.arrays import FloatArray, unit_rows

SHORTEST = 1e-6
"""Length of a text's vector that is not scaled up to 1: where all of its terms lie outside the D dimensions, only
rounding errors are left of it."""


def lsa_vectors(texts: npt.NDArray[Any], size: int, **terms: Any) -> FloatArray | None:
    """Vectors of the texts of a catalogue, the same for the same texts in the same order.

    Args:
        texts: (N,) strings, "" = unknown.
        size: D.
        terms: definition of a term, as arguments of scikit-learn's ``TfidfVectorizer``.

    Returns:
        (N, D) float32, rows of length 1. Rows of texts without a known term and columns beyond the rank are 0. None if
        there is no term at all.
    """
    # Imported here, since scikit-learn takes a second to import, and a trained model needs none of it.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.utils.extmath import randomized_svd

    tfidf = TfidfVectorizer(sublinear_tf=True, strip_accents="unicode", dtype=np.float32, **terms)
    try:
        weights = tfidf.fit_transform(texts)  # (N, V) sparse
    except ValueError:  # an empty vocabulary
        return None
    rank = min(size, *weights.shape)
    with threadpool_limits(limits=1):  # the same order of summation on every machine
        left, strength, _ = randomized_svd(weights, rank, random_state=0)
    vectors = np.zeros((len(texts), size), dtype=np.float32)
    vectors[:, :rank] = left * strength
    vectors[np.diff(weights.indptr) == 0] = 0.0
    return unit_rows(vectors, shortest=SHORTEST)
