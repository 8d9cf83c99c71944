"""Item2vec: skip-gram over histories, an item being a word.

Barkan and Koenigstein, "Item2vec: neural item embedding for collaborative filtering", MLSP 2016. Unlike
there, the order of the events counts: only events within a window predict each other.
"""

from __future__ import annotations

from typing import ClassVar

from recall.skipgram import Sequences, SkipGramConfig, SkipGramRecall
from reccore import RunOptions, TrainingData


class Word2Vec(SkipGramRecall):
    """The item whose neighbours in histories are the recent items of the query."""

    name: ClassVar[str] = "word2vec"
    Config: ClassVar[type[SkipGramConfig]] = SkipGramConfig
    config: SkipGramConfig

    def _sequences(self, data: TrainingData, options: RunOptions) -> Sequences:
        events = data.interactions
        return Sequences(events.user_offsets, events.item_idx, events.n_items)
