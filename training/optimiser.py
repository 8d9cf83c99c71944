"""The optimiser and the learning-rate schedule of every training."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from training.config import TrainingConfig
from training.kernels.deferred_adamw import DeferredAdamW
from training.kernels.embedding_table import EmbeddingTable


def build_optimiser(network: nn.Module, config: TrainingConfig) -> DeferredAdamW:
    """AdamW over all parameters; those that a module names in its attribute ``no_decay`` are not decayed."""
    free = {id(getattr(module, name)) for module in network.modules() for name in getattr(module, "no_decay", ())}
    decayed = [p for p in network.parameters() if id(p) not in free]
    undecayed = [p for p in network.parameters() if id(p) in free]
    groups: list[dict[str, Any]] = [{"params": decayed}]
    if undecayed:
        groups.append({"params": undecayed, "weight_decay": 0.0})
    tables = [module for module in network.modules() if isinstance(module, EmbeddingTable)]
    return DeferredAdamW(groups, tables, lr=config.learning_rate, weight_decay=config.weight_decay)


def build_schedule(optimiser: Optimizer, config: TrainingConfig, n_steps: int) -> LRScheduler:
    """Learning rate over ``n_steps`` steps."""
    if config.schedule == "constant":
        return LambdaLR(optimiser, lambda step: 1.0)
    return CosineAnnealingLR(optimiser, T_max=n_steps)
