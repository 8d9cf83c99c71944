"""DCNv2 against its formula in plain NumPy, and what its own options do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ranking.dcnv2 import CrossNetwork, DCNv2, DCNv2Config, DCNv2Network
from ranking.features import FeatureEncoder
from reccore import RunOptions
from tests.dataprep.tmdb_tables import with_every_feature
from tests.ranking.samples import Setting, board_setting
from tests.ranking.test_deepfm import fields_of, to_double

QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)


def test_cross_layers_by_hand() -> None:
    cross = CrossNetwork(2, 2)
    weights = [([[1.0, 2.0], [0.0, 1.0]], [1.0, 0.0]), ([[1.0, 0.0], [1.0, 1.0]], [0.0, -1.0])]
    with torch.no_grad():
        for layer, (weight, bias) in zip(cross.layers, weights, strict=True):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))
    # x1 = (1, 2) ∘ (1 + 4 + 1, 2) + (1, 2) = (7, 6); x2 = (1, 2) ∘ (7, 7 + 6 - 1) + (7, 6) = (14, 30).
    assert cross(torch.tensor([[1.0, 2.0]])).tolist() == [[14.0, 30.0]]


@pytest.mark.parametrize("structure", ["parallel", "stacked"])
def test_network_equals_the_formula(structure: Any) -> None:
    setting = board_setting(n_users=6, k=4)
    encoder = FeatureEncoder.fit(setting.samples, with_every_feature(setting.items), setting.users)
    config = DCNv2Config(embedding_size=3, hidden=(5,), dropout=0.0, cross_layers=2, structure=structure)
    network = DCNv2Network(encoder, config).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 3)
    inputs = encoder.encode(setting.samples.queries, setting.samples.candidates)
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    with torch.no_grad():
        logits = network(to_double(inputs)).numpy()
    for b, k in ((0, 0), (3, 2), (5, 3)):
        query = fields_of(weights, "query", encoder, inputs.query, b)
        item = fields_of(weights, "item", encoder, encoder.item_block, int(inputs.item_row[b, k]))
        pair = inputs.pair[b, k].double().numpy()
        start = np.concatenate([*(vector for vector, _ in (*query, *item)), pair])
        crossed = start
        for layer in range(2):
            weight, bias = (weights[f"cross.layers.{layer}.{part}"] for part in ("weight", "bias"))
            crossed = start * (weight @ crossed + bias) + crossed
        below = crossed if structure == "stacked" else start
        hidden = np.maximum(weights["first.weight"] @ below + weights["first.bias"], 0)
        expected = sum(first for _, first in (*query, *item)) + pair @ weights["linear.pair"]
        expected += weights["deep.out.weight"][0] @ hidden
        if structure == "parallel":
            expected += weights["out.weight"][0] @ crossed
        np.testing.assert_allclose(logits[b, k], expected, rtol=1e-6)


@pytest.fixture(scope="module")
def setting() -> Setting:
    return board_setting()


@pytest.mark.parametrize("change", [{"cross_layers": 1}, {"structure": "stacked"}])
def test_every_option_of_its_own_changes_the_outcome(setting: Setting, change: dict[str, Any]) -> None:
    common = {"epochs": 3, "batch_size": 16, "learning_rate": 0.02, "hidden": [8], "embedding_size": 4}
    tables: Any = setting.tables()
    one, other = (
        DCNv2({**common, **options})
        .fit(setting.samples, options=QUIET, **tables)
        .score(setting.valid.queries, setting.valid.candidates)
        for options in ({}, change)
    )
    assert not np.allclose(one, other, atol=1e-4)
