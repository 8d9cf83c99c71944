"""Rankers: score the candidates of recall with everything known about user, item and both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reccore.component import Registry

if TYPE_CHECKING:
    from ranking.base import BaseRanker

RANKERS: Registry[BaseRanker] = Registry(
    "ranking",
    {"deepfm": "ranking.deepfm:DeepFM", "din": "ranking.din:DIN", "dcnv2": "ranking.dcnv2:DCNv2"},
)

__all__ = ["RANKERS"]
