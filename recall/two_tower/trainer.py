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
from recall.two_tower.loss import mixed_log_q, sampled_softmax
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
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    # Events that come as a user's first have an empty history and count too: they teach the cold start.
    batches_per_epoch = math.ceil(len(examples) / config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=batches_per_epoch * config.epochs)
    log_q = _log_q(examples, len(examples) / batches_per_epoch, config, device)
    shuffle, draws = options.generator(1), options.torch_generator(2)
    log, best_state = TrainingLog(), copy.deepcopy(network.state_dict())

    with progress("two-tower", len(examples) * config.epochs, unit="samples", enabled=options.progress) as advance:
        for epoch in range(1, config.epochs + 1):
            network.train()
            total = 0.0
            order = shuffle.permutation(len(examples))
            for number, events in enumerate(np.array_split(order, batches_per_epoch), start=1):
                loss = _step(network, examples, events, config, log_q, draws, device)
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


def _log_q(
    examples: TrainingExamples, n_in_batch: float, config: TwoTowerConfig, device: torch.device
) -> Tensor | None:
    """(N,) correction for batches of ``n_in_batch`` examples, fewer than ``batch_size`` where that divides badly."""
    if config.logq == "none":
        return None
    counts = torch.from_numpy(examples.interactions.item_counts())
    share = (counts / counts.sum()).to(device=device, dtype=torch.float32)
    return mixed_log_q(share, n_in_batch, config.uniform_negatives)


def _step(
    network: TwoTowerNetwork,
    examples: TrainingExamples,
    events: np.ndarray,
    config: TwoTowerConfig,
    log_q: Tensor | None,
    draws: torch.Generator,
    device: torch.device,
) -> Tensor:
    inputs, targets = examples.batch(events)
    uniform = torch.randint(network.n_items, (config.uniform_negatives,), generator=draws)
    sampled = torch.cat([targets, uniform]).to(device)  # (M,), M = B + B'
    return sampled_softmax(
        network.queries(inputs.to(device), draws),
        network.items(sampled, draws),
        sampled,
        temperature=config.temperature,
        log_q=None if log_q is None else log_q[sampled],
        mask_accidental_hits=config.mask_accidental_hits,
    )
