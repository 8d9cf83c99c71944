"""Networks that load their weights draw none first, and are those that were saved all the same."""

from __future__ import annotations

import torch
from torch import nn

from training.loading import NoInitialWeights


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ids = nn.Embedding(50, 4)
        self.first = nn.Linear(4, 4)
        self.steps = nn.GRU(4, 4)
        nn.init.normal_(self.ids.weight, std=0.1)


def test_no_random_number_is_drawn() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with NoInitialWeights():
        network = Mixed()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.requires_grad for parameter in network.parameters())
    Mixed()
    assert not torch.equal(torch.get_rng_state(), before)  # the mode has ended


def test_loaded_weights_are_those_saved() -> None:
    saved = Mixed().state_dict()
    with NoInitialWeights():
        network = Mixed()
    network.load_state_dict(saved)
    assert network.state_dict().keys() == saved.keys()
    assert all(torch.equal(weights, saved[name]) for name, weights in network.state_dict().items())
