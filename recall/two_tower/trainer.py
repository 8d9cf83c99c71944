"""Training of the two towers: epochs, the schedule, and the best epoch on validation."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from loguru import logger

from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.examples import Examples
from recall.two_tower.mining import Retrieve
from recall.two_tower.network import TwoTowerNetwork
from recall.two_tower.objective import Objective
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
    examples: Examples,
    config: TwoTowerConfig,
    options: RunOptions,
    *,
    validate: Callable[[], float] | None = None,
    retrieve: Retrieve | None = None,
) -> TrainingLog:
    """Train in place; with ``validate`` (greater is better) the best epoch's weights are restored.

    ``retrieve`` answers queries by the network's present vectors, to mine hard negatives.

    Raises:
        TrainingError: the loss is not a number; names epoch and batch.
    """
    device = options.torch_device()
    network.to(device)
    optimiser = _optimiser(network, config)
    batches_per_epoch = examples.n_batches
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=batches_per_epoch * config.epochs)
    n_in_batch = len(examples) / batches_per_epoch
    objective = Objective(network, examples.interactions, n_in_batch, config, device, retrieve=retrieve)
    shuffle, draws = options.generator(1), options.torch_generator(2)
    log, best_state = TrainingLog(), copy.deepcopy(network.state_dict())

    with progress("two-tower", len(examples) * config.epochs, unit="samples", enabled=options.progress) as advance:
        for epoch in range(1, config.epochs + 1):
            network.train()
            total = 0.0
            for number, rows in enumerate(examples.batches(shuffle), start=1):
                inputs, targets = examples.batch(rows)
                loss = objective(inputs.to(device), targets.to(device), examples.events(rows), draws)
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
                total += value * len(targets)
                advance(len(targets), loss=value, epoch=epoch)
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
