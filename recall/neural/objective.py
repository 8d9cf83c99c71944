"""What a training step minimises: negatives, correction, masks and loss, joined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recall.neural.bank import ItemBank
from recall.neural.config import NeuralConfig
from recall.neural.encoders.base import QueryInputs
from recall.neural.losses.base import BatchShape, Columns, MaskedLossOptions
from recall.neural.mining import Retrieve
from recall.neural.negatives import (
    CatalogueNegatives,
    CatalogueNegativesConfig,
    Negatives,
    SampledNegatives,
    SampledNegativesConfig,
    negatives_state,
)
from recall.neural.network import BatchPart, NeuralNetwork
from recall.neural.rewards import rating_rewards
from reccore import Interactions
from reccore.arrays import IntArray
from training.kernels.masking import PositiveItems
from training.ranks import joined_mean


class Objective:
    """The loss of a batch.

    Args:
        network: whose vectors are compared; holds the streaming frequencies and a learned temperature.
        interactions: the fit split; every event is a target once an epoch.
        n_in_batch: mean number of examples in a batch, which ``batch_size`` need not divide.
        config: negatives, loss, temperature, rewards.
        device: where the network is.
        retrieve: answers queries by the network's current vectors; needed for mined negatives.

    Raises:
        DataError: ``reward = rating`` and ratings that cannot be rewards.
        ValueError: mined negatives without ``retrieve``.
    """

    def __init__(
        self,
        network: NeuralNetwork,
        interactions: Interactions,
        n_in_batch: float,
        config: NeuralConfig,
        device: torch.device,
        *,
        retrieve: Retrieve | None = None,
    ) -> None:
        self.network, self.interactions, self.config, self.retrieve = network, interactions, config, retrieve
        self.device = device
        self.negatives = self._build_negatives(n_in_batch)
        if self.negatives.pool is not None and retrieve is None:
            raise ValueError("mined negatives need a way to retrieve them")
        self.rewards = rating_rewards(interactions) if config.reward == "rating" else None  # (E,)
        self.bank: ItemBank | None = None
        n_columns = self.negatives.n_columns
        if isinstance(config.negatives, SampledNegativesConfig) and config.negatives.bank is not None:
            self.bank = ItemBank(config.negatives.bank, config.embedding_size).to(device)
            n_columns += config.negatives.bank.size
        in_batch = isinstance(config.negatives, CatalogueNegativesConfig) or config.negatives.in_batch
        self.loss = config.loss.create(BatchShape(interactions.n_items, n_in_batch * n_columns, in_batch))
        masks = config.loss.mask_positives if isinstance(config.loss, MaskedLossOptions) else "none"
        self.masks_history = masks == "history"
        self.user_positives = UserPositives(interactions, device) if masks == "all" else None

    def _build_negatives(self, n_in_batch: float) -> Negatives:
        config = self.config
        if isinstance(config.negatives, CatalogueNegativesConfig):
            return CatalogueNegatives(self.network.n_items)
        return SampledNegatives(
            config.negatives,
            self.interactions,
            n_in_batch,
            self.device,
            frequency=self.network.frequency,
            keeps_repeats=not config.loss.merges_repeats,
        )

    def state_dict(self) -> dict[str, Tensor]:
        """State between batches that the network does not hold: for checkpoints."""
        return dict(negatives_state(self.negatives, self.bank).state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore ``state_dict`` of the same configuration."""
        negatives_state(self.negatives, self.bank).load_state_dict(state)

    def __call__(
        self,
        inputs: QueryInputs,
        targets: Tensor,
        events: IntArray,
        draws: torch.Generator,
        part: BatchPart | None = None,
    ) -> Tensor:
        """Mean loss of B examples.

        Args:
            inputs: the queries, with ``part`` those of this rank alone.
            targets: (B,) the item of each.
            events: (B,) which event of the fit split each target is.
            draws: samples the negatives.
            part: what this rank has of the batch; None in a single process.
        """
        network = self.network
        self._mine(draws)
        sample = self.negatives.sample(targets, draws)
        queries, items = network(inputs, sample.item_idx, draws, part)
        columns = Columns(sample.item_idx, items, sample.target, sample.repeats)
        targets_of = items[: len(targets)] if sample.target is None else items[sample.target]
        own_targets, all_events = targets_of, events
        if part is not None:
            own = part.targets.to(targets.device)
            columns = replace(columns, target=own if sample.target is None else sample.target[own])
            own_targets, events = targets_of[own], events[part.targets.numpy()]
        if queries.ndim == 3:
            queries = closest_interest(queries, own_targets.detach())
        weight = None if self.rewards is None else torch.from_numpy(self.rewards[events]).to(targets.device)
        positives = self._positives(inputs, events)
        loss = self._with_bank(queries, columns, targets_of, targets, weight, positives)
        if part is None:
            return loss
        return joined_mean(loss, self._total_reward(events) if part.counts else 0.0, self._total_reward(all_events))

    def _total_reward(self, events: IntArray) -> float:
        return float(len(events) if self.rewards is None else self.rewards[events].sum(dtype=np.float64))

    def _with_bank(
        self,
        queries: Tensor,
        columns: Columns,
        targets_of: Tensor,
        targets: Tensor,
        weight: Tensor | None,
        positives: PositiveItems | None,
    ) -> Tensor:
        """Mean loss of the queries; the vectors ``targets_of`` of the batch's ``targets`` join the bank."""
        temperature = self._temperature()
        if self.bank is None:
            return self._loss(queries, columns, temperature, weight, positives)
        bank = self.bank.rows()
        self.bank.push(targets_of, targets)
        if not len(bank[1]):
            return self._loss(queries, columns, temperature, weight, positives)
        # Bank vectors are detached, so the item side needs a softmax without them; otherwise item gradients are
        # unbalanced (the full pull of its own query, a part of the push), and all items drift together.
        constant = temperature.detach() if isinstance(temperature, Tensor) else temperature
        of_items = self._loss(queries.detach(), columns, constant, weight, positives)
        loss = self._loss(queries, columns.detached().with_bank(*bank), temperature, weight, positives)
        return loss + of_items - of_items.detach()

    def _loss(
        self,
        queries: Tensor,
        columns: Columns,
        temperature: float | Tensor,
        weight: Tensor | None,
        positives: PositiveItems | None,
    ) -> Tensor:
        log_q = self.negatives.log_q(columns.item_idx, columns.n_bank)
        return self.loss(queries, columns, log_q, temperature=temperature, weight=weight, positives=positives)

    def _temperature(self) -> float | Tensor:
        """τ; 1 for a loss of plain cosines."""
        if self.network.temperature is not None:
            learned: Tensor = self.network.temperature()
            return learned
        return 1.0 if self.config.tau is None else self.config.tau.start

    def _positives(self, inputs: QueryInputs, events: IntArray) -> PositiveItems | None:
        if self.user_positives is not None:
            return self.user_positives(events)
        return inputs.positives() if self.masks_history else None

    def _mine(self, draws: torch.Generator) -> None:
        if self.negatives.pool is not None and self.retrieve is not None:
            training = self.network.training
            self.negatives.pool.step(self.interactions, self.retrieve, draws)
            self.network.train(training)


def closest_interest(queries: Tensor, targets: Tensor) -> Tensor:
    """(P, D): of each query's interests (P, I, D) the one with the greatest inner product with its target (P, D).

    The hard label-aware attention of MIND (Li et al., CIKM 2019, p → ∞): retrieval too takes an item's best interest.
    A zero vector is no interest and is taken only where a query has no other.
    """
    scores = torch.einsum("pid,pd->pi", queries.detach(), targets)
    best = torch.where(queries.detach().any(dim=2), scores, -torch.inf).argmax(dim=1)
    return queries[torch.arange(len(queries), device=queries.device), best]


class UserPositives:
    """All items of the user of each example, earlier and later: slices of one int32 copy of the events' items."""

    def __init__(self, interactions: Interactions, device: torch.device) -> None:
        self.offsets, self.device = interactions.user_offsets, device
        # 4 bytes per event: reading the events of a batch is what takes the time (33 MB a step at ML-32M's shape).
        self.item_idx = torch.from_numpy(interactions.item_idx.astype(np.int32)).to(device)

    def __call__(self, events: IntArray) -> PositiveItems:
        """Items of the users whose ``events`` (B,) are the targets."""
        users = self.offsets.searchsorted(events, side="right") - 1
        start, stop = (torch.from_numpy(self.offsets[at]).to(self.device) for at in (users, users + 1))
        return PositiveItems(self.item_idx, start, stop)
