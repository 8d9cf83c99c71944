"""Indexes over item vectors: exact and, later, approximate, behind one interface."""

from recall.index.base import BaseIndex
from recall.index.brute_force import BruteForceIndex
from recall.index.flat import FlatIndex
from reccore.component import Registry

INDEXES: Registry[BaseIndex] = Registry("index", (FlatIndex, BruteForceIndex))

__all__ = ["INDEXES", "BaseIndex", "BruteForceIndex", "FlatIndex"]
