"""The cosine contrastive loss: negatives count only where their cosine exceeds a margin.

Mao et al., "SimpleX: a simple and strong baseline for collaborative filtering", CIKM 2021.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from recall.neural.losses.base import BatchShape, MaskedLossOptions, Scores, ScoresLoss


class CCLConfig(MaskedLossOptions):
    """ℓ_i = 1 − cos⁺ + w · mean_j max(0, cos_j − m) over all columns that are negatives of the example.

    It reads plain cosines: the margin has the place of a temperature. Both slopes are constant, so that an item is
    pulled beyond the margin where p(y|x) > w·Q(y), with Q the proposal of the negatives. There is no logQ correction,
    which would have to change w by item.

    Attributes:
        margin: m, a cosine.
        negative_weight: w; with uniform negatives N times the least p(y|x) of an item worth recommending, so it grows
            with the catalogue.
    """

    default_temperature: ClassVar[float | None] = None
    kind: Literal["ccl"] = "ccl"
    margin: float = Field(default=0.4, ge=-1, lt=1)
    negative_weight: float = Field(default=15.0, gt=0)

    def create(self, batch: BatchShape) -> CCLLoss:
        return CCLLoss(self)


class CCLLoss(ScoresLoss):
    """``CCLConfig`` as a function."""

    def __init__(self, config: CCLConfig) -> None:
        super().__init__(config)
        self.margin, self.negative_weight = config.margin, config.negative_weight

    def of_examples(self, scores: Scores, *, corrected: bool) -> Tensor:
        above = F.relu(scores.negative - self.margin)
        return 1 - scores.positive + self.negative_weight * scores.mean(above)
