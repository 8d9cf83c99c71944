"""Point-wise: is this item the one that was chosen? Binary cross-entropy with sampled negatives.

Huang et al., "Learning deep structured semantic models for web search using clickthrough data" (DSSM), CIKM 2013,
in the point-wise variant of MetaSpore; calibration: Petrov & Macdonald, "gSASRec: reducing overconfidence in sequential
recommendation trained with negative sampling", RecSys 2023; with a correction: Gutmann & Hyvärinen, "Noise-contrastive
estimation", AISTATS 2010.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from recall.neural.losses.base import BatchShape, Correction, MaskedLossOptions, Scores, ScoresLoss


class BCEConfig(MaskedLossOptions):
    """Binary cross-entropy of the positive against k negatives.

        ℓ_i = −β · log σ(s⁺) − k · mean_j log(1 − σ(s_j))

    The mean is over all columns that are negatives of the example. It is what k draws of them give on average, with
    less variance than the draws, and the columns are there anyway.

    Without a logQ correction the best score is log p(y|x)/Q(y) − log k + log β, with Q the proposal of the negatives:
    popular items are held down as far as Q proposes them. With it (s − log(k·Q) in place of s, noise-contrastive
    estimation) the best score is log p(y|x) + log β, whatever proposes.

    Attributes:
        negatives: k; more make the average score lower, not the sample larger.
        calibration: t of gBCE, β = α·(t·(1 − 1/α) + 1/α) with α = k / (N − 1) of the catalogue's N items; 0 = plain
            BCE (β = 1), 1 = β = α, with probabilities as calibrated as without sampling. β = 1 where k is all items.
    """

    correction: ClassVar[Correction] = "logits"
    kind: Literal["bce"] = "bce"
    negatives: int = Field(default=100, ge=1)
    calibration: float = Field(default=0.0, ge=0, le=1)

    def create(self, batch: BatchShape) -> BCELoss:
        return BCELoss(self, batch.n_items)


class BCELoss(ScoresLoss):
    """``BCEConfig`` over a catalogue of ``n_items``."""

    def __init__(self, config: BCEConfig, n_items: int) -> None:
        super().__init__(config)
        self.n_negatives = config.negatives
        rate = min(config.negatives / max(n_items - 1, 1), 1.0)  # α
        self.beta = rate * (config.calibration * (1 - 1 / rate) + 1 / rate)

    def of_examples(self, scores: Scores, *, corrected: bool) -> Tensor:
        shift = math.log(self.n_negatives) if corrected else 0.0
        positive = F.softplus(shift - scores.positive)  # −log σ(s⁺)
        negative = scores.mean(F.softplus(scores.negative - shift))  # −log(1 − σ(s_j))
        return self.beta * positive + self.n_negatives * negative
