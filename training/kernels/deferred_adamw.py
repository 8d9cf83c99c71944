"""AdamW that defers rows of embedding tables until they are read again, with the result of plain AdamW.

Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019. Of the 37 million parameters in tables of
the size of ML-32M's a batch touches a twelfth, yet AdamW updates all: a row without a gradient
decays and moves by its momentum. That has a closed form. With the row's last step at s, the current one at t, and lr
and the bias corrections c of every step j between:

    w_t = w_s · Π_j (1 − lr_j λ) − Σ_j [lr_j β1^(j−s) / c1_j] · m_s / (√(v_s β2^(j−s) / c2_j) + ε) · Π_i>j (1 − lr_i λ)
    m_t = β1^(t−s) · m_s        v_t = β2^(t−s) · v_s

Here rows of a table are synced just before they are read (``EmbeddingTable.synced_weight``), then those with a gradient
take their step. The bracket's sum depends on the row through ε alone: √(β2^(j−s)/c2_j) is taken out of it as a weighted
harmonic mean, exact for ε = 0 and for v = 0. Where √v is near ε, and in the first steps, in which c2 changes fast, a
row may end some thousandths of its way from AdamW's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from training.kernels.embedding_table import EmbeddingTable, row_gradient
from training.kernels.parallel import parallel_for

LEAST_TAIL = 1e-9
"""Momentum of a deferred row is followed until it has fallen to this share."""
CAPACITY = 1024
DECAY_STATE = ("row_step", "log_decay", "tail", "tail_root")


class DeferredAdamW(torch.optim.AdamW):
    """AdamW over parameters as usual, and over tables with row gradients in time linear in the rows touched.

    Args:
        groups: parameter groups as of ``torch.optim.AdamW``.
        tables: whose weights are among them. On a CPU they get row gradients and rows without one are deferred; on
            other devices, where a pass over a table costs little, they are parameters like others.
        lr: learning rate.
        weight_decay: λ, decoupled.

    During training, weights of tables are complete only after ``flush``: call it before evaluating or storing them. A
    checkpoint needs no flush, since ``state_dict`` holds the last step of each row: a run resumed from weights and
    ``state_dict`` continues exactly like one that was never interrupted.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], tables: Iterable[EmbeddingTable], *, lr: float, weight_decay: float
    ) -> None:
        super().__init__(groups, lr=lr, weight_decay=weight_decay)
        self._group_of = {p: group for group in self.param_groups for p in group["params"]}
        self._tables = [table for table in tables if table.weight.device.type == "cpu"]
        for table in self._tables:
            table.register_sync(self._catch_up)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step; tables without a gradient take none."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        deferred = {table: table.weight.grad for table in self._tables if table.weight.grad is not None}
        for table, grad in deferred.items():
            self._row_step(table, grad)
            table.weight.grad = None
        super().step()
        for table, grad in deferred.items():
            table.weight.grad = grad
        return loss

    @torch.no_grad()
    def flush(self) -> None:
        """Update every deferred row: the weights are then those of AdamW. O(N·D)."""
        for table in self._tables:
            self._catch_up(table, torch.arange(len(table.weight)))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As of any optimiser; per-row state keeps its own dtype."""
        super().load_state_dict(state_dict)
        self._group_of = {p: group for group in self.param_groups for p in group["params"]}  # the groups are new ones
        parameters = [p for group in self.param_groups for p in group["params"]]
        for number, kept in state_dict["state"].items():
            for name in DECAY_STATE:
                if name in kept:
                    self.state[parameters[number]][name] = kept[name].clone()

    def _row_step(self, table: EmbeddingTable, grad: Tensor) -> None:
        """AdamW's step for the rows of a gradient; all others are deferred."""
        weight, state, group = table.weight, self._state(table), self._group_of[table.weight]
        lr, (beta1, beta2) = float(group["lr"]), group["betas"]
        if (
            not grad.is_sparse or lr * group["weight_decay"] >= 1
        ):  # such a decay has no logarithm: no row can be deferred
            grad = row_gradient(grad.shape, torch.arange(len(grad)), grad.to_dense().contiguous())
        grad = coalesced(grad)
        rows = grad.indices()[0]
        self._catch_up(table, rows)
        done = int(state["step"]) + 1
        correction1, correction2 = 1 - beta1**done, 1 - beta2**done
        parallel_for(
            _step_rows,
            weight.detach().numpy(),
            state["exp_avg"].numpy(),
            state["exp_avg_sq"].numpy(),
            state["row_step"].numpy(),
            rows.numpy(),
            grad.values().numpy(),
            done,
            np.array([1 - lr * group["weight_decay"], lr / correction1, correction2**-0.5]),
            np.array([beta1, beta2, group["eps"]]),
        )
        state["step"] += 1
        _record_decay(state, done, lr, group["weight_decay"], beta1, beta2)

    def _catch_up(self, table: EmbeddingTable, rows: Tensor) -> None:
        if table.weight not in self.state:
            return  # no step has been taken yet
        state, group = self._state(table), self._group_of[table.weight]
        parallel_for(
            _catch_up_rows,
            table.weight.detach().numpy(),
            state["exp_avg"].numpy(),
            state["exp_avg_sq"].numpy(),
            state["row_step"].numpy(),
            state["log_decay"].numpy(),
            state["tail"].numpy(),
            state["tail_root"].numpy(),
            rows.reshape(-1).numpy(),
            int(state["step"]),
            np.array([*group["betas"], group["eps"]]),
        )

    def _state(self, table: EmbeddingTable) -> dict[str, Any]:
        state: dict[str, Any] = self.state[table.weight]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(table.weight)
            state["exp_avg_sq"] = torch.zeros_like(table.weight)
            state["row_step"] = torch.zeros(len(table.weight), dtype=torch.int32)
            for name in DECAY_STATE[1:]:
                state[name] = torch.zeros(CAPACITY, dtype=torch.float64)
        return state


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients so that their common norm is at most ``max_norm``; row gradients are summed up first.

    ``torch.nn.utils.clip_grad_norm_`` for dense and row gradients. An uncoalesced row gradient holds parts of a row's
    gradient, whose norms do not add up to that of the gradient.

    Returns:
        () the norm before.
    """
    values = []
    for p in parameters:
        if p.grad is None:
            continue
        if p.grad.is_sparse:
            p.grad = coalesced(p.grad)
        values.append(p.grad.values() if p.grad.is_sparse else p.grad)
    if not values:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(v) for v in values]))
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    if scale < 1:
        for v in values:
            v.mul_(scale)
    return norm


def coalesced(grad: Tensor) -> Tensor:
    """A row gradient on a CPU with every row once, in ascending order; in O(N + L·D), without a sort."""
    if grad.is_coalesced():
        return grad
    index, parts = grad._indices()[0].contiguous().numpy(), grad._values().contiguous()
    present = np.zeros(grad.shape[0], dtype=np.bool_)
    present[index] = True
    rows = np.flatnonzero(present)
    position = np.empty(len(present), dtype=np.int32)
    position[rows] = np.arange(len(rows), dtype=np.int32)
    values = parts.new_zeros(len(rows), parts.shape[1])
    parallel_for(_add_rows, position[index], parts.numpy(), values.numpy())
    return row_gradient(grad.shape, torch.from_numpy(rows), values)


def _record_decay(state: dict[str, Any], step: int, lr: float, weight_decay: float, beta1: float, beta2: float) -> None:
    """Record the effect of step number ``step`` on deferred rows.

    For a row whose last step was s: ``log_decay[t] − log_decay[s]`` is the logarithm of its decay until t, and
    ``tail[s]`` the sum of lr_j β1^(j−s) / c1_j, each divided by the decay until j; ``tail_root[s]`` is the same sum
    with every term times √(c2_j / β2^(j−s)).
    """
    if step + 1 > len(state["tail"]):
        for name in DECAY_STATE[1:]:
            state[name] = torch.cat([state[name], torch.zeros_like(state[name])])
    log_decay = state["log_decay"]
    log_decay[step] = log_decay[step - 1] + (math.log1p(-lr * weight_decay) if lr * weight_decay < 1 else 0.0)
    reach = math.ceil(math.log(LEAST_TAIL) / math.log(beta1)) if beta1 > 0 else 0
    since = slice(max(step - reach, 0), step)
    rest = torch.arange(step - since.start, 0, -1, dtype=torch.float64)  # j − s
    term = lr / (1 - beta1**step) * beta1**rest * torch.exp(-log_decay[step])
    state["tail"][since] += term
    state["tail_root"][since] += term * math.sqrt(1 - beta2**step) * beta2 ** (-rest / 2)


@njit(nogil=True, cache=True, error_model="numpy")
def _catch_up_rows(
    weight: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    row_step: np.ndarray,
    log_decay: np.ndarray,
    tail: np.ndarray,
    tail_root: np.ndarray,
    rows: np.ndarray,
    now: int,
    constants: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    """Update rows to step ``now``; repeats and negative ones are skipped. A thread takes every n-th row."""
    beta1, beta2, eps = constants
    for row in rows:
        if row < 0 or row % n_parts != part or row_step[row] == now:
            continue
        since = row_step[row]
        rest = now - since
        reach = tail[since] * math.exp(log_decay[now])
        root = tail[since] / tail_root[since] if tail[since] > 0 else 1.0
        decay, fade1, fade2 = math.exp(log_decay[now] - log_decay[since]), beta1**rest, beta2**rest
        if fade1 < 1e-20:  # no denormal numbers, which are slow
            fade1 = 0.0
        _move(weight[row], mean[row], square[row], decay, reach, root, fade1, fade2, eps)
        row_step[row] = now


@njit(cache=True, inline="always", error_model="numpy")
def _move(w: np.ndarray, m: np.ndarray, v: np.ndarray, decay, reach, root, fade1, fade2, eps) -> None:  # type: ignore[no-untyped-def]
    kind = w.dtype.type
    decay, reach, root, fade1, fade2, eps = kind(decay), kind(reach), kind(root), kind(fade1), kind(fade2), kind(eps)
    for d in range(len(w)):
        w[d] = w[d] * decay - reach * m[d] / (root * np.sqrt(v[d]) + eps)
        m[d] *= fade1
        v[d] *= fade2


@njit(nogil=True, cache=True, error_model="numpy")
def _step_rows(
    weight: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    row_step: np.ndarray,
    rows: np.ndarray,
    grads: np.ndarray,
    step: int,
    sizes: np.ndarray,
    constants: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    """Step number ``step`` of AdamW for distinct rows (R,) with gradients (R, D)."""
    kind = weight.dtype.type
    n = len(rows)
    keep, rate, root = kind(sizes[0]), kind(sizes[1]), kind(sizes[2])
    beta1, beta2, eps = kind(constants[0]), kind(constants[1]), kind(constants[2])
    rest1, rest2 = kind(1 - constants[0]), kind(1 - constants[1])
    for at in range(part * n // n_parts, (part + 1) * n // n_parts):
        row = rows[at]
        w, m, v, g = weight[row], mean[row], square[row], grads[at]
        for d in range(len(g)):
            m[d] = beta1 * m[d] + rest1 * g[d]
            v[d] = beta2 * v[d] + rest2 * g[d] * g[d]
            w[d] = w[d] * keep - rate * m[d] / (root * np.sqrt(v[d]) + eps)
        row_step[row] = step


@njit(nogil=True, cache=True)
def _add_rows(position: np.ndarray, parts: np.ndarray, values: np.ndarray, part: int, n_parts: int) -> None:
    """``values[position[i]] += parts[i]``; a thread has columns of its own."""
    size = values.shape[1]
    for at in range(len(position)):
        for d in range(part * size // n_parts, (part + 1) * size // n_parts):
            values[position[at], d] += parts[at, d]
