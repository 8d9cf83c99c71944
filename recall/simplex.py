"""SimpleX: user vector and pooled history against many negatives, by the cosine contrastive loss.

Mao et al., "SimpleX: a simple and strong baseline for collaborative filtering", CIKM 2021.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from recall.neural.channel import NeuralRecall
from recall.neural.config import NeuralConfig
from recall.neural.encoders.aggregation import AggregationConfig, AggregationEncoder
from recall.neural.encoders.base import QueryEncoder
from recall.neural.logq import LogQConfig, NoLogQConfig
from recall.neural.losses.ccl import CCLConfig
from recall.neural.negatives import SampledNegativesConfig


class SimpleXNegativesConfig(SampledNegativesConfig):
    """Many uniform draws; the loss has no correction."""

    in_batch: bool = False
    uniform: int = Field(default=1024, ge=0)
    logq: LogQConfig = NoLogQConfig()


class SimpleXConfig(NeuralConfig):
    """Options of ``SimpleX``; it has no temperature.

    Attributes:
        encoder: a gated sum of user vector and pooled history.
        negatives: drawn for each batch and shared by its examples.
        loss: the cosine contrastive loss.
    """

    encoder: AggregationConfig = AggregationConfig()
    negatives: SimpleXNegativesConfig = SimpleXNegativesConfig()
    loss: CCLConfig = CCLConfig()


class SimpleX(NeuralRecall):
    """Behaviour aggregation against the item encoder."""

    name: ClassVar[str] = "simplex"
    Config: ClassVar[type[SimpleXConfig]] = SimpleXConfig
    config: SimpleXConfig

    @property
    def _encoder_class(self) -> type[QueryEncoder]:
        return AggregationEncoder
