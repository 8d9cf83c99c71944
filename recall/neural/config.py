"""Configuration of every neural recall channel."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from recall.index.choose import IndexConfig
from recall.index.flat import FlatConfig
from recall.neural.item_encoder import ItemEncoderConfig
from recall.neural.logq import NoLogQConfig
from recall.neural.losses import CorrectedSoftmaxConfig, LossConfig, SoftmaxConfig
from recall.neural.negatives import NegativesConfig, SampledNegativesConfig
from recall.neural.temperature import Temperature, TemperatureConfig
from training import TrainingConfig


class NeuralConfig(TrainingConfig):
    """Options of a neural channel: one part each for items, queries, negatives and loss, chosen by ``kind``.

    Attributes:
        embedding_size: dimension D of ids, encoders and index.
        item: the item encoder.
        encoder: the query encoder; subclasses narrow it to the kinds they offer.
        negatives: what the queries of a batch are compared with: ``sampled``, ``distinct`` or ``catalogue``.
        loss: ``softmax`` or ``corrected_softmax``.
        temperature: τ, by which cosines are divided; a number, or a table with ``bounds`` to learn it.
        reward: weight of an example, ``none`` 1, ``rating`` the target's rating as a share of the highest.
        index: how the item vectors are searched, such as ``{"kind": "ivf", "nprobe": 32}``.
    """

    embedding_size: int = Field(default=64, ge=1)
    item: ItemEncoderConfig = ItemEncoderConfig()
    encoder: Any
    negatives: NegativesConfig = SampledNegativesConfig()
    loss: LossConfig = SoftmaxConfig()
    temperature: Temperature = TemperatureConfig()
    reward: Literal["none", "rating"] = "none"
    index: IndexConfig = FlatConfig()
    batch_size: int = Field(default=1024, ge=2)
    learning_rate: float = Field(default=3e-3, gt=0)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        negatives = self.negatives
        heads = getattr(self.encoder, "heads", 1)
        if self.embedding_size % heads:
            raise ValueError(f"embedding_size {self.embedding_size} is not divisible by encoder.heads = {heads}")
        if isinstance(self.loss, CorrectedSoftmaxConfig):
            if not isinstance(negatives, SampledNegativesConfig) or isinstance(negatives.logq, NoLogQConfig):
                raise ValueError(
                    "loss.kind = corrected_softmax needs negatives.kind = sampled with a correction, "
                    "negatives.logq.kind = counts or streaming"
                )
        elif not isinstance(negatives, SampledNegativesConfig) and not self.loss.mask_accidental_hits:
            raise ValueError(
                f"loss.mask_accidental_hits = false needs negatives.kind = sampled; with {negatives.kind} "
                "there are no accidental hits"
            )
        return self
