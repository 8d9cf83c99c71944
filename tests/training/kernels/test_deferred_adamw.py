"""AdamW with rows at rest against torch's AdamW, which passes over every row in every step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from training.kernels.deferred_adamw import DeferredAdamW, clip_gradients, coalesced
from training.kernels.embedding_table import EmbeddingTable

N, D = 40, 6


def table_of(seed: int = 0) -> EmbeddingTable:
    torch.manual_seed(seed)
    return EmbeddingTable(N, D, dtype=torch.float64)


def twin(table: EmbeddingTable) -> nn.Embedding:
    plain = nn.Embedding(N, D, dtype=torch.float64)
    plain.load_state_dict(table.state_dict())
    return plain


def deferred(table: EmbeddingTable, lr: float = 0.01, weight_decay: float = 0.1) -> DeferredAdamW:
    return DeferredAdamW([{"params": [table.weight]}], [table], lr=lr, weight_decay=weight_decay)


def batches(n: int, size: float = 1.0, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    """Rows with repeats, low ones far more often than high ones, and what their vectors are multiplied by."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            (torch.rand(8, generator=generator) ** 4 * N).long(),
            torch.randn(8, D, generator=generator, dtype=torch.float64) * size,
        )
        for _ in range(n)
    ]


def step(table: nn.Embedding, optimiser: torch.optim.Optimizer, rows: Tensor, factors: Tensor) -> Tensor:
    """A step on Σ rows·factors; returns what was read."""
    optimiser.zero_grad()
    read = table(rows)
    (read * factors).sum().backward()
    optimiser.step()
    return read.detach()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_what_is_read_and_what_is_left_are_those_of_adamw(weight_decay: float) -> None:
    table = table_of()
    plain = twin(table)
    ours = deferred(table, weight_decay=weight_decay)
    theirs = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=weight_decay)
    cosines = [torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=300) for o in (ours, theirs)]
    left_behind = 0.0
    for rows, factors in batches(300):
        torch.testing.assert_close(
            step(table, ours, rows, factors), step(plain, theirs, rows, factors), rtol=0, atol=1e-6
        )
        for cosine in cosines:
            cosine.step()
        left_behind = max(left_behind, float((table.weight - plain.weight).detach().abs().max()))
    assert left_behind > 0.01  # rows did rest
    ours.flush()
    torch.testing.assert_close(table.weight, plain.weight, rtol=0, atol=1e-6)


def test_gradients_as_small_as_epsilon_still_come_close() -> None:
    table = table_of()
    plain, start = twin(table), table.weight.detach().clone()
    ours, theirs = deferred(table), torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.1)
    for rows, factors in batches(100, size=1e-7):
        step(table, ours, rows, factors)
        step(plain, theirs, rows, factors)
    ours.flush()
    moved = float((plain.weight - start).detach().abs().max())
    assert float((table.weight - plain.weight).detach().abs().max()) < 5e-3 * moved


def test_rest_in_closed_form() -> None:
    # One gradient of 1 in step 1, then k steps in which only another row has one.
    table, lr, decay, k = table_of(), 0.01, 0.5, 7
    ours, start = deferred(table, lr, decay), table.weight[0, 0].item()
    step(table, ours, torch.tensor([0]), torch.ones(1, D, dtype=torch.float64))
    for _ in range(k):
        step(table, ours, torch.tensor([1]), torch.ones(1, D, dtype=torch.float64))
    expected = start
    for j in range(1, k + 2):
        mean = 0.1 * 0.9 ** (j - 1) / (1 - 0.9**j)
        square = 0.001 * 0.999 ** (j - 1) / (1 - 0.999**j)
        expected = expected * (1 - lr * decay) - lr * mean / (math.sqrt(square) + 1e-8)
    assert table(torch.tensor([0]))[0, 0].item() == pytest.approx(expected, abs=1e-9)


def test_rows_touched_in_every_step_are_those_of_sparse_adam_too() -> None:
    table = table_of()
    plain = nn.Embedding(N, D, sparse=True, dtype=torch.float64)
    plain.load_state_dict(table.state_dict())
    ours, theirs = deferred(table, weight_decay=0.0), torch.optim.SparseAdam(list(plain.parameters()), lr=0.01)
    rows = torch.tensor([3, 5, 3])
    for _, factors in batches(30):
        step(table, ours, rows, factors[:3])
        step(plain, theirs, rows, factors[:3])
    torch.testing.assert_close(table.weight[[3, 5]], plain.weight[[3, 5]], rtol=0, atol=1e-7)


def test_rows_at_rest_are_not_written_to() -> None:
    table = table_of()
    ours = deferred(table)
    for rows in ([1, 2], [1], [1]):
        step(table, ours, torch.tensor(rows), torch.ones(len(rows), D, dtype=torch.float64))
    assert ours.state[table.weight]["row_step"][:4].tolist() == [0, 3, 1, 0]


def test_a_run_taken_up_again_goes_on_to_the_bit() -> None:
    table, data = table_of(), batches(60)
    ours = deferred(table)
    for rows, factors in data[:30]:
        step(table, ours, rows, factors)
    other = table_of(7)
    other.load_state_dict(copy.deepcopy(table.state_dict()))  # weights as they stand, some rows behind
    again = deferred(other)
    again.load_state_dict(copy.deepcopy(ours.state_dict()))
    for rows, factors in data[30:]:
        step(table, ours, rows, factors)
        step(other, again, rows, factors)
    assert torch.equal(table.weight, other.weight)
    assert all(torch.equal(v, again.state[other.weight][k]) for k, v in ours.state[table.weight].items())


@pytest.mark.parametrize(
    "loss", [lambda t, r: t(r).square().sum() + t.weight.square().sum(), lambda t, r: t.weight.square().sum()]
)
def test_gradients_of_the_whole_table(loss: Callable[[nn.Embedding, Tensor], Tensor]) -> None:
    table = table_of()
    plain = twin(table)
    optimisers = deferred(table), torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.1)
    for number, (rows, factors) in enumerate(batches(20)):
        for t, optimiser in zip((table, plain), optimisers, strict=True):
            if number % 3:
                step(t, optimiser, rows, factors)
                continue
            optimisers[0].flush()  # as whoever reads the weight itself has to
            optimiser.zero_grad()
            loss(t, rows).backward()
            optimiser.step()
    optimisers[0].flush()
    torch.testing.assert_close(table.weight, plain.weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("lr", [10.0, 25.0])
def test_a_decay_that_leaves_nothing_is_that_of_adamw(lr: float) -> None:
    table = table_of()
    plain = twin(table)
    ours, theirs = deferred(table, lr), torch.optim.AdamW(plain.parameters(), lr=lr, weight_decay=0.1)
    for rows, factors in batches(5):
        step(table, ours, rows, factors)
        step(plain, theirs, rows, factors)
    ours.flush()
    torch.testing.assert_close(table.weight, plain.weight)


def test_more_steps_than_the_books_had_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.kernels.deferred_adamw.CAPACITY", 4)
    test_what_is_read_and_what_is_left_are_those_of_adamw(0.1)


def test_a_table_without_its_optimiser_is_an_embedding() -> None:
    table = table_of()
    ours = deferred(table)
    assert table.sparse_gradients
    del ours
    assert not table.sparse_gradients
    table(torch.tensor([1])).sum().backward()
    assert table.weight.grad is not None
    assert not table.weight.grad.is_sparse
    copy.deepcopy(table)


def test_clipping_counts_a_row_once() -> None:
    torch.manual_seed(0)
    dense = nn.Linear(4, 3).double()
    table, plain = table_of(), twin(table_of())
    ours = deferred(table)
    rows = torch.tensor([2, 7, 2, 2])
    factors = torch.randn(4, D, dtype=torch.float64)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for t in (table, plain):
        dense.zero_grad()
        (t(rows) * factors).sum().backward()
        dense(torch.ones(4, dtype=torch.float64)).sum().backward()
        clip = clip_gradients if t is table else nn.utils.clip_grad_norm_
        norm = clip([*t.parameters(), *dense.parameters(), nn.Parameter(torch.ones(2))], 0.5)
        assert t.weight.grad is not None
        found.append((norm, t.weight.grad.to_dense(), dense.weight.grad.clone()))
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-6, atol=1e-9)
    assert ours.state == {}
    assert float(clip_gradients([nn.Parameter(torch.ones(2))], 1.0)) == 0.0


def test_summing_up_of_rows_is_that_of_torch() -> None:
    rows, values = torch.tensor([[5, 1, 5, 0, 1, 5]]), torch.randn(6, D, dtype=torch.float64)
    grad = torch.sparse_coo_tensor(rows, values, (N, D), check_invariants=True)
    found, expected = coalesced(grad), grad.coalesce()
    assert found.is_coalesced()
    assert torch.equal(found.indices(), expected.indices())
    torch.testing.assert_close(found.values(), expected.values())
