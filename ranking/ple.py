"""PLE: experts of each task beside shared ones, in several levels.

Tang, Liu, Zhao and Gong: Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for Personalized
Recommendations, RecSys 2020. Section 4.1 for a level (customised gate control), 4.2 for their sequence.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from ranking.features import FeatureEncoder
from ranking.layers import HiddenLayers
from ranking.multitask import MultiTaskConfig, MultiTaskNetwork, MultiTaskRanker
from ranking.network import Fields


class PLEConfig(MultiTaskConfig):
    """Options of PLE, besides those of every ranker of several tasks.

    Attributes:
        levels: of experts; one level is the paper's CGC.
        task_experts: m_k, of each task and level.
        shared_experts: m_s, of each level.
    """

    levels: PositiveInt = 2
    task_experts: PositiveInt = 1
    shared_experts: PositiveInt = 2


class Gating(nn.Module):
    """Mixes the outputs of the experts of S tasks and of the shared ones: a task's gate sees its own and the shared.

    Experts stand in the order task 1, …, task S, shared. In every level but the last one more gate, over all experts,
    makes the shared input of the next level.
    """

    def __init__(self, n_tasks: int, config: PLEConfig, *, last: bool) -> None:
        super().__init__()
        own, shared = config.task_experts, config.shared_experts
        first_shared = n_tasks * own
        everyone = list(range(first_shared + shared))
        self.sees = [[*everyone[task * own : (task + 1) * own], *everyone[first_shared:]] for task in range(n_tasks)]
        if not last:
            self.sees.append(everyone)
        self.sizes = [len(experts) for experts in self.sees]

    def forward(self, experts: Tensor, gates: list[Tensor]) -> list[Tensor]:
        """Experts (B, K, n, H) and a gate's logits (B, K, experts it sees) each to mixtures (B, K, H) each."""
        return [
            (gate.softmax(dim=2)[:, :, None] @ experts[:, :, seen]).squeeze(2)
            for gate, seen in zip(gates, self.sees, strict=True)
        ]


class UpperLevel(nn.Module):
    """A level above the first: task k's experts and gate read what its gate below gave, the shared ones likewise."""

    def __init__(self, n_tasks: int, config: PLEConfig, *, last: bool) -> None:
        super().__init__()
        width = config.hidden[0]
        counts = [config.task_experts] * n_tasks + [config.shared_experts]
        self.width = width
        self.gating = Gating(n_tasks, config, last=last)
        self.experts = nn.ModuleList(nn.Linear(width, count * width) for count in counts)
        self.gates = nn.ModuleList(nn.Linear(width, size, bias=False) for size in self.gating.sizes)
        self.activate = HiddenLayers([sum(counts) * width], config.dropout)

    def forward(self, below: list[Tensor]) -> list[Tensor]:
        """S + 1 inputs (B, K, H), the shared one last, to S or S + 1 outputs (B, K, H)."""
        first = torch.cat([layer(given) for layer, given in zip(self.experts, below, strict=True)], dim=2)
        experts = self.activate(first).unflatten(2, (-1, self.width))  # (B, K, n, H)
        gates = [
            gate(given) for gate, given in zip(self.gates, below, strict=False)
        ]  # the last level has no shared one
        mixed: list[Tensor] = self.gating(experts, gates)
        return mixed


class PLENetwork(MultiTaskNetwork):
    """Experts of one layer; those of the first level and its gates are one linear layer each over the fields."""

    def __init__(self, encoder: FeatureEncoder, config: PLEConfig) -> None:
        super().__init__(encoder, config)
        n_tasks, self.width = len(config.tasks), config.hidden[0]
        n_experts = n_tasks * config.task_experts + config.shared_experts
        self.gating = Gating(n_tasks, config, last=config.levels == 1)
        self.experts = self.over_fields(n_experts * self.width)
        self.gates = self.over_fields(sum(self.gating.sizes), bias=False)
        self.activate = HiddenLayers([n_experts * self.width], config.dropout)
        above = range(2, config.levels + 1)
        self.levels = nn.Sequential(*(UpperLevel(n_tasks, config, last=level == config.levels) for level in above))

    def mixed(self, fields: Fields) -> list[Tensor]:
        """What the last level's gates give to each task, S × (B, K, hidden[0])."""
        experts = self.activate(fields.through(self.experts)).unflatten(2, (-1, self.width))  # (B, K, n, H)
        gates = list(fields.through(self.gates).split(self.gating.sizes, dim=2))
        mixed: list[Tensor] = self.levels(self.gating(experts, gates))
        return mixed


class PLE(MultiTaskRanker):
    """PLE over user, item, cross and recall features."""

    name: ClassVar[str] = "ple"
    Config: ClassVar[type[PLEConfig]] = PLEConfig
    Network = PLENetwork
