"""List-wise: the corrected softmax of 2019, and that of 2025 with an uncorrected positive.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019; Khrylchenko et
al., "Correcting the LogQ correction: revisiting sampled softmax for large-scale retrieval", RecSys 2025.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from recall.neural.losses.base import (
    BatchShape,
    Columns,
    Correction,
    Loss,
    LossOptions,
    MaskedLossOptions,
    Scores,
    ScoresLoss,
)
from training.kernels.fused_softmax import fused_sampled_softmax
from training.kernels.masking import PositiveItems
from training.kernels.sampled_softmax import sampled_softmax, weighted_mean

FUSED_ABOVE = 1 << 21
"""Logits of a mean batch above which ``implementation = auto`` is the fused one: 8 MiB in fp32, and several times
that in flight. On one core (d 64, 2,048 columns) the fused one is three times as fast from there on; far below,
equal."""


class SoftmaxConfig(MaskedLossOptions):
    """Softmax cross-entropy of the target against the sampled items.

    Attributes:
        hardest: only so many negatives of each example count, those with the largest terms in the softmax's sum;
            None = all. The repeats of an item are one term.
        implementation: ``plain`` writes out all logits of a batch; ``fused`` forms loss and gradients in chunks of
            rows, in bf16 where the machine is faster so; ``auto`` is fused for large batches. Without in-batch
            negatives there is only the plain one.
    """

    correction: ClassVar[Correction] = "differences"
    kind: Literal["softmax"] = "softmax"
    hardest: int | None = Field(default=None, ge=1)
    implementation: Literal["auto", "plain", "fused"] = "auto"

    def create(self, batch: BatchShape) -> Loss:
        return SoftmaxLoss(self, batch.n_logits) if batch.in_batch else DrawnSoftmaxLoss(self)


class CorrectedSoftmaxConfig(LossOptions):
    """The positive stays uncorrected and an example is weighted by 1 − P̂ (RecSys 2025); needs sampled negatives."""

    correction: ClassVar[Correction] = "logits"
    kind: Literal["corrected_softmax"] = "corrected_softmax"

    def create(self, batch: BatchShape) -> Loss:
        return CorrectedSoftmaxLoss()


class SoftmaxLoss(Loss):
    """``SoftmaxConfig`` as a function; ``n_logits`` are those of a mean batch."""

    def __init__(self, config: SoftmaxConfig, n_logits: float) -> None:
        self.config = config
        large = config.implementation == "auto" and n_logits > FUSED_ABOVE
        self.fuses = config.implementation == "fused" or large

    def __call__(
        self,
        queries: Tensor,
        columns: Columns,
        log_q: Tensor | None,
        *,
        temperature: float | Tensor,
        weight: Tensor | None,
        positives: PositiveItems | None,
    ) -> Tensor:
        softmax = fused_sampled_softmax if self.fuses else sampled_softmax
        return softmax(
            queries,
            columns.vectors,
            columns.item_idx,
            temperature=temperature,
            log_q=log_q,
            mask_accidental_hits=self.config.mask_accidental_hits,
            weight=weight,
            target=columns.target,
            positives=positives,
            hardest=self.config.hardest,
            repeats=columns.repeats,
        )


class DrawnSoftmaxLoss(ScoresLoss):
    """``SoftmaxConfig`` where other examples' targets are no negatives: the target against what was drawn.

    The kernels divide by a column's ``repeats``, which are 0 for a target that was not drawn.
    """

    def __init__(self, config: SoftmaxConfig) -> None:
        super().__init__(config)
        self.hardest = config.hardest

    def of_examples(self, scores: Scores, *, corrected: bool) -> Tensor:
        terms = torch.where(scores.count > 0, scores.negative + scores.count.clamp(min=1.0).log(), -torch.inf)
        if self.hardest is not None:
            terms = terms.topk(min(self.hardest, terms.shape[1]), dim=1, sorted=False).values
        total = torch.logsumexp(torch.cat([scores.positive[:, None], terms], dim=1), dim=1)
        return total - scores.positive


class CorrectedSoftmaxLoss(Loss):
    """``CorrectedSoftmaxConfig`` as a function."""

    def __call__(
        self,
        queries: Tensor,
        columns: Columns,
        log_q: Tensor | None,
        *,
        temperature: float | Tensor,
        weight: Tensor | None,
        positives: PositiveItems | None,
    ) -> Tensor:
        assert log_q is not None  # the configuration refuses it without a correction
        return corrected_logq_softmax(
            queries,
            columns.vectors,
            columns.item_idx,
            temperature=temperature,
            log_q=log_q,
            weight=weight,
            target=columns.target,
            drawn=None if columns.repeats is None else columns.repeats > 0,
        )


def corrected_logq_softmax(
    queries: Tensor,
    items: Tensor,
    item_idx: Tensor,
    *,
    temperature: float | Tensor,
    log_q: Tensor,
    weight: Tensor | None = None,
    target: Tensor | None = None,
    drawn: Tensor | None = None,
) -> Tensor:
    """Mean loss of the 2025 correction, arguments as in ``training.kernels.sampled_softmax``.

    ``drawn`` (M,) marks the rows that are negatives, where the targets of other examples are not; None = all.

    A positive is in its own softmax with certainty, not by sampling, so it is not corrected; the negatives are draws
    of other items, from Q′(d) = Q(d) / (1 − Q(p)), where Q = c/Σc gives c_d / (Σc − c_p):

        ℓ_i = sg(1 − P̂_i) · (log S_i − s_p),   S_i = Σ_d exp(s_d − log Q′(d)),   P̂_i = e^{s_p} / (e^{s_p} + S_i/n)

    over the n sampled rows d that are not example i's target; sg stops the gradient. The gradient is that of the full
    softmax with the sum over the other items estimated from the sample. The value is no cross-entropy: it may be
    negative. An example without any negative counts 0.
    """
    if target is None:
        target = torch.arange(len(queries), device=queries.device)
    scores = queries / temperature @ items.T  # (B, M)
    positive = scores.gather(1, target[:, None]).squeeze(1)
    own = item_idx[target, None] == item_idx[None, :]
    if drawn is not None:
        own = own | ~drawn
    n_negatives = (~own).sum(dim=1)
    own = own & (n_negatives > 0)[:, None]  # a row that is hidden entirely would have no finite sum
    log_rest = torch.log1p(-log_q[target].exp().clamp(max=1 - torch.finfo(log_q.dtype).eps))  # log(1 − Q(p))
    corrected = torch.where(own, -torch.inf, scores - log_q + log_rest[:, None])
    negatives = torch.logsumexp(corrected, dim=1)
    with torch.no_grad():
        one_minus_p = torch.sigmoid(negatives - n_negatives.clamp(min=1).to(scores.dtype).log() - positive)
        one_minus_p = torch.where(n_negatives > 0, one_minus_p, 0.0)
    return weighted_mean(one_minus_p * (negatives - positive), weight)
