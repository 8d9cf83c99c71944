"""Indexes over item vectors, exact and approximate, behind one interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reccore.component import Registry

if TYPE_CHECKING:
    from recall.index.base import BaseIndex

AUTO = "auto"
"""In place of a kind: the kind that suits the number of items."""

INDEXES: Registry[BaseIndex] = Registry(
    "index",
    {
        "flat": "recall.index.flat:FlatIndex",
        "brute_force": "recall.index.brute_force:BruteForceIndex",
        "ivf": "recall.index.ivf:IVFIndex",
        "hnsw": "recall.index.hnsw:HNSWIndex",
        "pq": "recall.index.pq:PQIndex",
        "annoy": "recall.index.annoy:AnnoyIndex",
        "qdrant": "recall.index.qdrant:QdrantIndex",
    },
)

__all__ = ["AUTO", "INDEXES"]
