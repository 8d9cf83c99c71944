"""Rankers: score the candidates of recall with everything known about user, item and both."""

from ranking.base import BaseRanker
from ranking.deepfm import DeepFM
from ranking.din import DIN
from reccore.component import Registry

RANKERS: Registry[BaseRanker] = Registry("ranking", (DeepFM, DIN))

__all__ = ["DIN", "RANKERS", "BaseRanker", "DeepFM"]
