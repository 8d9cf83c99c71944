"""Reranking: the last choice, made over the list as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reccore.component import Registry

if TYPE_CHECKING:
    from rerank.base import BaseReranker

RERANKERS: Registry[BaseReranker] = Registry(
    "rerank",
    {
        "mmr": "rerank.mmr:MMR",
        "dpp": "rerank.dpp:DPP",
        "calibrated": "rerank.calibrated:Calibrated",
        "rules": "rerank.rules:Rules",
        "explore": "rerank.explore:Explore",
        "chain": "rerank.chain:Chain",
    },
)

__all__ = ["RERANKERS"]
