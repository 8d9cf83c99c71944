"""Which items the queries of a batch are compared with, and the logQ correction of that choice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, Self, TypeAlias

import torch
from pydantic import Field, Tag, model_validator
from torch import Tensor, nn

from recall.neural.bank import BankConfig
from recall.neural.frequency import FrequencyEstimator
from recall.neural.logq import (
    CountsLogQConfig,
    LogQConfig,
    NoLogQConfig,
    StreamingLogQConfig,
    inclusion_log_q,
    mixed_log_q,
)
from recall.neural.mining import MinedPool, MiningConfig
from recall.neural.popular import PopularConfig, PopularDraws
from reccore import ComponentConfig, Interactions
from reccore.config import by_kind


class DrawnNegativesConfig(ComponentConfig):
    """Options of negatives that are drawn for each batch.

    Attributes:
        in_batch: whether the targets of the other examples of a batch are negatives.
        uniform: negatives drawn uniformly from the catalogue for each batch.
        popular: negatives drawn by a power of popularity; None = none.
        mined: hard negatives from the index; None = none.
        logq: the correction.
    """

    in_batch: bool = True
    uniform: int = Field(default=1024, ge=0)
    popular: PopularConfig | None = None
    mined: MiningConfig | None = None
    logq: LogQConfig = CountsLogQConfig()

    @property
    def proposes_evenly(self) -> bool:
        """Whether all items are proposed with the same probability."""
        return not self.in_batch and self.popular is None and self.mined is None

    @model_validator(mode="after")
    def _without_in_batch(self) -> Self:
        if self.in_batch:
            return self
        if self.uniform == 0 and self.popular is None:
            # Mined items alone do not do: the correction of a target needs a chance of it to be drawn.
            raise ValueError("in_batch = false needs other negatives: uniform above 0, or popular")
        if isinstance(self.logq, StreamingLogQConfig):
            raise ValueError(
                "logq.kind = streaming estimates in-batch draws, and in_batch is false; use counts or none"
            )
        return self


class SampledNegativesConfig(DrawnNegativesConfig):
    """The targets of the batch, and what is drawn beside them; repeats of an item count as often as drawn.

    Attributes:
        bank: vectors of earlier targets as further negatives of the queries; None = none.
    """

    kind: Literal["sampled"] = "sampled"
    bank: BankConfig | None = None

    @model_validator(mode="after")
    def _bank_of_targets(self) -> Self:
        if self.bank is not None and not self.in_batch:
            raise ValueError("bank holds targets of earlier batches, and in_batch = false has no targets as negatives")
        return self


class DistinctNegativesConfig(DrawnNegativesConfig):
    """The same draws, but each item once: corrected by the chance that a batch holds it."""

    kind: Literal["distinct"] = "distinct"


class CatalogueNegativesConfig(ComponentConfig):
    """Every item of the catalogue: the full softmax, which sampled ones estimate. Nothing is drawn or corrected."""

    kind: Literal["catalogue"] = "catalogue"


NegativesConfig: TypeAlias = Annotated[
    Annotated[SampledNegativesConfig, Tag("sampled")]
    | Annotated[DistinctNegativesConfig, Tag("distinct")]
    | Annotated[CatalogueNegativesConfig, Tag("catalogue")],
    by_kind("sampled"),
]


@dataclass(frozen=True, eq=False)
class SampledItems:
    """Items whose vectors a step learns.

    Attributes:
        item_idx: (M,).
        target: (B,) column of each example's target; None = 0 … B−1.
        repeats: (M,) how often each was drawn, 0 = it is a target only; None = as often as it is in ``item_idx``.
    """

    item_idx: Tensor
    target: Tensor | None = None
    repeats: Tensor | None = None


class Negatives(ABC):
    """Chooses the columns of a batch and their correction."""

    n_columns: float
    """Columns of a mean batch, the bank's not counted."""
    pool: MinedPool | None = None

    @abstractmethod
    def sample(self, targets: Tensor, draws: torch.Generator) -> SampledItems:
        """Columns for the targets (B,) of a batch."""

    @abstractmethod
    def log_q(self, item_idx: Tensor, n_bank: int) -> Tensor | None:
        """(M,) log sampling probability of columns; None = uncorrected.

        A vector of the bank was a target too, so ``n_bank`` of them count as so many more in-batch draws.
        """


class CatalogueNegatives(Negatives):
    """All N items."""

    def __init__(self, n_items: int) -> None:
        self.n_items = self.n_columns = n_items

    def sample(self, targets: Tensor, draws: torch.Generator) -> SampledItems:
        return SampledItems(torch.arange(self.n_items, device=targets.device), targets)

    def log_q(self, item_idx: Tensor, n_bank: int) -> None:
        return None


class SampledNegatives(Negatives):
    """In-batch, uniform, popular and mined negatives.

    Args:
        config: how many, and the correction.
        interactions: the fit split, for counts.
        n_in_batch: mean number of examples in a batch.
        device: where batches are.
        frequency: the streaming estimate, where ``config.logq`` is one.
        keeps_repeats: whether each draw needs a column of its own; else equal draws share a weighted column.
    """

    def __init__(
        self,
        config: DrawnNegativesConfig,
        interactions: Interactions,
        n_in_batch: float,
        device: torch.device,
        *,
        frequency: FrequencyEstimator | None,
        keeps_repeats: bool,
    ) -> None:
        self.config, self.frequency, self.keeps_repeats = config, frequency, keeps_repeats
        self.n_items, self.n_in_batch = interactions.n_items, n_in_batch
        self.distinct = isinstance(config, DistinctNegativesConfig)
        self.formula: Callable[..., Tensor] = inclusion_log_q if self.distinct else mixed_log_q
        self.n_columns = n_in_batch + config.uniform
        if config.mined is not None:
            self.pool = MinedPool(self.n_items, config.mined).to(device)
            self.n_columns += config.mined.per_batch
        self.popular: PopularDraws | None = None
        if config.popular is not None:
            self.popular = PopularDraws(config.popular, interactions, device)
            self.n_columns += config.popular.per_batch
        self.share: Tensor | None = None  # (N,) of the fit events
        if isinstance(config.logq, CountsLogQConfig):
            counts = torch.from_numpy(interactions.item_counts())
            self.share = (counts / counts.sum()).to(device=device, dtype=torch.float32)

    def sample(self, targets: Tensor, draws: torch.Generator) -> SampledItems:
        uniform = torch.randint(self.n_items, (self.config.uniform,), generator=draws).to(targets.device)
        parts = [targets, uniform]
        if self.pool is not None:
            parts.append(self.pool.draw(draws))
        if self.popular is not None:
            parts.append(self.popular.draw(draws))
        sampled = torch.cat(parts)  # the targets come first
        if self.frequency is not None:
            self.frequency.update(targets)
        if self.keeps_repeats:
            return SampledItems(sampled, repeats=None if self.config.in_batch else _drawn(sampled, len(targets)))
        # Popular items are drawn again and again: 8,192 events of ML-32M's popularity hold 3,500 distinct films.
        distinct, column, repeats = torch.unique(sampled, return_inverse=True, return_counts=True)
        target = column[: len(targets)]
        if not self.config.in_batch:
            repeats = repeats - torch.bincount(target, minlength=len(distinct))
            return SampledItems(distinct, target, repeats.clamp(max=1) if self.distinct else repeats)
        return SampledItems(distinct, target, None if self.distinct else repeats)

    def log_q(self, item_idx: Tensor, n_bank: int) -> Tensor | None:
        if isinstance(self.config.logq, NoLogQConfig):
            return None
        if self.frequency is not None:
            share = self.frequency.share(item_idx, self.n_in_batch)
        else:
            assert self.share is not None
            share = self.share[item_idx]
        mined = None if self.pool is None else self.pool.proposal(item_idx)
        popular = None if self.popular is None else self.popular.proposal(item_idx)
        return self.formula(
            share,
            self.n_in_batch + n_bank if self.config.in_batch else 0.0,
            self.config.uniform,
            n_items=self.n_items,
            further=[proposal for proposal in (mined, popular) if proposal is not None],
        )


def _drawn(sampled: Tensor, n_targets: int) -> Tensor:
    """(M,) 0 for the targets, which come first, 1 for what was drawn beside them."""
    drawn = torch.ones_like(sampled)
    drawn[:n_targets] = 0
    return drawn


def negatives_state(negatives: Negatives, bank: nn.Module | None) -> nn.ModuleDict:
    """Modules that hold state between batches, for checkpoints."""
    parts = {"bank": bank, "pool": negatives.pool}
    return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
