"""Recall channels: from the whole catalogue to some hundreds of candidates."""

from recall.base import BaseRecall
from recall.itemcf import ItemCF
from recall.mf import MF
from recall.popularity import Popularity
from recall.two_tower import TwoTower
from reccore.component import Registry

CHANNELS: Registry[BaseRecall] = Registry("recall", (Popularity, ItemCF, MF, TwoTower))

__all__ = ["CHANNELS", "MF", "BaseRecall", "ItemCF", "Popularity", "TwoTower"]
