"""Pair-wise against the hardest negatives: each counts by its share of the softmax over the negatives.

Hidasi & Karatzoglou, "Recurrent neural networks with top-k gains for session-based recommendations", CIKM 2018. The
mean over many negatives has small gradients, since most of them already score far below the positive; these losses keep
those of the few that do not. The weights w_j = softmax over the example's negatives depend on the scores themselves,
so that a correction of the proposal has no place in them.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from recall.neural.losses.base import BatchShape, MaskedLossOptions, Scores, ScoresLoss


class BPRMaxConfig(MaskedLossOptions):
    """ℓ_i = −log Σ_j w_j σ(s⁺ − s_j) + λ Σ_j w_j s_j².

    Attributes:
        score_reg: λ, pulls the scores of hard negatives to 0.
    """

    kind: Literal["bpr_max"] = "bpr_max"
    score_reg: float = Field(default=0.01, ge=0)

    def create(self, batch: BatchShape) -> BPRMaxLoss:
        return BPRMaxLoss(self)


class BPRMaxLoss(ScoresLoss):
    """``BPRMaxConfig`` as a function; an example without negatives counts 0."""

    def __init__(self, config: BPRMaxConfig) -> None:
        super().__init__(config)
        self.score_reg = config.score_reg

    def of_examples(self, scores: Scores, *, corrected: bool) -> Tensor:
        log_weights = scores.log_weights()
        wins = F.logsigmoid(scores.positive[:, None] - scores.negative)
        loss = -torch.logsumexp(log_weights + wins, dim=1)
        loss = loss + self.score_reg * (log_weights.exp() * scores.negative**2).sum(dim=1)
        return torch.where(scores.has_negatives, loss, 0.0)


class TOP1MaxConfig(MaskedLossOptions):
    """ℓ_i = Σ_j w_j (σ(s_j − s⁺) + σ(s_j²)); the second term pulls the scores of hard negatives to 0."""

    kind: Literal["top1_max"] = "top1_max"

    def create(self, batch: BatchShape) -> TOP1MaxLoss:
        return TOP1MaxLoss(self)


class TOP1MaxLoss(ScoresLoss):
    """``TOP1MaxConfig`` as a function; an example without negatives counts 0."""

    def of_examples(self, scores: Scores, *, corrected: bool) -> Tensor:
        each = torch.sigmoid(scores.negative - scores.positive[:, None]) + torch.sigmoid(scores.negative**2)
        loss = (scores.log_weights().exp() * each).sum(dim=1)
        return torch.where(scores.has_negatives, loss, 0.0)
