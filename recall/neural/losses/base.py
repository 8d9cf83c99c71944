"""What every loss is given, and the scores of positives and negatives that most losses are a formula of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from reccore import ComponentConfig
from training.kernels.masking import PositiveItems, negative_mask
from training.kernels.sampled_softmax import weighted_mean

Correction: TypeAlias = Literal["none", "differences", "logits"]
"""What of log Q a loss reads: nothing, its differences between columns, or its values too."""


class LossOptions(ComponentConfig):
    """Options of every loss; subclasses add a field ``kind`` and implement ``create``."""

    correction: ClassVar[Correction] = "none"
    default_temperature: ClassVar[float | None] = 0.1
    """τ where the configuration gives none; None = the loss reads plain cosines and has no temperature."""

    @property
    def merges_repeats(self) -> bool:
        """Whether equal draws may share a column with ``repeats``; else each draw needs a column of its own."""
        return False

    @abstractmethod
    def create(self, batch: BatchShape) -> Loss:
        """The loss for batches of this shape."""


class MaskedLossOptions(LossOptions):
    """Options of losses that hide columns from examples.

    Attributes:
        mask_accidental_hits: hide negatives that are the example's own target.
        mask_positives: hide negatives in the part of the ``history`` that the query reads, or ``all`` items of the
            example's user, later ones too.
    """

    mask_accidental_hits: bool = True
    mask_positives: Literal["none", "history", "all"] = "none"

    @property
    def merges_repeats(self) -> bool:
        # A merged column hides the repeats of a target, as masking accidental hits does.
        return self.mask_accidental_hits


@dataclass(frozen=True)
class BatchShape:
    """Sizes that a loss depends on.

    Attributes:
        n_items: of the catalogue.
        n_logits: examples × columns of a mean batch.
        in_batch: whether the targets of other examples are negatives.
    """

    n_items: int
    n_logits: float
    in_batch: bool = True


@dataclass(frozen=True, eq=False)
class Columns:
    """The items that the queries of a batch are compared with.

    Attributes:
        item_idx: (M,).
        vectors: (M, D).
        target: (B,) column of each example's target; None = 0 … B−1.
        repeats: (M,) how often each item was drawn, 0 = it is a target only; None = as often as it has a column.
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


class Loss(ABC):
    """The mean loss of a batch of queries over columns."""

    @abstractmethod
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
        """Mean loss of (B, D) queries.

        Args:
            queries: (B, D) unit vectors.
            columns: M items.
            log_q: (M,) log sampling probability of the columns; None = uncorrected.
            temperature: τ, by which cosines are divided.
            weight: (B,) reward of each example; None = 1.
            positives: items that are not negatives of an example; never hides its target.
        """


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of each example's positive and of its negatives.

    Attributes:
        positive: (B,).
        negative: (B, M), arbitrary but finite where ``count`` is 0.
        count: (B, M) how many negatives of the example a column stands for; 0 = none: its target, or hidden.
    """

    positive: Tensor
    negative: Tensor
    count: Tensor

    @classmethod
    def of(
        cls,
        queries: Tensor,
        columns: Columns,
        log_q: Tensor | None,
        *,
        temperature: float | Tensor,
        mask_accidental_hits: bool,
        positives: PositiveItems | None,
    ) -> Scores:
        """⟨u_i, v_j⟩/τ − log q_j of all pairs; O(B·M·D) time and several (B, M) tensors of memory."""
        scaled = queries / temperature
        items = columns.vectors.T
        logits = scaled @ items if log_q is None else torch.addmm(-log_q, scaled, items)  # (B, M)
        target = columns.target
        if target is None:
            target = torch.arange(len(queries), device=queries.device)
        # In 32 bits whatever the precision of the products: counts beyond 256 are not exact in bfloat16.
        count = torch.ones_like(logits, dtype=torch.promote_types(logits.dtype, torch.float32))
        if columns.repeats is not None:
            count = count * columns.repeats
        hidden = negative_mask(columns.item_idx, target, accidental_hits=mask_accidental_hits, positives=positives)
        if hidden is not None:
            mask = torch.zeros_like(count)
            hidden.hide(mask, 0)
            count = count.masked_fill(mask < 0, 0.0)
        own = target[:, None]
        return cls(logits.gather(1, own).squeeze(1), logits, count.scatter(1, own, 0.0))

    @property
    def has_negatives(self) -> Tensor:
        """(B,) whether an example has any negative."""
        return self.count.sum(dim=1) > 0

    def mean(self, values: Tensor) -> Tensor:
        """(B,) mean of ``values`` (B, M) over an example's negatives; 0 without any."""
        return (values * self.count).sum(dim=1) / self.count.sum(dim=1).clamp(min=1.0)

    def log_weights(self) -> Tensor:
        """(B, M) logarithms of the softmax over an example's negatives; of a uniform one without any."""
        count = torch.where(self.has_negatives[:, None], self.count, 1.0)
        return torch.log_softmax(self.negative + count.log(), dim=1)


class ScoresLoss(Loss):
    """A loss that is a formula of each example's scores.

    Costs O(B·M·D) time and several (B, M) tensors of memory.
    """

    def __init__(self, options: MaskedLossOptions) -> None:
        self.mask_accidental_hits = options.mask_accidental_hits

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
        scores = Scores.of(
            queries,
            columns,
            log_q,
            temperature=temperature,
            mask_accidental_hits=self.mask_accidental_hits,
            positives=positives,
        )
        return weighted_mean(self.of_examples(scores, corrected=log_q is not None), weight)

    @abstractmethod
    def of_examples(self, scores: Scores, *, corrected: bool) -> Tensor:
        """(B,) losses; ``corrected``: log Q has been subtracted from the scores."""
