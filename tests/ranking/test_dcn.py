"""DCN against the cross layers of its paper, written out vector by vector."""

from __future__ import annotations

import numpy as np
import pytest

from ranking.dcn import DCN, DCNConfig
from tests.ranking.networks import PLACES, outcome, reference
from tests.ranking.samples import board_setting


@pytest.mark.parametrize("n_layers", [1, 3])
def test_network_equals_the_cross_layers_written_out(n_layers: int) -> None:
    found = reference(DCN, DCNConfig(embedding_size=3, hidden=(5,), dropout=0.0, cross_layers=n_layers))
    *w, out = found.weights["cross.weight"]
    for b, k in PLACES:
        start = found.joined(b, k)
        crossed = start
        for layer in range(n_layers):
            outer = np.outer(start, crossed)  # x_0 x_lᵀ
            crossed = outer @ w[layer] + found.weights["biases"][layer] + crossed
        expected = found.linear(b, k) + out @ crossed + found.deep(b, k)
        assert found.logits[b, k] == pytest.approx(expected, rel=1e-9)


def test_its_option_changes_the_outcome() -> None:
    setting = board_setting()
    assert not np.allclose(outcome(DCN, setting), outcome(DCN, setting, cross_layers=1), atol=1e-4)
