"""Gradients averaged over ranks, dense ones and rows of embedding tables, in one exchange of each kind of number."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training import ranks
from training.kernels.deferred_adamw import coalesced
from training.kernels.embedding_table import EmbeddingTable, row_gradient


@torch.no_grad()
def average_gradients(network: nn.Module) -> None:
    """Replace the gradient of each parameter by its mean over ranks; nothing happens in a single process.

    A table's row gradient gets the rows that any rank has touched. A parameter without a gradient on some ranks counts
    as 0 there; without one on all ranks it keeps none. Costs one exchange of flags, a byte for each row of those tables
    and for each parameter, and one of the gradients.
    """
    if ranks.n_ranks() == 1:
        return
    parameters = [p for p in network.parameters() if p.requires_grad]
    tables = {id(m.weight) for m in network.modules() if isinstance(m, EmbeddingTable) and m.sparse_gradients}
    by_rows = [p for p in parameters if id(p) in tables]
    flags = [torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8)]
    flags += [_touched(p) for p in by_rows]
    present, *touched = torch.split(ranks.largest(torch.cat(flags)), [len(part) for part in flags])
    rows = {id(p): part.nonzero().squeeze(1) for p, part in zip(by_rows, touched, strict=True)}
    given = [p for p, flag in zip(parameters, present.tolist(), strict=True) if flag]
    for dtype in dict.fromkeys(p.dtype for p in given):
        _average([p for p in given if p.dtype == dtype], rows)


def _touched(p: Tensor) -> Tensor:
    """(N,) uint8: 1 for the rows of a table with a gradient on this rank."""
    touched = torch.zeros(len(p), dtype=torch.uint8)
    if p.grad is not None:
        touched[p.grad._indices()[0] if p.grad.is_sparse else slice(None)] = 1
    return touched


def _average(parameters: Sequence[Tensor], rows: dict[int, Tensor]) -> None:
    """Average the gradients of parameters of one type; ``rows`` are the union over ranks, by the id of a table."""
    own = [_values(p, rows.get(id(p))) for p in parameters]
    flat = ranks.sum_over_ranks(torch.cat([values.reshape(-1) for values in own])) / ranks.n_ranks()
    for p, values, mean in zip(parameters, own, flat.split([values.numel() for values in own]), strict=True):
        of_rows = rows.get(id(p))
        mean = mean.view(values.shape)
        p.grad = mean if of_rows is None else row_gradient(p.shape, of_rows, mean)


def _values(p: Tensor, rows: Tensor | None) -> Tensor:
    """The gradient of a parameter, or the given rows of it; 0 where there is none."""
    if p.grad is None:
        return p.new_zeros(p.shape if rows is None else (len(rows), p.shape[1]))
    if rows is None:
        return p.grad.to_dense() if p.grad.is_sparse else p.grad
    if not p.grad.is_sparse:
        return p.grad[rows]
    grad = coalesced(p.grad)
    values = p.new_zeros(len(rows), p.shape[1])
    values[torch.searchsorted(rows, grad.indices()[0])] = grad.values()
    return values
