"""MMoE: experts shared by all tasks, mixed by a gate of each task.

Ma, Zhao, Yi, Chen, Hong and Chi: Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts,
KDD 2018. Section 4.2: y_k = h^k(f^k(x)), f^k(x) = Σ_i g^k(x)_i f_i(x), g^k(x) = softmax(W_gk x).
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveInt
from torch import Tensor

from ranking.features import FeatureEncoder
from ranking.layers import HiddenLayers
from ranking.multitask import MultiTaskConfig, MultiTaskNetwork, MultiTaskRanker
from ranking.network import Fields


class MMoEConfig(MultiTaskConfig):
    """Options of MMoE, besides those of every ranker of several tasks.

    Attributes:
        experts: n, shared by all tasks.
    """

    experts: PositiveInt = 4


class MMoENetwork(MultiTaskNetwork):
    """Experts of one layer, as in the paper; all experts and gates are one linear layer over the fields."""

    def __init__(self, encoder: FeatureEncoder, config: MMoEConfig) -> None:
        super().__init__(encoder, config)
        self.n_experts, self.n_tasks, self.width = config.experts, len(config.tasks), config.hidden[0]
        self.experts = self.over_fields(self.n_experts * self.width)
        self.gates = self.over_fields(self.n_tasks * self.n_experts, bias=False)  # W_g1, W_g2, …
        self.activate = HiddenLayers([self.n_experts * self.width], config.dropout)

    def mixed(self, fields: Fields) -> list[Tensor]:
        """f^k of each task, S × (B, K, hidden[0])."""
        b, k = fields.at.shape
        experts = self.activate(fields.through(self.experts)).view(b, k, self.n_experts, self.width)  # (B, K, n, H)
        gates = fields.through(self.gates).view(b, k, self.n_tasks, self.n_experts).softmax(dim=3)  # (B, K, S, n)
        return list((gates @ experts).unbind(dim=2))


class MMoE(MultiTaskRanker):
    """MMoE over user, item, cross and recall features."""

    name: ClassVar[str] = "mmoe"
    Config: ClassVar[type[MMoEConfig]] = MMoEConfig
    Network = MMoENetwork
