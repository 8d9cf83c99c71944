"""A fixed vector of every title, from its character n-grams.

N-grams instead of words make the titles of a series and different spellings of a word similar.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from dataprep.text_vectors import lsa_vectors
from reccore.arrays import FloatArray

TITLE = "title"
"""Name of these vectors among ``ItemTable.vectors``."""
SIZE = 48
NGRAMS = (3, 5)
MIN_TITLES = 2


def title_vectors(titles: npt.NDArray[Any], size: int = SIZE) -> FloatArray | None:
    """(N, D) float32 vectors of the titles of a catalogue (N,), "" = unknown; see ``lsa_vectors``.

    None if no two titles share an n-gram.
    """
    return lsa_vectors(titles, size, analyzer="char_wb", ngram_range=NGRAMS, min_df=MIN_TITLES)
