"""Pair-wise: does the chosen item score above another?

Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback", UAI 2009.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from recall.neural.losses.base import BatchShape, Correction, MaskedLossOptions, Scores, ScoresLoss


class BPRConfig(MaskedLossOptions):
    """ℓ_i = mean_j −log σ(s⁺ − s_j) over all columns that are negatives of the example.

    Without a logQ correction the best scores order items by p(y|x)/Q(y), with Q the proposal of the negatives; with it
    by p(y|x).
    """

    correction: ClassVar[Correction] = "differences"
    kind: Literal["bpr"] = "bpr"

    def create(self, batch: BatchShape) -> BPRLoss:
        return BPRLoss(self)


class BPRLoss(ScoresLoss):
    """``BPRConfig`` as a function."""

    def of_examples(self, scores: Scores, *, corrected: bool) -> Tensor:
        return scores.mean(F.softplus(scores.negative - scores.positive[:, None]))
