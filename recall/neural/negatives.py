"""Which items the queries of a batch are compared with, and the logQ correction of that choice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field, Tag
from torch import Tensor, nn

from recall.neural.bank import BankConfig
from recall.neural.frequency import FrequencyEstimator
from recall.neural.logq import CountsLogQConfig, LogQConfig, NoLogQConfig, inclusion_log_q, mixed_log_q
from recall.neural.mining import MinedPool, MiningConfig
from reccore import ComponentConfig, Interactions
from reccore.config import by_kind


class SampledNegativesConfig(ComponentConfig):
    """The targets of the batch, and what is drawn beside them; repeats of an item count as often as drawn.

    Attributes:
        uniform: negatives drawn uniformly from the catalogue for each batch.
        logq: the correction.
        mined: hard negatives from the index; None = none.
        bank: vectors of earlier targets as further negatives of the queries; None = none.
    """

    kind: Literal["sampled"] = "sampled"
    uniform: int = Field(default=1024, ge=0)
    logq: LogQConfig = CountsLogQConfig()
    mined: MiningConfig | None = None
    bank: BankConfig | None = None


class DistinctNegativesConfig(ComponentConfig):
    """The same draws, but each item once: corrected by the chance that a batch holds it.

    Attributes:
        uniform: negatives drawn uniformly from the catalogue for each batch.
        logq: the correction.
        mined: hard negatives from the index; None = none.
    """

    kind: Literal["distinct"] = "distinct"
    uniform: int = Field(default=1024, ge=0)
    logq: LogQConfig = CountsLogQConfig()
    mined: MiningConfig | None = None


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
        repeats: (M,) how often each was drawn; None = as often as it is in ``item_idx``.
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
    """In-batch, uniform and mined negatives.

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
        config: SampledNegativesConfig | DistinctNegativesConfig,
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
        self.share: Tensor | None = None  # (N,) of the fit events
        if isinstance(config.logq, CountsLogQConfig):
            counts = torch.from_numpy(interactions.item_counts())
            self.share = (counts / counts.sum()).to(device=device, dtype=torch.float32)

    def sample(self, targets: Tensor, draws: torch.Generator) -> SampledItems:
        uniform = torch.randint(self.n_items, (self.config.uniform,), generator=draws).to(targets.device)
        parts = [targets, uniform]
        if self.pool is not None:
            parts.append(self.pool.draw(draws))
        sampled = torch.cat(parts)  # the targets come first
        if self.frequency is not None:
            self.frequency.update(targets)
        if self.keeps_repeats:
            return SampledItems(sampled)
        # Popular items are drawn again and again: 8,192 events of ML-32M's popularity hold 3,500 distinct films.
        distinct, column, repeats = torch.unique(sampled, return_inverse=True, return_counts=True)
        return SampledItems(distinct, column[: len(targets)], None if self.distinct else repeats)

    def log_q(self, item_idx: Tensor, n_bank: int) -> Tensor | None:
        if isinstance(self.config.logq, NoLogQConfig):
            return None
        if self.frequency is not None:
            share = self.frequency.share(item_idx, self.n_in_batch)
        else:
            assert self.share is not None
            share = self.share[item_idx]
        return self.formula(
            share,
            self.n_in_batch + n_bank,
            self.config.uniform,
            n_items=self.n_items,
            mined=None if self.pool is None else self.pool.share(item_idx),
        )


def negatives_state(negatives: Negatives, bank: nn.Module | None) -> nn.ModuleDict:
    """Modules that hold state between batches, for checkpoints."""
    parts = {"bank": bank, "pool": negatives.pool}
    return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
