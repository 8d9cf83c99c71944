"""Means of a history's vectors with exponential decay; half-life in events.

    pool_h(x) = Σ_i 2^(−age_i / half-life_h) · e(x_i) / Σ_i 2^(−age_i / half-life_h)

The vectors of 8,192 histories of 50 events take 200 MB, and their gradients as much again, to be scattered back row by
row. On a CPU one kernel passes over the events instead, reads each row of the table in place and adds it to all pools
of its history; another does the same for gradients, into one row per distinct item.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from training.kernels.embedding_table import EmbeddingTable, row_gradient
from training.kernels.parallel import parallel_for


def decayed_pools(table: EmbeddingTable, history: Tensor, lengths: Tensor, half_lives: Tensor) -> Tensor:
    """(B, H, D) weighted means of the rows of ``table``, one per half-life; 0 for a history without events.

    Args:
        table: (N, D) vectors; gradients flow to it.
        history: (B, T) rows, oldest first; below 0 = no event, or a dropped one.
        lengths: (B,) number of slots up to the latest event; ages count from there.
        half_lives: (H,) in events.

    Costs B·T·H·D multiply-adds and, beside the result, memory for one row of each distinct item.
    """
    weight = table.synced_weight(history)
    if table.sparse_gradients and weight.requires_grad and torch.is_grad_enabled():
        pools: Tensor = _Pools.apply(weight, history, lengths, half_lives)  # type: ignore[no-untyped-call]
        return pools
    return dense_pools(weight, history, lengths, half_lives)


def dense_pools(weight: Tensor, history: Tensor, lengths: Tensor, half_lives: Tensor) -> Tensor:
    """The same through the (B, T, D) vectors: on accelerators, and without gradients."""
    slots = torch.arange(history.shape[1], device=history.device)
    age = (lengths[:, None] - 1 - slots).clamp(min=0)  # (B, T), 0 = latest
    share = torch.exp2(-age[:, None, :] / half_lives[:, None]) * (history >= 0)[:, None, :]  # (B, H, T)
    share = share / share.sum(dim=-1, keepdim=True).clamp(min=LEAST_WEIGHT)
    vectors = F.embedding(history.clamp(min=0), weight)  # (B, T, D)
    return torch.bmm(share.to(weight.dtype), vectors)


LEAST_WEIGHT = 1e-9
UNROLL = 4


class _Pools(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, history: Tensor, lengths: Tensor, half_lives: Tensor) -> Tensor:
        age = torch.arange(max(history.shape[1], 1))
        power = torch.exp2(-age / half_lives[:, None]).to(weight.dtype)  # (H, T)
        power = F.pad(power, (0, 0, 0, -len(power) % UNROLL))  # pools of weight 0 fill the last group
        pools = weight.new_empty(len(history), len(half_lives), weight.shape[1])
        scale = weight.new_empty(len(history), len(half_lives))
        events = history.numpy(), lengths.numpy(), power.numpy()
        parallel_for(_pool, weight.detach().numpy(), *events, pools.numpy(), scale.numpy(), LEAST_WEIGHT)
        ctx.events, ctx.scale, ctx.shape = events, scale, weight.shape
        return pools

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        history, lengths, power = ctx.events
        present = np.zeros(ctx.shape[0], dtype=np.bool_)
        _mark(history.reshape(-1), present)
        rows = np.flatnonzero(present)
        position = np.empty(len(present), dtype=np.int32)
        position[rows] = np.arange(len(rows), dtype=np.int32)
        values = grad.new_zeros(len(rows), ctx.shape[1])
        given = grad.contiguous().numpy(), ctx.scale.numpy()
        parallel_for(_pool_backward, *given, history, lengths, power, position, values.numpy())
        return row_gradient(ctx.shape, torch.from_numpy(rows), values), None, None, None


@njit(nogil=True, cache=True, fastmath=True)
def _pool(
    weight: np.ndarray,
    history: np.ndarray,
    lengths: np.ndarray,
    power: np.ndarray,
    pools: np.ndarray,
    scale: np.ndarray,
    least: float,
    part: int,
    n_parts: int,
) -> None:
    """Fill ``pools`` (B, H, D) and ``scale`` (B, H), the reciprocal of each pool's total weight.

    ``power`` has at least H rows, as many as ``UNROLL`` divides; a row of the table is passed over once for so many.
    """
    n, n_pools = len(history), pools.shape[1]
    total = np.zeros(len(power), dtype=pools.dtype)
    sums = np.zeros((len(power), pools.shape[2]), dtype=pools.dtype)
    for row in range(part * n // n_parts, (part + 1) * n // n_parts):
        total[:] = 0
        sums[:] = 0
        for slot in range(history.shape[1]):
            item = history[row, slot]
            if item < 0:
                continue
            age = max(lengths[row] - 1 - slot, 0)
            vector = weight[item]
            for pool in range(0, len(power), UNROLL):
                a, b, c, d = power[pool, age], power[pool + 1, age], power[pool + 2, age], power[pool + 3, age]
                g, h, k, m = sums[pool], sums[pool + 1], sums[pool + 2], sums[pool + 3]
                for i in range(len(vector)):
                    g[i] += a * vector[i]
                    h[i] += b * vector[i]
                    k[i] += c * vector[i]
                    m[i] += d * vector[i]
            for pool in range(n_pools):
                total[pool] += power[pool, age]
        for pool in range(n_pools):
            scale[row, pool] = 1 / max(total[pool], least)
            pools[row, pool] = sums[pool] * scale[row, pool]


@njit(nogil=True, cache=True, fastmath=True)
def _pool_backward(
    grad: np.ndarray,
    scale: np.ndarray,
    history: np.ndarray,
    lengths: np.ndarray,
    power: np.ndarray,
    position: np.ndarray,
    values: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    """Add each event's share of ``grad`` (B, H, D), times ``scale`` (B, H), to its item's row of ``values`` (R, D).

    Each thread has columns of its own, so that none waits for another and sums do not depend on their number. Pools
    are taken ``UNROLL`` at a time, which passes over a row of ``values`` once for all of them.
    """
    size, n_pools = values.shape[1], len(power)
    low, high = part * size // n_parts, (part + 1) * size // n_parts
    scaled = np.zeros((n_pools, high - low), dtype=grad.dtype)  # rows beyond H stay 0
    for row in range(len(history)):
        for pool in range(grad.shape[1]):
            scaled[pool] = grad[row, pool, low:high] * scale[row, pool]
        for slot in range(history.shape[1]):
            item = history[row, slot]
            if item < 0:
                continue
            age = max(lengths[row] - 1 - slot, 0)
            value = values[position[item], low:high]
            for pool in range(0, n_pools, UNROLL):
                a, b, c, d = power[pool, age], power[pool + 1, age], power[pool + 2, age], power[pool + 3, age]
                g, h, k, m = scaled[pool], scaled[pool + 1], scaled[pool + 2], scaled[pool + 3]
                for i in range(high - low):
                    value[i] += a * g[i] + b * h[i] + c * k[i] + d * m[i]


@njit(cache=True)
def _mark(rows: np.ndarray, present: np.ndarray) -> None:
    for row in rows:
        if row >= 0:
            present[row] = True
