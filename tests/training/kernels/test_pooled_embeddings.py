"""Pools of histories: the compiled loops against the written-out form, and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.kernels.deferred_adamw import DeferredAdamW
from training.kernels.embedding_table import EmbeddingTable
from training.kernels.pooled_embeddings import decayed_pools, dense_pools

HALF_LIVES = torch.tensor([1.0, 4.0, 30.0])


def example(b: int = 9, t: int = 7, n: int = 12, d: int = 5) -> tuple[EmbeddingTable, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(b + t)
    lengths = torch.randint(0, t + 1, (b,), generator=generator)
    history = torch.randint(n, (b, t), generator=generator)
    absent = (torch.arange(t) >= lengths[:, None]) | (torch.rand(b, t, generator=generator) < 0.2)
    torch.manual_seed(0)
    return EmbeddingTable(n, d, dtype=torch.float64), torch.where(absent, -1, history), lengths


def optimiser_of(table: EmbeddingTable) -> DeferredAdamW:
    return DeferredAdamW([{"params": [table.weight]}], [table], lr=0.1, weight_decay=0.0)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(9, 7, 12, 5), (1, 1, 1, 1), (4, 3, 50, 2), (3, 0, 4, 2)])
def test_pools_and_gradients_are_those_written_out(shape: tuple[int, int, int, int], threads: int) -> None:
    table, history, lengths = example(*shape)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        expected = dense_pools(table.weight, history, lengths, HALF_LIVES)
        factors = torch.randn_like(expected)
        [expected_grad] = torch.autograd.grad((expected * factors).sum(), [table.weight])
        optimiser = optimiser_of(table)
        pools = decayed_pools(table, history, lengths, HALF_LIVES)
        (pools * factors).sum().backward()
    finally:
        torch.set_num_threads(before)
    grad = table.weight.grad
    assert optimiser is not None
    assert grad is not None
    assert grad.is_sparse
    assert grad._indices()[0].tolist() == sorted(set(history[history >= 0].tolist()))
    torch.testing.assert_close(pools, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad.to_dense(), expected_grad, rtol=1e-5, atol=1e-6)


def test_written_out_by_hand() -> None:
    table, history = torch.eye(3), torch.tensor([[0, 1, 2], [2, -1, -1], [-1, -1, -1]])
    pools = dense_pools(table, history, torch.tensor([3, 1, 0]), torch.tensor([1.0]))
    torch.testing.assert_close(pools[0, 0], torch.tensor([1.0, 2.0, 4.0]) / 7)
    assert pools[1:].tolist() == [[[0, 0, 1]], [[0, 0, 0]]]


def test_an_event_left_out_does_not_make_the_others_younger() -> None:
    table, lengths = example()[0], torch.tensor([3])
    optimiser = optimiser_of(table)
    pools = decayed_pools(table, torch.tensor([[4, 8, -1]]), lengths, HALF_LIVES)
    assert optimiser is not None
    e = table.weight
    torch.testing.assert_close(pools[0, 1], (2**-0.5 * e[4] + 2**-0.25 * e[8]) / (2**-0.5 + 2**-0.25))


def test_both_ways_of_reading_add_up_in_one_gradient() -> None:
    table, history, lengths = example()
    rows = torch.tensor([0, 3, 3])
    grads = []
    for optimiser in (None, optimiser_of(table)):
        if optimiser is None:
            pools, read = dense_pools(table.weight, history, lengths, HALF_LIVES), table.weight[rows]
        else:
            pools, read = decayed_pools(table, history, lengths, HALF_LIVES), table(rows)
        table.zero_grad()
        (pools.square().sum() + read.square().sum()).backward()
        assert table.weight.grad is not None
        grads.append(table.weight.grad.to_dense())
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-5, atol=1e-6)


def test_what_the_pools_read_is_up_to_date() -> None:
    table, history, lengths = example()
    optimiser = optimiser_of(table)
    for rows in ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [1], [1]):
        optimiser.zero_grad()
        table(torch.tensor(rows)).sum().backward()
        optimiser.step()
    pools = decayed_pools(table, history, lengths, HALF_LIVES)
    optimiser.flush()
    torch.testing.assert_close(pools, dense_pools(table.weight, history, lengths, HALF_LIVES), rtol=1e-5, atol=1e-6)
