"""The registered channels, and one beside them that shows that a query encoder is one file."""

from __future__ import annotations

from recall import CHANNELS as REGISTERED
from recall.base import BaseRecall
from reccore.component import Registry

CHANNELS: Registry[BaseRecall] = Registry(
    "recall", {**REGISTERED._classes, "gru4rec": "tests.recall.neural.gru_channel:GRU4Rec"}
)
