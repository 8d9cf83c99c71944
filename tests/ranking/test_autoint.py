"""AutoInt against explicit loops over fields and heads, and against torch's own attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ranking.autoint import AutoInt, AutoIntConfig, InteractingLayer, fields_by_source
from tests.ranking.networks import PLACES, outcome, reference
from tests.ranking.samples import board_setting


def interacting(vectors: np.ndarray, weight: np.ndarray, heads: int) -> np.ndarray:
    """Equations (5) to (8) field by field; ``weight`` holds the rows of W_q, W_k, W_v and W_res."""
    query, key, value, residual = (vectors @ part.T for part in np.split(weight, 4))
    size = query.shape[1] // heads
    attended = np.zeros_like(value)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for m in range(len(vectors)):
            similarity = np.exp([query[m, part] @ key[j, part] for j in range(len(vectors))])
            for j, share in enumerate(similarity / similarity.sum()):
                attended[m, part] += share * value[j, part]
    return np.maximum(attended + residual, 0.0)


SMALL: dict[str, Any] = {"embedding_size": 3, "hidden": (5,), "dropout": 0.0, "heads": 2, "head_size": 2}
SOURCES = ("recall.merged", "recall.itemcf", "recall.mf", "cross.group_genre_lift", "cross")


@pytest.mark.parametrize("pair_fields", ["sources", "numbers"])
def test_network_equals_the_loops(pair_fields: str) -> None:
    found = reference(AutoInt, AutoIntConfig.parse({**SMALL, "pair_fields": pair_fields}))
    names = [field.name for field in found.encoder.schema.of("pair", "number")]
    for b, k in PLACES:
        fields: dict[str, np.ndarray] = {}
        for name, value, vector in zip(names, found.pair(b, k), found.weights["pair"], strict=True):
            begins = [source for source in SOURCES if name.startswith(f"{source}.")]
            source = name if pair_fields == "numbers" else begins[0]
            fields[source] = fields.get(source, 0.0) + value * vector
        vectors = np.array([*found.vectors(b, k), *fields.values()])
        for layer in range(2):
            vectors = interacting(vectors, found.weights[f"attention.{layer}.projections.weight"], heads=2)
        expected = found.linear(b, k) + found.weights["out.weight"][0] @ vectors.ravel() + found.deep(b, k)
        assert found.logits[b, k] == pytest.approx(expected, rel=1e-9)


def test_attention_is_torchs_multi_head_attention_without_its_scale() -> None:
    torch.manual_seed(0)
    layer = InteractingLayer(8, heads=2, head_size=4).double()
    other = torch.nn.MultiheadAttention(8, 2, bias=False, batch_first=True).double()
    query, key, value, residual = layer.projections.weight.detach().chunk(4)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([query * 4**0.5, key, value]))  # it divides by √d'
        other.out_proj.weight.copy_(torch.eye(8))
    vectors = torch.randn(5, 7, 8, dtype=torch.float64)
    expected = torch.relu(other(vectors, vectors, vectors)[0] + vectors @ residual.T)
    torch.testing.assert_close(layer(vectors), expected)


def test_numbers_of_one_source_are_one_field() -> None:
    names = ["cross.a", "recall.mf.score", "recall.itemcf.score", "recall.mf.max3.match", "cross.b", "cross.lift.age"]
    assert fields_by_source(names) == [0, 1, 2, 1, 0, 3]
    assert fields_by_source([]) == []


@pytest.mark.parametrize(
    "change",
    [{"attention_layers": 1}, {"heads": 1}, {"head_size": 4}, {"hidden": [6]}, {"pair_fields": "numbers"}],
)
def test_its_options_change_the_outcome(change: dict[str, Any]) -> None:
    setting = board_setting(n_users=40, k=8)
    assert not np.allclose(outcome(AutoInt, setting), outcome(AutoInt, setting, **change), atol=1e-4)
