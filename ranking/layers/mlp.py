"""Feed-forward layers; the first takes its input in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ranking.layers.activations import ACTIVATIONS, ActivationName


class SplitLinear(nn.Module):
    """A linear layer over the concatenation of several inputs, without concatenating them.

    W·[a ‖ b ‖ …] = W_a·a + W_b·b + …: a piece that is the same for all candidates of a query is multiplied once
    and broadcast.
    """

    def __init__(self, in_sizes: Sequence[int], out_size: int, bias: bool = True) -> None:
        super().__init__()
        whole = nn.Linear(sum(in_sizes), out_size, bias=bias)
        self.sizes = list(in_sizes)
        self.weight, self.bias = whole.weight, whole.bias

    def forward(self, *pieces: Tensor) -> list[Tensor]:
        """Products of the pieces (…, n_i), each (…, out); the caller broadcasts and adds. The bias is in the first."""
        weights = torch.split(self.weight, self.sizes, dim=1)
        biases = (self.bias, *[None] * (len(pieces) - 1))
        return [
            nn.functional.linear(piece, weight, bias)
            for piece, weight, bias in zip(pieces, weights, biases, strict=True)
        ]


class QueryDropout(nn.Module):
    """Dropout of (B, K, n) with one mask per query, shared by its K candidates.

    A listwise loss compares the candidates of a query, so all of them pass through the same thinned network. It also
    takes K times fewer random draws, which cost more on a CPU than the layer itself.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, values: Tensor) -> Tensor:
        """(B, K, n) to (B, K, n)."""
        if not self.training or self.rate == 0.0:
            return values
        kept = torch.rand(values.shape[0], 1, values.shape[2], device=values.device) >= self.rate
        return values * (kept / (1.0 - self.rate))


class HiddenLayers(nn.Sequential):
    """Activation and dropout behind a first linear layer, then further layers of the same kind.

    Takes the first layer's linear output (B, K, hidden[0]) and returns (B, K, hidden[-1]).
    """

    def __init__(self, hidden: Sequence[int], dropout: float, activation: ActivationName = "relu") -> None:
        activate = ACTIVATIONS[activation]
        layers: list[nn.Module] = [activate(hidden[0]), QueryDropout(dropout)]
        for n_in, n_out in pairwise(hidden):
            layers += [nn.Linear(n_in, n_out), activate(n_out), QueryDropout(dropout)]
        super().__init__(*layers)


class MLP(nn.Module):
    """Hidden layers behind a first linear layer, then one logit.

    The output layer starts at zero, so that an untrained network adds nothing to its linear part.
    """

    def __init__(self, hidden: Sequence[int], dropout: float, activation: ActivationName = "relu") -> None:
        super().__init__()
        self.body = HiddenLayers(hidden, dropout, activation)
        self.out = nn.Linear(hidden[-1], 1, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, first: Tensor) -> Tensor:
        """First layer's linear output (B, K, hidden[0]) to logits (B, K)."""
        logits: Tensor = self.out(self.body(first)).squeeze(-1)
        return logits
