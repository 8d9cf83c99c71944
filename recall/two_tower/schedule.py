"""How fast the two towers learn: the optimiser's groups of parameters, and the learning rate along a training."""

from __future__ import annotations

from torch.optim.lr_scheduler import CosineAnnealingLR

from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.network import TwoTowerNetwork
from training.kernels.deferred_adamw import DeferredAdamW
from training.kernels.embedding_table import EmbeddingTable


def optimiser_of(network: TwoTowerNetwork, config: TwoTowerConfig) -> DeferredAdamW:
    """AdamW; not decayed are a learned temperature, which that would draw to the middle of its bounds, and the
    shares of a graph's layers, which it would make equal."""
    undecayed = [] if network.temperature is None else [network.temperature.position]
    if network.propagation is not None:
        undecayed.append(network.propagation.logits)
    rest = [p for p in network.parameters() if all(p is not u for u in undecayed)]
    groups = [{"params": rest}] + ([{"params": undecayed, "weight_decay": 0.0}] if undecayed else [])
    tables = [module for module in network.modules() if isinstance(module, EmbeddingTable)]
    return DeferredAdamW(groups, tables, lr=config.learning_rate, weight_decay=config.weight_decay)


def schedule_of(optimiser: DeferredAdamW, n_steps: int) -> CosineAnnealingLR:
    """The learning rate falls to zero along a cosine over all steps of a training."""
    return CosineAnnealingLR(optimiser, T_max=n_steps)
