"""The SASRec channel: causal self-attention over the history.

Kang & McAuley, "Self-attentive sequential recommendation", ICDM 2018. ``encoder.block = "ligr"`` with a sampled softmax
is eSASRec (Tikhonovich et al., "eSASRec: enhancing transformer-based recommendations in a modular fashion", RecSys
2025).
"""

from __future__ import annotations

from typing import ClassVar

from recall.neural.channel import NeuralRecall
from recall.neural.config import NeuralConfig
from recall.neural.encoders.base import QueryEncoder
from recall.neural.encoders.transformer import TransformerConfig, TransformerEncoder


class SASRecConfig(NeuralConfig):
    """Options of ``SASRec``.

    Attributes:
        encoder: the transformer.
    """

    encoder: TransformerConfig = TransformerConfig()


class SASRec(NeuralRecall):
    """A causal transformer over the history against the item encoder, whose vectors it also reads."""

    name: ClassVar[str] = "sasrec"
    Config: ClassVar[type[SASRecConfig]] = SASRecConfig
    config: SASRecConfig

    @property
    def _encoder_class(self) -> type[QueryEncoder]:
        return TransformerEncoder
