"""DSSM: two towers trained point-wise, the chosen item against sampled negatives.

Huang et al., "Learning deep structured semantic models for web search using clickthrough data", CIKM 2013; binary
cross-entropy with 10 or 100 negatives as in MetaSpore's MovieLens demo.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from recall.neural.channel import NeuralRecall
from recall.neural.config import NeuralConfig
from recall.neural.encoders.base import QueryEncoder
from recall.neural.encoders.mlp import MLPEncoder, MLPEncoderConfig
from recall.neural.logq import LogQConfig, NoLogQConfig
from recall.neural.losses.bce import BCEConfig
from recall.neural.negatives import SampledNegativesConfig


class DSSMNegativesConfig(SampledNegativesConfig):
    """Uniform draws alone, uncorrected, unless more is asked for."""

    in_batch: bool = False
    uniform: int = Field(default=1024, ge=0)
    logq: LogQConfig = NoLogQConfig()


class DSSMConfig(NeuralConfig):
    """Options of ``DSSM``.

    Attributes:
        encoder: pools the history, and reads the userId too.
        negatives: drawn for each batch and shared by its examples.
        loss: binary cross-entropy; ``loss.negatives`` is how many negatives a positive is set against.
    """

    encoder: MLPEncoderConfig = MLPEncoderConfig()
    negatives: DSSMNegativesConfig = DSSMNegativesConfig()
    loss: BCEConfig = BCEConfig()


class DSSM(NeuralRecall):
    """The towers of ``TwoTower`` with the point-wise loss."""

    name: ClassVar[str] = "dssm"
    Config: ClassVar[type[DSSMConfig]] = DSSMConfig
    config: DSSMConfig

    @property
    def _encoder_class(self) -> type[QueryEncoder]:
        return MLPEncoder
