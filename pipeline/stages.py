"""The stages of a request: source, hydrate, filter, score, select.

A stage turns the candidates of a batch of queries into other candidates. It knows nothing of the stages
around it; the pipeline times it and counts what goes in and out.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from ranking.base import BaseRanker
from recall.base import BaseRecall
from recall.embedding import VectorChannel
from reccore import Candidates, Exclusions, QueryBatch
from reccore.arrays import FloatArray
from rerank.base import BaseReranker

MATCH_PREFIX = "match."
RANK_SCORE = "rank_score"


class Stage(Protocol):
    """What the pipeline asks of a stage after the sources."""

    stage: ClassVar[str]
    name: str

    def apply(self, queries: QueryBatch, candidates: Candidates, exclude: Exclusions, k: int) -> Candidates:
        """Candidates to pass on; ``k`` is the length of the final list."""
        ...


class ChannelSource:
    """One recall channel as a source of candidates."""

    stage = "source"

    def __init__(self, name: str, channel: BaseRecall, k: int) -> None:
        self.name = name
        self.channel = channel
        self.k = k

    def fetch(self, queries: QueryBatch, exclude: Exclusions) -> Candidates:
        """At most ``k`` candidates per query."""
        return self.channel.retrieve(queries, self.k, exclude=exclude)


class MatchHydrator:
    """Adds ``match.<channel>``: the channel's inner product for every candidate, offered by it or not."""

    stage: ClassVar[str] = "hydrate"

    def __init__(self, name: str, channel: VectorChannel) -> None:
        self.name = name
        self.channel = channel
        self.vectors = channel.encode_items()

    def apply(self, queries: QueryBatch, candidates: Candidates, exclude: Exclusions, k: int) -> Candidates:
        user = self.channel.encode_queries(queries)  # (B, D)
        scores: FloatArray = np.full(candidates.item_idx.shape, np.nan, dtype=np.float32)
        for row in range(0, len(queries), 256):  # the gathered vectors of a chunk stay small
            part = slice(row, row + 256)
            item = self.vectors[np.maximum(candidates.item_idx[part], 0)]  # (b, K, D)
            scores[part] = np.einsum("bd,bkd->bk", user[part], item)
        scores[~candidates.mask] = np.nan
        return candidates.with_features({MATCH_PREFIX + self.name: scores})


class SeenFilter:
    """Drops excluded items, whatever source they came from."""

    stage: ClassVar[str] = "filter"
    name = "seen"

    def apply(self, queries: QueryBatch, candidates: Candidates, exclude: Exclusions, k: int) -> Candidates:
        return candidates.keep(~exclude.contains(candidates.item_idx))


class RankerScorer:
    """Reorders by the ranker's scores and keeps them as ``rank_score``."""

    stage: ClassVar[str] = "score"

    def __init__(self, ranker: BaseRanker) -> None:
        self.name = ranker.name
        self.ranker = ranker

    def apply(self, queries: QueryBatch, candidates: Candidates, exclude: Exclusions, k: int) -> Candidates:
        score = self.ranker.score(queries, candidates)
        return candidates.with_features({RANK_SCORE: np.where(candidates.mask, score, np.nan)}).reordered(score)


class RerankSelector:
    """Chooses the final list with a reranker."""

    stage: ClassVar[str] = "select"

    def __init__(self, reranker: BaseReranker) -> None:
        self.name = reranker.name
        self.reranker = reranker

    def apply(self, queries: QueryBatch, candidates: Candidates, exclude: Exclusions, k: int) -> Candidates:
        return self.reranker.rerank(queries, candidates, k)


class TopSelector:
    """Cuts the final list off the top."""

    stage: ClassVar[str] = "select"
    name = "top"

    def apply(self, queries: QueryBatch, candidates: Candidates, exclude: Exclusions, k: int) -> Candidates:
        return candidates.head(k)
