"""DeepWalk: skip-gram over random walks on the graph of users and items.

Perozzi et al., "DeepWalk: online learning of social representations", KDD 2014.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from recall.graph.walks import bipartite_walks
from recall.skipgram import Sequences, SkipGramConfig, SkipGramOptions, SkipGramRecall
from reccore import Interactions, RunOptions, TrainingData


class WalkOptions(SkipGramOptions):
    """Options of vectors trained on random walks, beside those of skip-gram.

    Attributes:
        walks: walks from each user and each item.
        walk_length: nodes of a walk. Items and users alternate, so two items of a window are 2, 4, … steps apart.
    """

    window: int = Field(default=3, ge=1)
    epochs: int = Field(default=2, ge=1)
    walks: int = Field(default=10, ge=1)
    walk_length: int = Field(default=40, ge=2)


class DeepWalkConfig(WalkOptions, SkipGramConfig):
    """Options of ``DeepWalk``."""


class DeepWalk(SkipGramRecall):
    """The item that walks reach from the items of the query; the order of events counts at retrieval alone.

    Users are nodes of the walks and get vectors in training. Queries are answered from the vectors of their items, so
    that a new user is like any other.
    """

    name: ClassVar[str] = "deepwalk"
    Config: ClassVar[type[DeepWalkConfig]] = DeepWalkConfig
    config: DeepWalkConfig

    def _sequences(self, data: TrainingData, options: RunOptions) -> Sequences:
        return walk_sequences(data.interactions, self.config, options)


def walk_sequences(events: Interactions, config: WalkOptions, options: RunOptions) -> Sequences:
    """Random walks as sequences of tokens: item i is token i, user u is token N + u."""
    walks = bipartite_walks(events, config.walks, config.walk_length, options.generator("shuffle"))
    offsets = config.walk_length * np.arange(len(walks) + 1, dtype=np.int64)
    return Sequences(offsets, walks.ravel(), events.n_items + events.n_users)
