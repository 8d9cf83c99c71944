"""Relative biases of causal attention: what a query adds to a key's score for how far back the key is.

    score(j, i) = q_j·k_i / √d + b_h[j − i]

One number per head h and distance, the same for all blocks: Raffel et al., "Exploring the limits of transfer learning
with a unified text-to-text transformer" (T5), JMLR 2020, with a bucket per distance as in Zhai et al., "Actions speak
louder than words" (HSTU), ICML 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PositionBias(nn.Module):
    """b_h[j − i] and the causal mask, for attention over at most ``length`` positions.

    Args:
        heads: H.
        length: the greatest L.
    """

    def __init__(self, heads: int, length: int) -> None:
        super().__init__()
        self.distances = nn.Parameter(torch.zeros(heads, length))  # starts as plain attention

    def forward(self, length: int) -> Tensor:
        """(1, H, L, L), row = query, −inf for later keys."""
        position = torch.arange(length, device=self.distances.device)
        distance = position[:, None] - position  # (L, L)
        return self.distances[:, distance.clamp(min=0)].masked_fill(distance < 0, -torch.inf)[None]
