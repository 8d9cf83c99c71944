"""DeepFM: a factorisation machine and a deep network over the same field embeddings.

Guo, Tang, Ye, Li and He: DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, IJCAI 2017.
Equations (1)-(4): ŷ = y_FM + y_DNN, y_FM = ⟨w, x⟩ + Σ_{i<j} ⟨v_i, v_j⟩ x_i x_j.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ranking.config import NeuralRankerConfig
from ranking.features import FeatureEncoder, RankingInputs
from ranking.fm import FMNetwork
from ranking.frozen_deepfm import FrozenDeepFM
from ranking.layers import MLP, LinearPart
from ranking.neural import NeuralRanker


class DeepFMNetwork(FMNetwork):
    """Linear + FM over all fields + deep part over the same vectors and the plain numbers of the pair."""

    linear: LinearPart

    def __init__(self, encoder: FeatureEncoder, config: NeuralRankerConfig) -> None:
        super().__init__(encoder, config)
        self.first = self.over_fields(config.hidden[0])
        self.deep = MLP(config.hidden, config.dropout)
        self._schema = encoder.schema
        self._frozen: list[FrozenDeepFM] = []  # no submodule: it holds no weights of its own

    def freeze(self) -> None:
        self._frozen = [FrozenDeepFM(self, self._schema)]

    def forward(self, inputs: RankingInputs) -> Tensor:
        """B queries with K candidates to logits (B, K)."""
        if self._frozen and not self.training and not torch.is_grad_enabled():
            return self._frozen[0](inputs)
        items, at = self.distinct_items(inputs.item_row)
        fields = self.embed(inputs, items, at)
        deep = self.deep(fields.through(self.first))
        logits: Tensor = self.linear(inputs, items, at) + self.pairwise(fields) + deep
        return logits


class DeepFM(NeuralRanker):
    """DeepFM over user, item, cross and recall features."""

    name: ClassVar[str] = "deepfm"
    Network = DeepFMNetwork
