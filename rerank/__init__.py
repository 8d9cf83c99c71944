"""Reranking: the last choice, made over the list as a whole."""

from reccore.component import Registry
from rerank.base import BaseReranker
from rerank.mmr import MMR, MMRConfig

RERANKERS: Registry[BaseReranker] = Registry("rerank", (MMR,))

__all__ = ["MMR", "MMRConfig", "RERANKERS", "BaseReranker"]
