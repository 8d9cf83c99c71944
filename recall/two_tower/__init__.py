"""The sampling-bias-corrected two-tower model."""

from recall.two_tower.channel import TwoTower
from recall.two_tower.config import TwoTowerConfig

__all__ = ["TwoTower", "TwoTowerConfig"]
