"""Skip-gram with negative sampling over sequences of items, and the base of the channels that use it.

Mikolov et al., "Distributed representations of words and phrases and their compositionality", NeurIPS 2013; gensim
trains the vectors.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from gensim.models import Word2Vec
from gensim.models.callbacks import CallbackAny2Vec
from pydantic import Field

from recall.factors import FactorConfig, FactorRecall
from recall.history import weighted_mean
from reccore import Bundle, ComponentConfig, DataError, QueryBatch, RunOptions, TrainingData
from reccore.arrays import FloatArray, IntArray
from reccore.bundle import BundleWriter
from reccore.progress import progress

LONGEST = 10_000  # gensim drops what follows this many tokens of a sequence


class SkipGramOptions(ComponentConfig):
    """Options of vectors trained by skip-gram.

    Attributes:
        embedding_size: D.
        half_life: exponential decay of the history at retrieval; half-life in events, None = no decay.
        window: greatest distance of two tokens that predict each other; each token draws its own from 1 to this.
        epochs: passes over the sequences.
        negative: noise tokens of each pair.
        ns_exponent: noise is drawn ∝ count^ns_exponent. With uniform noise (0) logits keep the popularity of an item
            and estimate its probability; with noise by count (1) they divide by it, as pointwise mutual information
            does (Levy & Goldberg, NeurIPS 2014). Text uses 0.75; recommendation wants far less (Caselles-Dupré et
            al., RecSys 2018).
        subsample: tokens of more than this share of all tokens are dropped at random, frequent ones more often; 0 =
            none are.
        learning_rate: of SGD at the start; it falls linearly to gensim's 0.0001.
    """

    embedding_size: int = Field(default=64, ge=1)
    half_life: float | None = Field(default=3.0, gt=0)
    window: int = Field(default=5, ge=1)
    epochs: int = Field(default=20, ge=1)
    negative: int = Field(default=5, ge=1)
    ns_exponent: float = 0.0
    subsample: float = Field(default=1e-3, ge=0)
    learning_rate: float = Field(default=0.025, gt=0)


class SkipGramConfig(SkipGramOptions, FactorConfig):
    """Options of a channel of item vectors trained by skip-gram."""


class SkipGramRecall(FactorRecall):
    """Scores by the logit of skip-gram: mean input vector of the history times an item's output vector.

    Cosine between input vectors, as item2vec has it, hit less than half as often on validation. Subclasses give the
    sequences. Item i is token i; further tokens may follow the items.
    """

    config: SkipGramConfig
    input_vectors: FloatArray  # (N, D) of the items of a history; ``item_factors`` holds the output vectors

    @abstractmethod
    def _sequences(self, data: TrainingData, options: RunOptions) -> Sequences:
        """What to learn from, with a token of every item that has events."""

    def _factorise(self, data: TrainingData, options: RunOptions) -> FloatArray:
        """The output vectors.

        Raises:
            DataError: no two tokens are next to each other, so that there is nothing to learn from.
        """
        n_items = data.interactions.n_items
        label = self.name if options.progress else None
        sequences = self._sequences(data, options)
        inputs, outputs = train_skipgram(sequences, self.config, options.seed, label)
        if not outputs[:n_items].any():  # they start at 0, and every pair of tokens moves some of them
            why = f"subsample = {self.config.subsample:g} dropped too many events; set it to 0"
            if np.diff(sequences.offsets).max() < 2:
                why = "no user has more than one event; give it longer histories"
            raise DataError(f"{self.name} learns from events next to each other, and found none: {why}")
        self.input_vectors = inputs[:n_items]
        return outputs[:n_items]

    def _fold_in(self, queries: QueryBatch) -> FloatArray:
        return weighted_mean(self._weights(queries), self.input_vectors)

    def _write(self, bundle: BundleWriter) -> None:
        super()._write(bundle)
        bundle.arrays("input_vectors.npz", {"vectors": self.input_vectors})

    def _read(self, bundle: Bundle) -> None:
        super()._read(bundle)
        self.input_vectors = bundle.arrays("input_vectors.npz")["vectors"]


class Sequences:
    """Rows of tokens, which gensim reads as lists; longer rows are split where gensim would cut them off.

    Args:
        offsets: (S+1,) CSR offsets.
        tokens: (L,) integers 0 … n_tokens-1.
        n_tokens: V; tokens need not occur.
    """

    def __init__(self, offsets: IntArray, tokens: npt.NDArray[np.integer], n_tokens: int) -> None:
        self.offsets, self.tokens, self.n_tokens = offsets, tokens, n_tokens

    def __iter__(self) -> Iterator[list[int]]:
        for start, stop in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True):
            for piece in range(start, stop, LONGEST):
                yield self.tokens[piece : min(piece + LONGEST, stop)].tolist()


def train_skipgram(
    sequences: Sequences, config: SkipGramOptions, seed: int, progress_label: str | None = None
) -> tuple[FloatArray, FloatArray]:
    """Input and output vectors of the tokens.

    One thread: several would update shared vectors in an order of their own, and no seed would give the same result
    twice. Takes O(L · epochs · window · negative · D) time.

    Args:
        sequences: at least one token.
        config: options of the training.
        seed: of the first vectors and all draws.
        progress_label: name of the progress bar; None = no bar.

    Returns:
        Two (V, D) float32; zero rows for tokens that do not occur.
    """
    model = Word2Vec(
        vector_size=config.embedding_size,
        alpha=config.learning_rate,
        window=config.window,
        min_count=1,
        sample=config.subsample,
        sg=1,
        negative=config.negative,
        ns_exponent=config.ns_exponent,
        workers=1,
        seed=seed,
    )
    counts = np.bincount(sequences.tokens, minlength=sequences.n_tokens)
    tokens = np.flatnonzero(counts)
    model.build_vocab_from_freq(dict(zip(tokens.tolist(), counts[tokens].tolist(), strict=True)))
    with progress(progress_label or "", config.epochs, unit="epochs", enabled=progress_label is not None) as advance:
        model.train(sequences, total_words=len(sequences.tokens), epochs=config.epochs, callbacks=[_EpochEnd(advance)])
    vectors: FloatArray = np.zeros((2, sequences.n_tokens, config.embedding_size), dtype=np.float32)
    vectors[0, model.wv.index_to_key] = model.wv.vectors
    vectors[1, model.wv.index_to_key] = model.syn1neg
    return vectors[0], vectors[1]


class _EpochEnd(CallbackAny2Vec):  # type: ignore[misc]  # gensim has no types
    """Calls a function after each epoch."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def on_epoch_end(self, model: Word2Vec) -> None:
        self.call()
