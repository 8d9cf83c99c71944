"""An exponential moving average of the weights, which is what is validated and kept.

With the weights w_s after the steps s that are read, the latest of them t, and decay d:

    w̄_t = Σ_s d^(t−s) w_s / Σ_s d^(t−s)

Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim. 1992; Izmailov et
al., "Averaging weights leads to wider optima and better generalization", UAI 2018. The sum in the denominator makes the
first averages as unbiased as later ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from training.config import AverageConfig

STATISTICS = ("running_mean", "running_var")
"""Names of the buffers of batch normalisation, which describe what the weights of the latest steps make of the data."""


class WeightAverage:
    """The average of a network's parameters, and of its running statistics of batch normalisation.

    All other buffers stay as they are: counters, banks of vectors and estimates of frequencies follow the training.

    One more copy of what is averaged, and one pass over it per reading. Embedding tables whose rows are deferred must
    be flushed before a reading.

    Args:
        network: on its device.
        config: decay, and how often the weights are read.
    """

    def __init__(self, network: nn.Module, config: AverageConfig) -> None:
        self.config = config
        buffers = {name: b for name, b in network.named_buffers() if name.rpartition(".")[2] in STATISTICS}
        self.weights: dict[str, Tensor] = {**dict(network.named_parameters()), **buffers}
        self.mean = {name: torch.zeros_like(weight, requires_grad=False) for name, weight in self.weights.items()}
        self.total, self.step = 0.0, 0  # Σ d^(t−s), and t

    @torch.no_grad()
    def read(self, step: int) -> None:
        """Take in the weights as they are after step number ``step``; the same step again changes nothing."""
        if step == self.step:
            return
        self.total = self.total * self.config.decay ** (step - self.step) + 1.0
        self.step = step
        for name, mean in self.mean.items():
            mean.lerp_(self.weights[name], 1.0 / self.total)

    @torch.no_grad()
    def apply(self) -> None:
        """Overwrite the network's weights with the average."""
        for name, mean in self.mean.items():
            self.weights[name].copy_(mean)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the context the network has the averaged weights; afterwards its own again, to the bit."""
        own = {name: p.detach().clone() for name, p in self.weights.items()}
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in own.items():
                    self.weights[name].copy_(weight)

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"mean": self.mean, "total": self.total, "step": self.step}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore ``state_dict`` of the same network and configuration."""
        means: Mapping[str, Tensor] = state["mean"]
        for name, mean in self.mean.items():
            mean.copy_(means[name])
        self.total, self.step = state["total"], state["step"]
