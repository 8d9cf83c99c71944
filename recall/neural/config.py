"""Configuration of every neural recall channel."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from recall.index.choose import IndexConfig
from recall.index.flat import FlatConfig
from recall.neural.item_encoder import ItemEncoderConfig
from recall.neural.logq import NoLogQConfig
from recall.neural.losses.base import LossOptions, MaskedLossOptions
from recall.neural.losses.bce import BCEConfig
from recall.neural.losses.choose import LossConfig
from recall.neural.losses.softmax import CorrectedSoftmaxConfig, SoftmaxConfig
from recall.neural.negatives import (
    CatalogueNegativesConfig,
    DistinctNegativesConfig,
    NegativesConfig,
    SampledNegativesConfig,
)
from recall.neural.popularity_prior import PopularityPriorConfig
from recall.neural.temperature import Temperature, TemperatureConfig
from training import TrainingConfig


class NeuralConfig(TrainingConfig):
    """Options of a neural channel: one part each for items, queries, negatives and loss, chosen by ``kind``.

    Attributes:
        embedding_size: dimension D of ids, encoders and index.
        item: the item encoder.
        encoder: the query encoder; subclasses narrow it to the kinds they offer.
        negatives: what the queries of a batch are compared with: ``sampled``, ``distinct`` or ``catalogue``.
        loss: the training mode: ``softmax`` and ``corrected_softmax`` (list-wise), ``bce`` (point-wise), ``bpr``,
            ``bpr_max`` and ``top1_max`` (pair-wise), ``ccl`` (cosine contrastive).
        temperature: τ, by which cosines are divided; a number, or a table with ``bounds`` to learn it; None = 0.1.
            ``ccl`` reads plain cosines and refuses one.
        popularity_prior: add the popularity of items to the scores of retrieval, as much as validation asks for; None =
            do not.
        reward: weight of an example, ``none`` 1, ``rating`` the target's rating as a share of the highest.
        index: how the item vectors are searched, such as ``{"kind": "ivf", "nprobe": 32}``.
    """

    embedding_size: int = Field(default=64, ge=1)
    item: ItemEncoderConfig = ItemEncoderConfig()
    encoder: Any
    negatives: NegativesConfig = SampledNegativesConfig()
    loss: LossConfig = SoftmaxConfig()
    temperature: Temperature | None = None
    popularity_prior: PopularityPriorConfig | None = None
    reward: Literal["none", "rating"] = "none"
    index: IndexConfig = FlatConfig()
    batch_size: int = Field(default=1024, ge=2)
    learning_rate: float = Field(default=3e-3, gt=0)

    @property
    def tau(self) -> TemperatureConfig | None:
        """The temperature that is used; None for a loss without one."""
        default = self.loss.default_temperature
        return TemperatureConfig(start=default) if self.temperature is None and default else self.temperature

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        heads = getattr(self.encoder, "heads", 1)
        if self.embedding_size % heads:
            raise ValueError(f"embedding_size {self.embedding_size} is not divisible by encoder.heads = {heads}")
        if self.temperature is not None and self.loss.default_temperature is None:
            raise ValueError(f"loss.kind = {_kind(self.loss)} reads plain cosines: leave temperature out")
        _check_masks(self.loss, self.negatives)
        _check_correction(self.loss, self.negatives)
        return self


def _kind(part: Any) -> str:
    kind: str = part.kind
    return kind


def _check_masks(loss: LossOptions, negatives: NegativesConfig) -> None:
    """Refuse options of a loss that have no effect on these negatives."""
    sampled = isinstance(negatives, SampledNegativesConfig)
    if isinstance(loss, MaskedLossOptions) and not sampled and not loss.mask_accidental_hits:
        raise ValueError(
            f"loss.mask_accidental_hits = false needs negatives.kind = sampled; with {negatives.kind} "
            "there are no accidental hits"
        )
    drawn_alone = not isinstance(negatives, CatalogueNegativesConfig) and not negatives.in_batch
    if isinstance(loss, SoftmaxConfig) and loss.implementation == "fused" and drawn_alone:
        raise ValueError("loss.implementation = fused needs negatives.in_batch = true; use auto or plain")


def _check_correction(loss: LossOptions, negatives: NegativesConfig) -> None:
    """Refuse a logQ correction that the loss does not read, that changes nothing, or that is missing."""
    corrected = not isinstance(negatives, CatalogueNegativesConfig) and not isinstance(negatives.logq, NoLogQConfig)
    if isinstance(loss, CorrectedSoftmaxConfig):
        if not isinstance(negatives, SampledNegativesConfig) or not corrected:
            raise ValueError(
                "loss.kind = corrected_softmax needs negatives.kind = sampled with a correction, "
                "negatives.logq.kind = counts or streaming"
            )
        return
    if isinstance(negatives, CatalogueNegativesConfig) or not corrected:
        return
    without = "set negatives.logq.kind = none"
    if loss.correction == "none":
        raise ValueError(f"loss.kind = {_kind(loss)} has no logQ correction; {without}")
    if loss.correction == "differences" and negatives.proposes_evenly:
        raise ValueError(
            f"loss.kind = {_kind(loss)} reads differences of log Q, and these negatives are all uniform, so a "
            f"correction changes nothing; {without}"
        )
    if isinstance(loss, BCEConfig) and isinstance(negatives, DistinctNegativesConfig):
        raise ValueError(
            "loss.kind = bce is corrected by the probability of a draw, which negatives.kind = distinct does not "
            f"have; use sampled, or {without}"
        )
