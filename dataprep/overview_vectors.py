"""Fixed vectors of overviews: TF-IDF of their words with an SVD, or a small sentence encoder.

The encoder is WordLlama, an optional package that contains its weights: the mean of token vectors that were taken from
language models and trained for sentence similarity. Nothing is downloaded at run time.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprep.text_vectors import lsa_vectors
from reccore.arrays import FloatArray, unit_rows

ENCODER = "wordllama"
"""Name of the package."""
SIZE = 48
SENTENCE_SIZE = 64
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
WORDS = rf"[{_CJK}]|(?:[^\W_{_CJK}]){{2,}}"
"""Words of two letters or more; single characters in scripts without spaces (Chinese, Japanese)."""
MIN_TEXTS = 2
MAX_WORDS = 50_000


def overview_vectors(texts: npt.NDArray[Any], size: int = SIZE) -> FloatArray | None:
    """(N, D) float32 vectors of the words of texts (N,), "" = unknown; see ``lsa_vectors``.

    The vocabulary is the 50,000 most frequent words that occur in at least two texts.
    """
    return lsa_vectors(texts, size, token_pattern=WORDS, min_df=MIN_TEXTS, max_features=MAX_WORDS)


def has_sentence_encoder() -> bool:
    """Whether the optional package is installed."""
    return find_spec(ENCODER) is not None


def sentence_vectors(texts: npt.NDArray[Any], size: int = SENTENCE_SIZE) -> FloatArray:
    """(N, D) float32 vectors by the sentence encoder, rows of length 1; 0 for unknown texts ("").

    About a millisecond per text. ``size`` is one that the package offers: 64, 128 or 256.

    Raises:
        ImportError: the package is not installed.
    """
    import wordllama

    # The package ships its tokenizer under a name other than the one it looks up, unless its own folder is the cache.
    folder = Path(wordllama.__file__).parent
    encoder = wordllama.WordLlama.load(cache_dir=folder, trunc_dim=size, disable_download=True)
    vectors = np.zeros((len(texts), size), dtype=np.float32)
    known = np.flatnonzero([bool(text.strip()) for text in texts])
    if len(known):
        vectors[known] = encoder.embed([str(text) for text in texts[known]])
    return unit_rows(vectors)
