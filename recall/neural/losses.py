"""Losses over sampled items: the corrected softmax of 2019, and that of 2025 with an uncorrected positive.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019; Khrylchenko et
al., "Correcting the LogQ correction: revisiting sampled softmax for large-scale retrieval", RecSys 2025.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field, Tag
from torch import Tensor

from reccore import ComponentConfig
from reccore.config import by_kind
from training.kernels.fused_softmax import fused_sampled_softmax
from training.kernels.masking import PositiveItems
from training.kernels.sampled_softmax import sampled_softmax, weighted_mean

FUSED_ABOVE = 1 << 21
"""Logits of a mean batch above which ``implementation = auto`` is the fused one: 8 MiB in fp32, and several times
that in flight. On one core (d 64, 2,048 columns) the fused one is three times as fast from there on; far below,
equal."""


class SoftmaxConfig(ComponentConfig):
    """Softmax cross-entropy of the target against the sampled items.

    Attributes:
        mask_accidental_hits: hide negatives that are the example's own target.
        mask_positives: hide negatives in the part of the ``history`` that the query reads, or ``all`` items of the
            example's user, later ones too.
        hardest: only so many negatives of each example count, those with the largest terms in the softmax's sum;
            None = all. The repeats of an item are one term.
        implementation: ``plain`` writes out all logits of a batch; ``fused`` forms loss and gradients in chunks of
            rows, in bf16 where the machine is faster so; ``auto`` is fused for large batches.
    """

    kind: Literal["softmax"] = "softmax"
    mask_accidental_hits: bool = True
    mask_positives: Literal["none", "history", "all"] = "none"
    hardest: int | None = Field(default=None, ge=1)
    implementation: Literal["auto", "plain", "fused"] = "auto"


class CorrectedSoftmaxConfig(ComponentConfig):
    """The positive stays uncorrected and an example is weighted by 1 − P̂ (RecSys 2025); needs sampled negatives."""

    kind: Literal["corrected_softmax"] = "corrected_softmax"


LossConfig: TypeAlias = Annotated[
    Annotated[SoftmaxConfig, Tag("softmax")] | Annotated[CorrectedSoftmaxConfig, Tag("corrected_softmax")],
    by_kind("softmax"),
]


@dataclass(frozen=True, eq=False)
class Columns:
    """The items that the queries of a batch are compared with.

    Attributes:
        item_idx: (M,).
        vectors: (M, D).
        target: (B,) column of each example's target; None = 0 … B−1.
        repeats: (M,) how often each item was drawn; None = as often as it has a column.
        n_bank: columns that come from a bank of earlier batches, the last ones.
    """

    item_idx: Tensor
    vectors: Tensor
    target: Tensor | None = None
    repeats: Tensor | None = None
    n_bank: int = 0

    def detached(self) -> Columns:
        """The same without gradients to the vectors."""
        return replace(self, vectors=self.vectors.detach())

    def with_bank(self, vectors: Tensor, item_idx: Tensor) -> Columns:
        """Followed by the bank's columns; older vectors of an item differ, so each keeps a column of its own."""
        return Columns(
            torch.cat([self.item_idx, item_idx]),
            torch.cat([self.vectors, vectors]),
            self.target,
            None if self.repeats is None else torch.cat([self.repeats, torch.ones_like(item_idx)]),
            len(item_idx),
        )


class SoftmaxLoss:
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
        """Mean loss of (B, D) queries; arguments as in ``training.kernels.sampled_softmax``."""
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


def corrected_logq_softmax(
    queries: Tensor,
    items: Tensor,
    item_idx: Tensor,
    *,
    temperature: float | Tensor,
    log_q: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean loss of the 2025 correction, arguments as in ``training.kernels.sampled_softmax``.

    A positive is in its own softmax with certainty, not by sampling, so it is not corrected; the negatives are draws
    of other items, from Q′(d) = Q(d) / (1 − Q(p)), where Q = c/Σc gives c_d / (Σc − c_p):

        ℓ_i = sg(1 − P̂_i) · (log S_i − s_p),   S_i = Σ_d exp(s_d − log Q′(d)),   P̂_i = e^{s_p} / (e^{s_p} + S_i/n)

    over the n sampled rows d that are not example i's target; sg stops the gradient. The gradient is that of the full
    softmax with the sum over the other items estimated from the sample. The value is no cross-entropy: it may be
    negative. An example without any negative counts 0.
    """
    n_examples = len(queries)
    scores = queries / temperature @ items.T  # (B, M)
    positive = scores.diagonal()
    own = item_idx[:n_examples, None] == item_idx[None, :]
    n_negatives = (~own).sum(dim=1)
    own = own & (n_negatives > 0)[:, None]  # a row that is hidden entirely would have no finite sum
    log_rest = torch.log1p(-log_q[:n_examples].exp().clamp(max=1 - torch.finfo(log_q.dtype).eps))  # log(1 − Q(p))
    corrected = torch.where(own, -torch.inf, scores - log_q + log_rest[:, None])
    negatives = torch.logsumexp(corrected, dim=1)
    with torch.no_grad():
        one_minus_p = torch.sigmoid(negatives - n_negatives.clamp(min=1).to(scores.dtype).log() - positive)
        one_minus_p = torch.where(n_negatives > 0, one_minus_p, 0.0)
    return weighted_mean(one_minus_p * (negatives - positive), weight)
