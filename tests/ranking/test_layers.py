"""Layers against plain NumPy in float64."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from ranking.layers import MLP, AttentionPooling, Dice, FieldSums, SplitLinear, second_order
from ranking.layers.activations import PReLU
from ranking.layers.mlp import QueryDropout


def test_sum_square_identity_equals_the_explicit_sum_over_pairs() -> None:
    rng = np.random.default_rng(0)
    query, item = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 4, 2, 5))  # (B, Fq, d), (B, K, Fi, d)
    values, vectors = rng.normal(size=(2, 4, 3)), rng.normal(size=(3, 5))  # (B, K, P), (P, d)
    expected = np.zeros((2, 4))
    for b, k in np.ndindex(2, 4):
        fields = [*query[b], *item[b, k], *(values[b, k][:, None] * vectors)]
        expected[b, k] = sum(one @ other for one, other in combinations(fields, 2))
    tensors = [torch.from_numpy(array) for array in (query, item, values, vectors)]
    result = second_order(
        FieldSums.of_fields(tensors[0][:, None]),
        FieldSums.of_fields(tensors[1]),
        FieldSums.of_numbers(tensors[2], tensors[3]),
    )
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12)


def test_split_linear_is_the_layer_over_the_concatenation() -> None:
    layer = SplitLinear([2, 3, 4], 5)
    pieces = [torch.randn(7, n) for n in (2, 3, 4)]
    whole = torch.nn.functional.linear(torch.cat(pieces, dim=1), layer.weight, layer.bias)
    torch.testing.assert_close(sum(layer(*pieces)), whole)


def reference_attention(unit: AttentionPooling, candidates: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(K, T) weights by the paper's formula over [c ‖ h ‖ c ∘ h], pair by pair."""
    slope, out = unit.slope.detach().numpy(), unit.out.weight.detach().numpy()[0]
    first = np.concatenate(
        [part.detach().numpy() for part in (unit.candidate.weight, unit.event, unit.product)], axis=1
    )  # (H, 3D)
    weights = np.zeros((len(candidates), len(keys)))
    for k, t in np.ndindex(*weights.shape):
        joined = np.concatenate([candidates[k], keys[t], candidates[k] * keys[t]])
        hidden = first @ joined + unit.candidate.bias.detach().numpy()
        weights[k, t] = out @ np.where(hidden > 0, hidden, slope * hidden) + unit.out.bias.item()
    return weights


def test_attention_equals_the_pairwise_computation_and_ignores_padding() -> None:
    torch.manual_seed(0)
    unit = AttentionPooling(4, 3).double()
    with torch.no_grad():
        unit.slope.copy_(torch.tensor([0.1, 0.3, 0.7]))
    candidates, keys, values = torch.randn(2, 3, 4).double(), torch.randn(2, 5, 4).double(), torch.randn(2, 5, 6)
    mask = torch.tensor([[True, True, True, False, False], [False] * 5])
    pooled = unit(candidates, keys, values.double(), mask).detach().numpy()
    expected = reference_attention(unit, candidates[0].numpy(), keys[0, :3].numpy())
    np.testing.assert_allclose(pooled[0], expected @ values[0, :3].double().numpy(), rtol=1e-10)
    np.testing.assert_array_equal(pooled[1], 0.0)


def test_an_untrained_deep_part_adds_nothing() -> None:
    torch.manual_seed(0)
    deep = MLP([6, 4], dropout=0.0)
    assert torch.count_nonzero(deep(torch.randn(2, 3, 6))) == 0


def test_dropout_is_shared_by_the_candidates_of_a_query_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropout = QueryDropout(0.25)
    values = dropout(torch.ones(400, 3, 50))
    assert torch.equal(values[:, 0], values[:, 1])
    assert values.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert values.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(dropout.eval()(torch.ones(2, 3, 4)), torch.ones(2, 3, 4))


def test_dice_by_the_formula_in_training_and_by_moving_averages_in_use() -> None:
    rng = np.random.default_rng(0)
    dice = Dice(3)
    alpha = np.array([0.2, -0.5, 1.0])
    with torch.no_grad():
        dice.alpha.copy_(torch.from_numpy(alpha))
    values = rng.normal(2.0, 3.0, size=(5, 4, 3))

    def formula(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-(values - mean) / np.sqrt(variance + 1e-8)))
        return p * values + (1 - p) * alpha * values

    flat = values.reshape(20, 3)
    dice = dice.double().train()
    found = dice(torch.from_numpy(values)).detach().numpy()
    np.testing.assert_allclose(found, formula(flat.mean(axis=0), flat.var(axis=0)), rtol=1e-6)
    for _ in range(200):
        dice(torch.from_numpy(values))
    in_use = dice.eval()(torch.from_numpy(values)).detach().numpy()
    np.testing.assert_allclose(in_use, formula(flat.mean(axis=0), flat.var(axis=0, ddof=1)), rtol=1e-6)
    alone = dice(torch.from_numpy(values[:1])).detach().numpy()
    np.testing.assert_allclose(alone, in_use[:1], rtol=1e-12)


def test_prelu_is_torchs_along_the_last_axis() -> None:
    torch.manual_seed(0)
    ours, values = PReLU(3), torch.randn(4, 5, 3)
    with torch.no_grad():
        ours.alpha.copy_(torch.tensor([0.1, 0.3, -0.7]))
    expected = torch.nn.functional.prelu(values.view(20, 3), ours.alpha).view(4, 5, 3)
    torch.testing.assert_close(ours(values), expected)
