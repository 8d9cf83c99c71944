"""Training of the two towers: mixed negatives, corrected softmax, the best epoch on validation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from loguru import logger
from torch import Tensor

from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.fused import fused_sampled_softmax
from recall.two_tower.loss import corrected_logq_softmax, inclusion_log_q, mixed_log_q, sampled_softmax
from recall.two_tower.network import TrainingExamples, TwoTowerNetwork
from reccore import RecommenderError, RunOptions
from reccore.progress import progress

GRADIENT_NORM = 5.0


class TrainingError(RecommenderError):
    """Training went wrong in a way that more epochs do not mend."""


@dataclass
class TrainingLog:
    """What happened: mean loss and validation figure of each epoch, and which epoch was kept."""

    loss: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0


def train(
    network: TwoTowerNetwork,
    examples: TrainingExamples,
    config: TwoTowerConfig,
    options: RunOptions,
    *,
    validate: Callable[[], float] | None = None,
) -> TrainingLog:
    """Train in place; with ``validate`` (greater is better) the best epoch's weights are restored.

    Raises:
        TrainingError: the loss is not a number; names epoch and batch.
    """
    device = options.torch_device()
    network.to(device)
    optimiser = _optimiser(network, config)
    # Events that come as a user's first have an empty history and count too: they teach the cold start.
    batches_per_epoch = math.ceil(len(examples) / config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=batches_per_epoch * config.epochs)
    correction = _Correction(network, examples, len(examples) / batches_per_epoch, config, device)
    shuffle, draws = options.generator(1), options.torch_generator(2)
    log, best_state = TrainingLog(), copy.deepcopy(network.state_dict())

    with progress("two-tower", len(examples) * config.epochs, unit="samples", enabled=options.progress) as advance:
        for epoch in range(1, config.epochs + 1):
            network.train()
            total = 0.0
            order = shuffle.permutation(len(examples))
            for number, events in enumerate(np.array_split(order, batches_per_epoch), start=1):
                loss = _step(network, examples, events, config, correction, draws, device)
                value = loss.item()
                if not math.isfinite(value):
                    raise TrainingError(
                        f"the loss became {value} in epoch {epoch}, batch {number} of {batches_per_epoch}; "
                        "a lower learning_rate or a higher temperature may help"
                    )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
                optimiser.step()
                schedule.step()
                total += value * len(events)
                advance(len(events), loss=value, epoch=epoch)
            log.loss.append(total / len(examples))
            if validate is None:
                continue
            network.eval()
            log.validation.append(validate())
            logger.debug("epoch {}: loss {:.4f}, validation {:.4f}", epoch, log.loss[-1], log.validation[-1])
            if log.validation[-1] > max(log.validation[:-1], default=-math.inf):
                log.best_epoch, best_state = epoch, copy.deepcopy(network.state_dict())
            elif epoch - log.best_epoch >= config.patience:
                break
    if validate is None:
        log.best_epoch = config.epochs
    else:
        network.load_state_dict(best_state)
    network.eval()
    return log


def _optimiser(network: TwoTowerNetwork, config: TwoTowerConfig) -> torch.optim.Optimizer:
    """AdamW; a learned temperature is not decayed, which would draw it to the middle of its bounds."""
    temperature = [] if network.temperature is None else [network.temperature.position]
    rest = [p for p in network.parameters() if all(p is not t for t in temperature)]
    groups = [{"params": rest}] + ([{"params": temperature, "weight_decay": 0.0}] if temperature else [])
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


class _Correction:
    """log Q of sampled items, for batches of ``n_in_batch`` examples.

    Those are fewer than ``batch_size`` where that divides badly.
    """

    def __init__(
        self,
        network: TwoTowerNetwork,
        examples: TrainingExamples,
        n_in_batch: float,
        config: TwoTowerConfig,
        device: torch.device,
    ) -> None:
        self.frequency = network.frequency
        self.n_items = network.n_items
        self.n_in_batch = n_in_batch
        self.n_uniform = config.uniform_negatives
        self.formula = inclusion_log_q if config.dedup else mixed_log_q
        self.table: Tensor | None = None  # (N,)
        if config.logq == "counts":
            counts = torch.from_numpy(examples.interactions.item_counts())
            share = (counts / counts.sum()).to(device=device, dtype=torch.float32)
            self.table = self.formula(share, n_in_batch, self.n_uniform)

    def log_q(self, targets: Tensor, sampled: Tensor) -> Tensor | None:
        """(M,) of the sampled items, once the (B,) targets are taken in; None = uncorrected."""
        if self.frequency is not None:
            self.frequency.update(targets)
            share = self.frequency.share(sampled, self.n_in_batch)
            return self.formula(share, self.n_in_batch, self.n_uniform, n_items=self.n_items)
        return None if self.table is None else self.table[sampled]


def _step(
    network: TwoTowerNetwork,
    examples: TrainingExamples,
    events: np.ndarray,
    config: TwoTowerConfig,
    correction: _Correction,
    draws: torch.Generator,
    device: torch.device,
) -> Tensor:
    inputs, targets = examples.batch(events)
    inputs, targets = inputs.to(device), targets.to(device)
    uniform = torch.randint(network.n_items, (config.uniform_negatives,), generator=draws).to(device)
    sampled = torch.cat([targets, uniform])  # (M,), M = B + B'
    row_of_target = None
    if config.dedup:
        sampled = torch.unique(sampled)  # sorted
        row_of_target = torch.searchsorted(sampled, targets)
    log_q = correction.log_q(targets, sampled)
    temperature = config.temperature if network.temperature is None else network.temperature()
    queries, items = network.queries(inputs, draws), network.items(sampled, draws)
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
