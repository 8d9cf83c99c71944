"""What a training step minimises: which items are sampled, how that is corrected, which softmax compares them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from recall.two_tower.bank import ItemBank
from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.loss import (
    corrected_logq_softmax,
    inclusion_log_q,
    mixed_log_q,
)
from recall.two_tower.mining import MinedPool, Retrieve, mine
from recall.two_tower.network import TwoTowerNetwork
from recall.two_tower.own_items import of_whole_users, read_by_queries
from recall.two_tower.rewards import rating_rewards
from recall.two_tower.towers import UserInputs
from recall.two_tower.transformer import SequenceInputs
from reccore import Interactions
from reccore.arrays import IntArray
from training.kernels.fused_softmax import fused_sampled_softmax
from training.kernels.masking import PositiveItems
from training.kernels.sampled_softmax import sampled_softmax

FUSED_ABOVE = 1 << 21
"""Logits of a mean batch above which ``softmax = auto`` is the fused one: 8 MiB in fp32, and several times that in
flight. With one core, d 64 and 2,048 columns the fused one was three times as fast from there on; far below, equal.
"""


@dataclass(frozen=True, eq=False)
class _Columns:
    """What the queries of a batch are compared with."""

    vectors: Tensor  # (M, D)
    item_idx: Tensor  # (M,)
    repeats: Tensor | None  # (M,)
    n_bank: int = 0

    def detached(self) -> _Columns:
        return replace(self, vectors=self.vectors.detach())

    def with_bank(self, vectors: Tensor, item_idx: Tensor) -> _Columns:
        """The bank's columns after these, each of its own: older vectors of an item differ from one another."""
        return _Columns(
            torch.cat([self.vectors, vectors]),
            torch.cat([self.item_idx, item_idx]),
            None if self.repeats is None else torch.cat([self.repeats, torch.ones_like(item_idx)]),
            len(item_idx),
        )


@dataclass(frozen=True, eq=False)
class _Examples:
    row_of_target: Tensor | None  # (B,) None = 0 … B−1
    reward: Tensor | None  # (B,)
    own_items: PositiveItems | None


def _constant(temperature: float | Tensor) -> float | Tensor:
    return temperature.detach() if isinstance(temperature, Tensor) else temperature


class Objective:
    """The loss of a batch.

    Args:
        network: whose vectors are compared; brings the streaming frequencies and the learned temperature.
        interactions: the fit split; every event is a target once an epoch.
        n_in_batch: mean number of examples in a batch, which ``batch_size`` need not divide.
        config: negatives, correction, temperature, rewards, softmax.
        device: where the network is.
        retrieve: what the network's present vectors answer; needed for ``mined_negatives``.

    Raises:
        DataError: ``reward = rating`` and ratings that cannot be rewards.
        ValueError: ``mined_negatives`` without ``retrieve``.
    """

    def __init__(
        self,
        network: TwoTowerNetwork,
        interactions: Interactions,
        n_in_batch: float,
        config: TwoTowerConfig,
        device: torch.device,
        *,
        retrieve: Retrieve | None = None,
    ) -> None:
        self.network = network
        self.interactions = interactions
        self.n_in_batch = n_in_batch
        self.config = config
        self.retrieve = retrieve
        self.formula = inclusion_log_q if config.dedup else mixed_log_q
        self.share: Tensor | None = None  # (N,)
        if config.logq == "counts":
            counts = torch.from_numpy(interactions.item_counts())
            self.share = (counts / counts.sum()).to(device=device, dtype=torch.float32)
        self.rewards = rating_rewards(interactions) if config.reward == "rating" else None  # (E,)
        self.fuses = config.softmax == "fused" or (config.softmax == "auto" and self._is_large())
        # Popular items are drawn again and again: of 8,192 events of ML-32M's popularity 3,500 are of different films.
        self.merges = config.mask_accidental_hits and not config.corrected_logq
        self.bank: ItemBank | None = None
        self.pool: MinedPool | None = None
        if config.bank_size:
            self.bank = ItemBank(config.bank_size, config.embedding_size, config.bank_warmup_steps).to(device)
        if config.mined_negatives:
            if retrieve is None:
                raise ValueError(f"mined_negatives = {config.mined_negatives} need a way to retrieve them")
            self.pool = MinedPool(interactions.n_items, config.mined_negatives).to(device)

    def state_dict(self) -> dict[str, Tensor]:
        """What the next batch needs of earlier ones and the network does not hold: for checkpoints."""
        return dict(self._state().state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave under the same configuration."""
        self._state().load_state_dict(state)

    def _state(self) -> nn.Module:
        parts = {"bank": self.bank, "pool": self.pool}
        return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})

    def __call__(
        self, inputs: UserInputs | SequenceInputs, targets: Tensor, events: IntArray, draws: torch.Generator
    ) -> Tensor:
        """Mean loss of B examples.

        Args:
            inputs: the queries.
            targets: (B,) the item of each.
            events: (B,) which event of the fit split each target is.
            draws: samples the negatives.
        """
        network = self.network
        self._mine_when_due(draws)
        sampled, row_of_target, repeats = self._sample(targets, draws)
        if network.frequency is not None:
            network.frequency.update(targets)
        queries, items = network(inputs, sampled, draws)
        temperature = self.config.temperature if network.temperature is None else network.temperature()
        examples = _Examples(
            row_of_target,
            None if self.rewards is None else torch.from_numpy(self.rewards[events]).to(targets.device),
            self._own_items(inputs, events),
        )
        batch = _Columns(items, sampled, repeats)
        if self.bank is None:
            return self._loss(queries, batch, examples, temperature)
        bank, bank_items = self.bank.rows()
        self.bank.push(items[: len(targets)] if row_of_target is None else items[row_of_target], targets)
        if not len(bank):
            return self._loss(queries, batch, examples, temperature)
        # An item of the batch is pushed away by the batch's queries alone. Of a softmax that the bank has a share in it
        # would get the whole pull of its own query and a part of that push, and all items would drift together. So
        # either side has the gradient of a softmax whose terms it can answer to: queries with the bank, items without.
        of_items = self._loss(queries.detach(), batch, examples, _constant(temperature))
        loss = self._loss(queries, batch.detached().with_bank(bank, bank_items), examples, temperature)
        return loss + of_items - of_items.detach()

    def _loss(self, queries: Tensor, columns: _Columns, examples: _Examples, temperature: float | Tensor) -> Tensor:
        config = self.config
        log_q = self._log_q(columns)
        if config.corrected_logq and log_q is not None:
            return corrected_logq_softmax(
                queries, columns.vectors, columns.item_idx, temperature=temperature, log_q=log_q, weight=examples.reward
            )
        softmax = fused_sampled_softmax if self.fuses else sampled_softmax
        return softmax(
            queries,
            columns.vectors,
            columns.item_idx,
            temperature=temperature,
            log_q=log_q,
            mask_accidental_hits=config.mask_accidental_hits,
            weight=examples.reward,
            target=examples.row_of_target,
            positives=examples.own_items,
            hardest=config.hardest_negatives or None,
            repeats=columns.repeats,
        )

    def _sample(self, targets: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What is drawn, each item once where the loss can be told how often.

        Returns:
            (M,) items whose vectors are learnt in this step; each example's row there, None = 0 … B−1; (M,) how often
            each was drawn, None = as often as it is there.
        """
        n_items, device = self.network.n_items, targets.device
        if self.config.negatives == "catalogue":
            return torch.arange(n_items, device=device), targets, None
        uniform = torch.randint(n_items, (self.config.uniform_negatives,), generator=draws).to(device)
        parts = [targets, uniform]  # the targets stand first
        if self.pool is not None:
            parts.append(self.pool.draw(draws))
        sampled = torch.cat(parts)
        if not self.merges:
            return sampled, None, None
        distinct, row, repeats = torch.unique(sampled, return_inverse=True, return_counts=True)
        # The correction of ``dedup`` is for items kept once; else a column stands for all its draws.
        return distinct, row[: len(targets)], None if self.config.dedup else repeats

    def _log_q(self, columns: _Columns) -> Tensor | None:
        """(M,) of the softmax's columns; None = uncorrected.

        A vector of the bank was a target too, so a bank of K counts as K more in-batch draws.
        """
        frequency, item_idx = self.network.frequency, columns.item_idx
        if frequency is not None:
            share = frequency.share(item_idx, self.n_in_batch)
        elif self.share is not None:
            share = self.share[item_idx]
        else:
            return None
        return self.formula(
            share,
            self.n_in_batch + columns.n_bank,
            self.config.uniform_negatives,
            n_items=self.network.n_items,
            mined=None if self.pool is None else self.pool.share(item_idx),
        )

    def _own_items(self, inputs: UserInputs | SequenceInputs, events: IntArray) -> PositiveItems | None:
        if self.config.mask_own == "none":
            return None
        if self.config.mask_own == "history":
            return read_by_queries(inputs)
        return of_whole_users(self.interactions, events, inputs.history.device)

    def _mine_when_due(self, draws: torch.Generator) -> None:
        config, network = self.config, self.network
        if self.pool is None or self.retrieve is None or not self.pool.due(config.mined_every):
            return
        training = network.training
        self.pool.fill(mine(self.interactions, self.retrieve, config.mined_queries, config.mined_depth, draws))
        network.train(training)

    def _is_large(self) -> bool:
        """Whether a mean batch has so many logits that ``softmax = auto`` fuses them: one choice for all batches."""
        config = self.config
        n_columns = self.n_in_batch + config.uniform_negatives + config.bank_size + config.mined_negatives
        if config.negatives == "catalogue":
            n_columns = self.network.n_items
        return self.n_in_batch * n_columns > FUSED_ABOVE
