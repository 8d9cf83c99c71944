"""Item vectors mixed with those of their neighbours in the item–item graph.

LightGCN: He et al., "LightGCN: simplifying and powering graph convolution network for recommendation", SIGIR 2020,
eq. 7 and 4, over items alone and with learned instead of equal shares of the layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall.graph.item_graph import ItemGraph

OWN_SHARE = 0.9
"""Share of an item's own vector at first: training starts close to what the tower does alone."""


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The items at most L steps from the requested ones, and the edges that lead there.

    Attributes:
        nodes: (K_L,) item indices, each once, those at fewer steps first.
        sizes: K_0 … K_L; the first K_l nodes are those at most l steps away.
        offsets: (K_{L-1} + 1,) CSR offsets into the edges of the first K_{L-1} nodes.
        columns: (E,) for every edge, the position of its other end in ``nodes``.
        weights: (E,) float32.
        query_positions: (M,) positions in ``nodes`` of the requested items.
    """

    nodes: Tensor
    sizes: tuple[int, ...]
    offsets: Tensor
    columns: Tensor
    weights: Tensor
    query_positions: Tensor


class GraphPropagation(nn.Module):
    """X^(l+1) = Â X^(l) from the unit vectors X^(0) of the item tower, and Σ_l w_l X^(l) as unit vectors.

    The shares w are a softmax of L + 1 learned numbers. Propagating unit vectors weights each neighbour by
    its edge alone: the length of a vector before normalisation is no part of the loss, grows with the number of
    updates, and would favour popular items. Isolated items keep their own vector.
    """

    no_decay = ("logits",)  # decay would make the shares equal
    indptr: Tensor
    indices: Tensor
    weights: Tensor

    def __init__(self, graph: ItemGraph, n_layers: int) -> None:
        super().__init__()
        self.n_layers = n_layers
        for name, values in graph.to_arrays().items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        logits = torch.zeros(n_layers + 1)
        if n_layers > 0:
            logits[0] = math.log(OWN_SHARE / ((1.0 - OWN_SHARE) / n_layers))
        self.logits = nn.Parameter(logits)

    def shares(self) -> Tensor:
        """(L+1,) w: the item's own vector, its neighbours, theirs in turn, …; they sum to 1."""
        return torch.softmax(self.logits, dim=0)

    def forward(self, item_idx: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """Unit vectors (M, D) of the given items, exactly as if the whole catalogue were propagated.

        Only the items at most L steps away are encoded, each once; there are never more than the catalogue has.

        Args:
            item_idx: (M,) int64, repeats allowed.
            encode: unit vectors (K, D) of K item indices.
        """
        near = self.neighbourhood(item_idx)
        shares = self.shares()
        x = encode(near.nodes)  # (K_L, D)
        n_requested = near.sizes[0]
        mixed = shares[0] * x[:n_requested]
        for layer in range(1, self.n_layers + 1):
            n_rows = near.sizes[self.n_layers - layer]
            offsets = near.offsets[: n_rows + 1]
            x = sparse_product(offsets, near.columns, near.weights, x)
            mixed = mixed + shares[layer] * x[:n_requested]
        return F.normalize(mixed, dim=-1)[near.query_positions]

    @torch.no_grad()
    def whole(self, vectors: Tensor) -> Tensor:
        """Unit vectors (N, D) of all items from those of the tower, without gradients."""
        shares = self.shares()
        mixed, x = shares[0] * vectors, vectors
        for share in shares[1:]:
            x = sparse_product(self.indptr, self.indices, self.weights, x)
            mixed = mixed + share * x
        return F.normalize(mixed, dim=-1)

    def neighbourhood(self, item_idx: Tensor) -> Neighbourhood:
        """The items within L steps of ``item_idx`` and their edges; linear in N and in those edges."""
        n_items, device = len(self.indptr) - 1, item_idx.device
        reached = torch.zeros(n_items, dtype=torch.bool, device=device)
        reached[item_idx] = True
        nodes = new = reached.nonzero().squeeze(1)
        sizes, edges, degrees = [len(nodes)], [], []
        for _ in range(self.n_layers):
            degree = self.indptr[new + 1] - self.indptr[new]
            at = _ragged_positions(self.indptr[new], degree)
            edges.append(at)
            degrees.append(degree)
            found = torch.zeros_like(reached)
            found[self.indices[at]] = True
            new = (found & ~reached).nonzero().squeeze(1)
            reached |= found
            nodes = torch.cat([nodes, new])
            sizes.append(len(nodes))
        position = torch.empty(n_items, dtype=torch.int64, device=device)
        position[nodes] = torch.arange(len(nodes), device=device)
        none = torch.zeros(0, dtype=torch.int64, device=device)
        every = torch.cat([none, *edges])
        offsets = F.pad(torch.cat([none, *degrees]).cumsum(0), (1, 0))
        columns = position[self.indices[every]]
        return Neighbourhood(nodes, tuple(sizes), offsets, columns, self.weights[every], position[item_idx])


def sparse_product(offsets: Tensor, columns: Tensor, weights: Tensor, vectors: Tensor) -> Tensor:
    """Rows of a CSR matrix times dense vectors, with a gradient for the vectors.

    Neither way holds a vector per edge, and both add up in one fixed order, so that equal input gives equal output.

    Args:
        offsets: (R+1,) int64 from 0; edges from ``offsets[-1]`` on belong to no row.
        columns: (≥ offsets[-1],) int64 rows of ``vectors``.
        weights: as many float32.
        vectors: (C, D).

    Returns:
        (R, D)
    """
    n_edges = int(offsets[-1])
    product: Tensor = _SparseProduct.apply(  # type: ignore[no-untyped-call]
        offsets, columns[:n_edges], weights[:n_edges], vectors
    )
    return product


class _SparseProduct(torch.autograd.Function):
    """Both directions are weighted sums of rows; the gradient's are the rows of the transpose."""

    @staticmethod
    def forward(ctx: Any, offsets: Tensor, columns: Tensor, weights: Tensor, vectors: Tensor) -> Tensor:
        ctx.save_for_backward(offsets, columns, weights)
        ctx.n_columns = len(vectors)
        return _weighted_sums(offsets, columns, weights, vectors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None, Tensor]:
        offsets, columns, weights = ctx.saved_tensors
        rows = _row_of_each(offsets)
        order = torch.argsort(columns, stable=True)
        counts = torch.bincount(columns, minlength=ctx.n_columns)
        transposed = F.pad(counts.cumsum(0), (1, 0))
        return None, None, None, _weighted_sums(transposed, rows[order], weights[order], gradients[0])


def _weighted_sums(offsets: Tensor, columns: Tensor, weights: Tensor, vectors: Tensor) -> Tensor:
    """(R, D): row r is Σ weights[e] · vectors[columns[e]] over its edges e; 0 without edges.

    As a bag of embeddings, on one CPU thread some 40 times as fast as by ``index_add``.
    """
    weights = weights.to(vectors.dtype)
    if vectors.device.type == "mps":  # older releases of torch have no bags there
        return _sums_by_index_add(offsets, columns, weights, vectors)
    return F.embedding_bag(columns, vectors, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True)


def _sums_by_index_add(offsets: Tensor, columns: Tensor, weights: Tensor, vectors: Tensor) -> Tensor:
    """The same with a vector per edge in memory."""
    sums = vectors.new_zeros(len(offsets) - 1, vectors.shape[1])
    return sums.index_add_(0, _row_of_each(offsets), vectors[columns] * weights[:, None])


def _row_of_each(offsets: Tensor) -> Tensor:
    """(E,) row number of every edge of (R+1,) offsets."""
    return torch.repeat_interleave(torch.arange(len(offsets) - 1, device=offsets.device), offsets.diff())


def _ragged_positions(starts: Tensor, lengths: Tensor) -> Tensor:
    """Positions ``starts[i], …, starts[i] + lengths[i] - 1`` of every row, concatenated."""
    ends = lengths.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    shift = torch.repeat_interleave(starts - (ends - lengths), lengths)
    return torch.arange(total, device=starts.device) + shift
