"""Indexes over item vectors, exact and approximate, behind one interface."""

from recall.index.base import BaseIndex
from recall.index.brute_force import BruteForceIndex
from recall.index.flat import FlatIndex
from recall.index.hnsw import HNSWIndex
from recall.index.ivf import IVFIndex
from recall.index.pq import PQIndex
from reccore.component import Registry

INDEXES: Registry[BaseIndex] = Registry("index", (FlatIndex, BruteForceIndex, IVFIndex, HNSWIndex, PQIndex))

__all__ = ["INDEXES", "BaseIndex", "BruteForceIndex", "FlatIndex", "HNSWIndex", "IVFIndex", "PQIndex"]
