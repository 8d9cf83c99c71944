"""Blocks and biases of the transformer, against the same formulas in NumPy and float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recall.neural.encoders.attention_bias import TIME_CODES, PositionBias, TimeBias, time_codes
from recall.neural.encoders.blocks import LiGRBlock, PreNormBlock, causal_attention


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def linear(layer: nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def normalised(layer: nn.LayerNorm, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(centred.var(axis=-1, keepdims=True) + layer.eps)
    return scaled * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def attention_by_hand(q: np.ndarray, k: np.ndarray, v: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """One head (L, d): position by position, a softmax over those up to it; ``bias`` (L,) by distance."""
    read = np.empty_like(v)
    for j in range(len(q)):
        scores = np.array([q[j] @ k[i] / np.sqrt(q.shape[1]) + bias[j - i] for i in range(j + 1)])
        weights = np.exp(scores - scores.max())
        read[j] = weights @ v[: j + 1] / weights.sum()
    return read


def multi_head_by_hand(block: Any, x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(L, D): ``bias`` (H, L) by head and distance."""
    q, k, v = np.split(linear(block.qkv, x), 3, axis=1)
    d = x.shape[1] // block.heads
    heads = [slice(h * d, (h + 1) * d) for h in range(block.heads)]
    read = [attention_by_hand(q[:, at], k[:, at], v[:, at], bias[h]) for h, at in enumerate(heads)]
    return linear(block.mix, np.concatenate(read, axis=1))


def block_of(cls: type[Any], **changes: Any) -> Any:
    torch.manual_seed(0)
    block = cls(8, 12, **{"heads": 2, "dropout": 0.0, "depth": 2, **changes}).double().eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block


def biases(length: int) -> tuple[PositionBias, np.ndarray]:
    layer = PositionBias(2, 9).double()
    nn.init.normal_(layer.distances)
    return layer, layer.distances.detach().numpy()[:, :length]


@pytest.mark.parametrize("biased", [False, True])
def test_a_ligr_block_is_its_formula(biased: bool) -> None:
    block, (layer, distances) = block_of(LiGRBlock), biases(6)
    x = torch.randn(3, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        found = block(x, layer(6) if biased else None, None).numpy()
    for row, given in enumerate(x.numpy()):
        bias = distances if biased else np.zeros((2, 6))
        y = given + sigmoid(linear(block.attention_gate, given)) * multi_head_by_hand(
            block, normalised(block.attention_norm, given), bias
        )
        gate, value = np.split(linear(block.hidden, normalised(block.hidden_norm, y)), 2, axis=1)
        y = y + sigmoid(linear(block.hidden_gate, y)) * linear(block.out, gate * sigmoid(gate) * value)
        np.testing.assert_allclose(found[row], y, atol=1e-12)


def test_a_pre_norm_block_with_a_bias_is_its_formula() -> None:
    block, (layer, distances) = block_of(PreNormBlock), biases(6)
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        found = block(x, layer(6), None).numpy()
    for row, given in enumerate(x.numpy()):
        y = given + multi_head_by_hand(block, normalised(block.attention_norm, given), distances)
        hidden = torch.from_numpy(linear(block.hidden, normalised(block.hidden_norm, y)))
        y = y + linear(block.out, nn.functional.gelu(hidden).numpy())
        np.testing.assert_allclose(found[row], y, atol=1e-12)


def test_a_bias_of_zero_is_plain_attention() -> None:
    q, k, v = torch.randn(3, 4, 2, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(causal_attention(q, k, v, PositionBias(2, 9).double()(7)), causal_attention(q, k, v))


def test_gradients_of_a_bias_are_those_of_pytorch_s_attention() -> None:
    layer, _ = biases(6)
    parts = [torch.randn(3, 2, 6, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    target = torch.randn(3, 2, 6, 4, dtype=torch.float64)
    gradients = []
    for attention in (causal_attention, nn.functional.scaled_dot_product_attention):
        loss = (attention(*parts, layer(6)) * target).sum()
        gradients.append(torch.autograd.grad(loss, [*parts, layer.distances]))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert gradients[0][3][:, :6].abs().min() > 0
    assert not gradients[0][3][:, 6:].any()  # farther than any pair


def test_time_codes_by_hand() -> None:
    codes = time_codes(torch.tensor([[100, 100, 101, 103, 107, 100 + 2**40]]))
    hidden = TIME_CODES
    assert codes[0].tolist() == [
        [0] + [hidden] * 6,
        [0, 1] + [hidden] * 5,
        [0, 1, 1] + [hidden] * 4,
        [0, 2, 2, 1] + [hidden] * 3,
        [0, 3, 3, 2, 1, hidden, hidden],
        [0, 4, 4, 3, 3, 1, hidden],
        [0] + [TIME_CODES - 1] * 5 + [1],
    ]


def test_a_time_bias_is_its_column_and_so_is_its_gradient() -> None:
    layer, times = TimeBias(2).double(), torch.randint(0, 10**6, (3, 5)).sort(dim=1).values
    nn.init.normal_(layer.octaves)
    bias = layer(times)
    target = torch.randn(3, 2, 6, 6, dtype=torch.float64).tril()
    bias.tril().mul(target).sum().backward()
    expected = torch.zeros(2, TIME_CODES, dtype=torch.float64)
    codes = time_codes(times)
    for w, h, j, i in np.ndindex(3, 2, 6, 6):
        if i > j:
            assert bias[w, h, j, i] == -torch.inf
            continue
        code = int(codes[w, j, i])
        assert bias[w, h, j, i] == layer.octaves[h, code]
        expected[h, code] += target[w, h, j, i]
    torch.testing.assert_close(layer.octaves.grad, expected)


def test_gradients_of_biases_do_not_depend_on_the_order_of_threads() -> None:
    times = torch.randint(0, 10**8, (8, 99), generator=torch.Generator().manual_seed(0)).sort(dim=1).values
    layer, upstream = TimeBias(2), torch.randn(8, 2, 100, 100).tril()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = [torch.autograd.grad(layer(times), layer.octaves, upstream)[0] for _ in range(5)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(gradient, found[0]) for gradient in found)


@pytest.mark.parametrize("cls", [PreNormBlock, LiGRBlock])
def test_dropout_is_for_training_only(cls: type[Any]) -> None:
    block, x = block_of(cls, dropout=0.9), torch.randn(2, 5, 8, dtype=torch.float64)
    before = block(x, None, None)
    block.train()
    assert not torch.allclose(block(x, None, torch.Generator().manual_seed(0)), before)
    block.eval()
    assert torch.equal(block(x, None, None), before)
