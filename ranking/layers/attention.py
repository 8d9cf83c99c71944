"""DIN's local activation unit (Zhou et al. 2018, section 4.3), factorised."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """Sum of history vectors, each weighted by how much it matters to the candidate.

    The weight of event t for candidate k is w·PReLU(A·c_k + B·h_t + C·(c_k ∘ h_t) + a) + b; the first layer
    over [c ‖ h ‖ c − h ‖ c ∘ h] of the paper's code is the same function, since the difference is absorbed by
    A and B. As in the paper the weights are not normalised, so that their sum keeps the intensity of the
    interest; a padded slot has weight 0.

    B·h + C·(c ∘ h) = (B + C·diag(c))·h, so the whole first layer is one batched product of (K·H, D) by (D, T):
    its (B, K·H, T) result is the largest tensor, and nothing of size B·K·T·D is written out.
    """

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.candidate = nn.Linear(size, hidden)
        self.event = nn.Parameter(torch.empty(hidden, size))
        self.product = nn.Parameter(torch.empty(hidden, size))
        for parameter in (self.event, self.product):
            nn.init.kaiming_uniform_(parameter, a=5**0.5)
        self.slope = nn.Parameter(torch.full((hidden,), 0.25))
        self.out = nn.Linear(hidden, 1)

    def weights(self, candidates: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Candidates (B, K, D), keys (B, T, D), mask (B, T) to (B, K, T)."""
        n, k, d = candidates.shape
        t, h = keys.shape[1], len(self.slope)
        left = torch.addcmul(self.event, candidates[:, :, None], self.product).view(n, k * h, d)  # (B, K·H, D)
        offset = self.candidate(candidates).view(n, k * h, 1)  # (B, K·H, 1)
        first = torch.baddbmm(offset, left, keys.transpose(1, 2)).view(n * k, h, t)  # (B·K, H, T)
        active = nn.functional.prelu(first, self.slope)  # (B·K, H, T)
        weights = torch.matmul(self.out.weight, active).view(n, k, t) + self.out.bias  # (B, K, T)
        return weights.masked_fill(~mask[:, None], 0.0)

    def forward(self, candidates: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """Pooled values (B, T, V) for every candidate, (B, K, V); zeros for an empty history."""
        return self.weights(candidates, keys, mask) @ values
