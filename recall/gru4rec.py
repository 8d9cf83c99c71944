"""The GRU4Rec channel: a recurrent network over the history.

Hidasi et al., "Session-based recommendations with recurrent neural networks", ICLR 2016; Hidasi & Karatzoglou,
"Recurrent neural networks with top-k gains for session-based recommendations", CIKM 2018.
"""

from __future__ import annotations

from typing import ClassVar

from recall.neural.channel import NeuralRecall
from recall.neural.config import NeuralConfig
from recall.neural.encoders.base import QueryEncoder
from recall.neural.encoders.gru import GRUConfig, GRUEncoder


class GRU4RecConfig(NeuralConfig):
    """Options of ``GRU4Rec``.

    Attributes:
        encoder: the recurrent network.
    """

    encoder: GRUConfig = GRUConfig()


class GRU4Rec(NeuralRecall):
    """A GRU over the history against the item encoder, whose vectors it also reads.

    Every event of a history is a target of its own; the session-parallel batches of the paper are not needed, because
    a window of the history is one row.
    """

    name: ClassVar[str] = "gru4rec"
    Config: ClassVar[type[GRU4RecConfig]] = GRU4RecConfig
    config: GRU4RecConfig

    @property
    def _encoder_class(self) -> type[QueryEncoder]:
        return GRUEncoder
