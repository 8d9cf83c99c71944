"""The MIND channel: several vectors per query, one for each interest of the user.

Li et al., "Multi-interest network with dynamic routing for recommendation at Tmall", CIKM 2019.
"""

from __future__ import annotations

from typing import ClassVar

from recall.neural.channel import NeuralRecall
from recall.neural.config import NeuralConfig
from recall.neural.encoders.base import QueryEncoder
from recall.neural.encoders.mind import MINDEncoder, MINDEncoderConfig


class MINDConfig(NeuralConfig):
    """Options of ``MIND``.

    Attributes:
        encoder: the routing and the MLP behind it.
    """

    encoder: MINDEncoderConfig = MINDEncoderConfig()


class MIND(NeuralRecall):
    """Interests of a history against the item encoder, whose vectors they are made of.

    In training the interest closest to the target takes the whole loss, the paper's label-aware attention with p → ∞;
    in retrieval an item's score is that of its closest interest.
    """

    name: ClassVar[str] = "mind"
    Config: ClassVar[type[MINDConfig]] = MINDConfig
    config: MINDConfig

    @property
    def _encoder_class(self) -> type[QueryEncoder]:
        return MINDEncoder
