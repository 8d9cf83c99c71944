"""The sampling-bias-corrected two-tower channel.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Tag

from recall.neural.channel import NeuralRecall
from recall.neural.config import NeuralConfig
from recall.neural.encoders.base import QueryEncoder
from recall.neural.encoders.mlp import MLPEncoder, MLPEncoderConfig
from recall.neural.encoders.transformer import TransformerConfig, TransformerEncoder
from reccore.config import by_kind


class TwoTowerConfig(NeuralConfig):
    """Options of ``TwoTower``.

    Attributes:
        encoder: ``mlp`` pools the history, and reads the userId too; ``transformer`` reads it in order by causal
            self-attention.
    """

    encoder: Annotated[
        Annotated[MLPEncoderConfig, Tag("mlp")] | Annotated[TransformerConfig, Tag("transformer")], by_kind("mlp")
    ] = MLPEncoderConfig()


class TwoTower(NeuralRecall):
    """Query tower over history and user features, item tower over movieId, content and statistics."""

    name: ClassVar[str] = "two_tower"
    Config: ClassVar[type[TwoTowerConfig]] = TwoTowerConfig
    config: TwoTowerConfig

    @property
    def _encoder_class(self) -> type[QueryEncoder]:
        return TransformerEncoder if isinstance(self.config.encoder, TransformerConfig) else MLPEncoder
