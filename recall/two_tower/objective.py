"""What a training step minimises: which items are sampled, how that is corrected, which softmax compares them."""

from __future__ import annotations

import torch
from torch import Tensor

from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.fused import fused_sampled_softmax
from recall.two_tower.loss import corrected_logq_softmax, inclusion_log_q, mixed_log_q, sampled_softmax
from recall.two_tower.network import TwoTowerNetwork
from recall.two_tower.towers import UserInputs
from recall.two_tower.transformer import SequenceInputs
from reccore.arrays import IntArray


class Objective:
    """The loss of a batch.

    Args:
        network: whose vectors are compared; brings the streaming frequencies and the learned temperature.
        item_counts: (N,) training events of each item.
        n_in_batch: mean number of examples in a batch, which ``batch_size`` need not divide.
        config: negatives, correction, temperature, softmax.
        device: where the network is.
    """

    def __init__(
        self,
        network: TwoTowerNetwork,
        item_counts: IntArray,
        n_in_batch: float,
        config: TwoTowerConfig,
        device: torch.device,
    ) -> None:
        self.network = network
        self.n_in_batch = n_in_batch
        self.config = config
        self.formula = inclusion_log_q if config.dedup else mixed_log_q
        self.log_q_table: Tensor | None = None  # (N,)
        if config.logq == "counts":
            counts = torch.from_numpy(item_counts)
            share = (counts / counts.sum()).to(device=device, dtype=torch.float32)
            self.log_q_table = self.formula(share, n_in_batch, config.uniform_negatives)

    def __call__(self, inputs: UserInputs | SequenceInputs, targets: Tensor, draws: torch.Generator) -> Tensor:
        """Mean loss of B examples with the given targets (B,); ``draws`` samples the uniform negatives."""
        config, network = self.config, self.network
        uniform = torch.randint(network.n_items, (config.uniform_negatives,), generator=draws).to(targets.device)
        sampled = torch.cat([targets, uniform])  # (M,), M = B + B'
        row_of_target = None
        if config.dedup:
            sampled = torch.unique(sampled)  # sorted
            row_of_target = torch.searchsorted(sampled, targets)
        log_q = self._log_q(targets, sampled)
        temperature = config.temperature if network.temperature is None else network.temperature()
        queries, items = network(inputs, sampled, draws)
        if config.corrected_logq and log_q is not None:
            return corrected_logq_softmax(queries, items, sampled, temperature=temperature, log_q=log_q)
        hits = config.mask_accidental_hits
        if config.softmax == "fused":
            return fused_sampled_softmax(
                queries, items, sampled, temperature=temperature, log_q=log_q, mask_accidental_hits=hits
            )
        return sampled_softmax(
            queries,
            items,
            sampled,
            temperature=temperature,
            log_q=log_q,
            mask_accidental_hits=hits,
            target=row_of_target,
            own_items=inputs.history if config.mask_history else None,
        )

    def _log_q(self, targets: Tensor, sampled: Tensor) -> Tensor | None:
        """(M,) of the sampled items, once the (B,) targets are taken in; None = uncorrected."""
        frequency = self.network.frequency
        if frequency is not None:
            frequency.update(targets)
            share = frequency.share(sampled, self.n_in_batch)
            return self.formula(share, self.n_in_batch, self.config.uniform_negatives, n_items=self.network.n_items)
        return None if self.log_q_table is None else self.log_q_table[sampled]
