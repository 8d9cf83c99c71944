"""The corrected sampled softmax without its B×M logits: loss and gradients formed together, chunk by chunk.

The loss of Yi et al. (RecSys 2019), as in :mod:`training.kernels.sampled_softmax`. Autograd over the plain form keeps
several B×M tensors alive (268 MB each for B = M = 8,192 in fp32) and is bound by memory, not by arithmetic. Here
the forward pass takes a chunk of rows, forms s^c = QVᵀ/τ − log q, P = softmax(s^c) and G = P − target, adds
the chunk's share to the gradients, and discards it:

    loss_i = −log P_i,t(i)   dQ = diag(a)·G·V/τ      dV = Gᵀ·diag(a)·Q/τ      dτ = −Σ dQ∘Q / τ

with a = w/Σw. The three products per chunk are those that autograd makes; nothing is computed twice, unlike in
checkpointing. The idea is that of fused linear cross-entropies for language models (Hsu et al., "Liger Kernel",
2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from reccore import ConfigError, DataError
from training.kernels.masking import NegativeMask, PositiveItems, all_but_hardest, negative_mask
from training.precision import cpu_products, product_dtype

SAFE_EXPONENT = 30.0
"""Sums of exponentials of scores within this bound, times 1/q, stay in the range of fp32 without a shift."""
CHUNK = 1 << 22
"""Scores at a time by default: 16 MiB in fp32. Fewer make products too small for two cores, more cause page faults; at
B = 8,192 and M from 3,500 to 8,192 this takes the least time."""
MULTIPLE = 32
"""Columns and widths are padded with zeros to a multiple: a product of 3,520 columns takes two thirds of the time of
one of 3,514."""


def fused_sampled_softmax(
    queries: Tensor,
    items: Tensor,
    item_idx: Tensor,
    *,
    temperature: float | Tensor,
    log_q: Tensor | None,
    mask_accidental_hits: bool = True,
    weight: Tensor | None = None,
    target: Tensor | None = None,
    positives: PositiveItems | None = None,
    hardest: int | None = None,
    repeats: Tensor | None = None,
    rows_per_chunk: int | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The value and gradients of :func:`training.kernels.sampled_softmax.sampled_softmax` in bounded memory.

    Costs 6·B·M·D operations, and ``rows_per_chunk``·M + (B + M)·D numbers beside its inputs. The forward pass forms
    the gradients; backward multiplies them by its one incoming number, so second derivatives do not exist. Without
    inputs that require a gradient, only the loss is formed.

    Args:
        queries: (B, D) vectors.
        items: (M, D) vectors; row i < B is the target of example i, unless ``target`` says otherwise.
        item_idx: (M,) which item each row is.
        temperature: τ, a number or a one-element tensor (which gets its gradient too).
        log_q: (M,) log sampling probability, subtracted after the division by τ; None = uncorrected. A constant.
        mask_accidental_hits: hide rows that are the example's own target a second time.
        weight: (B,) reward of each example; None = 1. A constant.
        target: (B,) row of each example's target, where M may be less than B; None = 0 … B−1.
        positives: further items that are not negatives of an example; never hides its target.
        hardest: beside its target only so many columns of each example stay, those with the largest terms.
        repeats: (M,) how often each item was drawn, where each is given once: as a negative a column stands for so
            many, as an example's target for one. Columns that are equal need not be multiplied more than once.
        rows_per_chunk: queries taken at a time; changes memory and speed, not the result. None = ``CHUNK`` scores.
        dtype: what the factors of the products are rounded to, sums being fp32: ``torch.bfloat16`` or
            ``torch.float32``; None = :func:`product_dtype`. Inputs in float64 are computed in float64 throughout.

    Returns:
        The mean loss, a scalar; NaN for B = 0, as the plain form.

    Raises:
        ConfigError: ``rows_per_chunk`` < 1, or a ``dtype`` that the device does not multiply.
        DataError: shapes do not fit, or ``log_q`` or ``weight`` wants a gradient.
    """
    if rows_per_chunk is None:
        rows_per_chunk = max(1, CHUNK // max(len(items), 1))
    if rows_per_chunk < 1:
        raise ConfigError(f"rows_per_chunk is {rows_per_chunk}; it has to be at least 1")
    _check_shapes(queries, items, item_idx, log_q, weight, target, repeats)
    if (log_q is not None and log_q.requires_grad) or (weight is not None and weight.requires_grad):
        raise DataError("log_q and weight are constants of the fused softmax; detach them or use sampled_softmax")
    in_bf16 = _wants_bf16(queries, dtype)
    if target is None:
        target = torch.arange(len(queries), device=queries.device)
    hidden = negative_mask(item_idx, target, accidental_hits=mask_accidental_hits, positives=positives)
    columns = _Columns(target, log_q, hidden, hardest, repeats, len(items))
    loss: Tensor = _FusedSoftmax.apply(  # type: ignore[no-untyped-call]
        queries, items, temperature, columns, weight, rows_per_chunk, in_bf16
    )
    return loss


def _wants_bf16(queries: Tensor, dtype: torch.dtype | None) -> bool:
    if dtype not in (None, torch.bfloat16, torch.float32):
        raise ConfigError(f"the products of the fused softmax are in bfloat16 or float32, not {dtype}")
    fastest = product_dtype(queries.device)
    if dtype == torch.bfloat16 and fastest != torch.bfloat16:
        raise ConfigError(f"this {queries.device.type} device has no fast bfloat16 products; leave dtype at None")
    return queries.dtype != torch.float64 and (dtype or fastest) == torch.bfloat16


def _check_shapes(
    queries: Tensor,
    items: Tensor,
    item_idx: Tensor,
    log_q: Tensor | None,
    weight: Tensor | None,
    target: Tensor | None,
    repeats: Tensor | None,
) -> None:
    n_examples, n_items = len(queries), len(items)
    too_few = target is None and n_items < n_examples
    if queries.ndim != 2 or items.ndim != 2 or queries.shape[1] != items.shape[1] or too_few:
        raise DataError(
            f"queries are {tuple(queries.shape)} and items {tuple(items.shape)}; "
            "(B, D) and (M, D) are needed, with M ≥ B where no target is given"
        )
    for name, values, n in (
        ("item_idx", item_idx, n_items),
        ("log_q", log_q, n_items),
        ("weight", weight, n_examples),
        ("target", target, n_examples),
        ("repeats", repeats, n_items),
    ):
        if values is not None and values.shape != (n,):
            raise DataError(f"{name} has shape {tuple(values.shape)}; ({n},) is needed")


@dataclass(frozen=True, eq=False)
class _Columns:
    """Constants of the columns of the logits."""

    target: Tensor  # (B,)
    log_q: Tensor | None  # (M,)
    hidden: NegativeMask | None
    hardest: int | None
    repeats: Tensor | None  # (M,)
    n_columns: int  # M

    def importance(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) weight of each column's exponential, 1/q as a multiple of the least one: as a target, as a negative."""
        once = items.new_ones(len(items)) if self.log_q is None else torch.exp(self.log_q.max() - self.log_q)
        return once, once if self.repeats is None else once * self.repeats

    def hide_in(self, scores: Tensor, start: int) -> None:
        """Set hidden columns of the uncorrected scores of the examples from ``start`` on to −inf.

        ``scores`` is (R, M or more); what lies beyond M is left as it is.
        """
        stop = start + len(scores)
        if self.hidden is not None:
            self.hidden.hide(scores, start)
        if self.hardest is not None:
            scores = scores[:, : self.n_columns]
            logits = scores if self.log_q is None else scores - self.log_q
            if self.repeats is not None:
                logits = logits + self.repeats.log()
            scores.masked_fill_(all_but_hardest(logits, self.target[start:stop], self.hardest), -torch.inf)


class _FusedSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        items: Tensor,
        temperature: float | Tensor,
        columns: _Columns,
        weight: Tensor | None,
        rows_per_chunk: int,
        in_bf16: bool,
    ) -> Tensor:
        wide = torch.float64 if queries.dtype == torch.float64 else torch.float32
        tau = temperature.detach().to(wide).reshape(()) if isinstance(temperature, Tensor) else temperature
        reward = queries.new_ones(len(queries), dtype=wide) if weight is None else weight.to(wide)
        share = reward / reward.sum()
        with torch.autocast(queries.device.type, enabled=False), cpu_products(queries.device, in_bf16):
            losses, d_queries, d_items = _in_chunks(
                _Products(in_bf16 and queries.device.type == "cuda"),
                queries.to(wide) / tau,
                items.to(wide),
                share,
                columns,
                rows_per_chunk,
                any(ctx.needs_input_grad[:3]),
            )
        if d_queries is not None and d_items is not None:
            d_queries /= tau
            d_tau = -(d_queries * queries).sum() / tau if ctx.needs_input_grad[2] else None
            ctx.save_for_backward(d_queries.to(queries.dtype), d_items.to(items.dtype), d_tau)
            ctx.temperature = temperature
        return (losses * reward).sum() / reward.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        d_queries, d_items, d_tau = ctx.saved_tensors
        wants_queries, wants_items, wants_tau = ctx.needs_input_grad[:3]
        return (
            d_queries * grad.to(d_queries.dtype) if wants_queries else None,
            d_items * grad.to(d_items.dtype) if wants_items else None,
            (d_tau * grad).to(ctx.temperature.dtype).reshape(ctx.temperature.shape) if wants_tau else None,
            *(None,) * 4,
        )


def _in_chunks(
    products: _Products,
    scaled: Tensor,
    items: Tensor,
    share: Tensor,
    columns: _Columns,
    rows_per_chunk: int,
    with_gradients: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Losses (B,), and d loss/d ``scaled`` (B, D) and d loss/d ``items`` (M, D) or None."""
    (n_examples, size), n_items = scaled.shape, len(items)
    as_target, importance = columns.importance(items)  # (M,)
    # Columns of zeros that weigh nothing, where that makes the products faster.
    items, importance = F.pad(items, (0, 0, 0, -n_items % MULTIPLE)), F.pad(importance, (0, -n_items % MULTIPLE))
    # One buffer serves all chunks: fresh ones would cost more in page faults than the softmax in arithmetic.
    buffer = scaled.new_empty(min(rows_per_chunk, n_examples), len(items))
    losses = scaled.new_empty(n_examples)
    d_scaled = torch.empty_like(scaled) if with_gradients else None
    d_items = torch.zeros_like(items) if with_gradients else None
    # exp(s − log q) = exp(s)/q. The factor 1/q depends on the column alone, so it goes into the (M, D) factors of the
    # products, with a column of its own that sums them up: the R×M scores are passed over to take exponentials only.
    weighted = torch.cat([importance[:, None] * items, importance[:, None]], dim=1)  # (M, D+1)
    weighted = F.pad(weighted, (0, -weighted.shape[1] % MULTIPLE))
    sums = scaled.new_empty(len(buffer), weighted.shape[1])
    needs_shift = _largest_score(scaled, items) > SAFE_EXPONENT
    for start in range(0, n_examples, rows_per_chunk):
        stop = min(start + rows_per_chunk, n_examples)
        rows, scores, rest = scaled[start:stop], buffer[: stop - start], sums[: stop - start]
        products.into(scores, rows, items.T)  # (R, M)
        columns.hide_in(scores, start)
        if needs_shift:
            scores[:, n_items:] = -torch.inf  # or their 0 would be the greatest of scores that all lie far below
            scores -= scores.amax(dim=1, keepdim=True)
        target = columns.target[start:stop]  # (R,)
        # The target is taken out and added in full precision: as P approaches 1, G = P − target is what is left over.
        own_score = scores.gather(1, target[:, None]).squeeze(1)
        exponentials = scores.scatter_(1, target[:, None], -torch.inf).exp_()
        products.into(rest, exponentials, weighted)
        own = own_score.exp() * as_target[target]
        others = rest[:, size]
        total = own + others
        losses[start:stop] = total.log() - own_score - as_target[target].log()
        if d_scaled is None or d_items is None:
            continue
        one_minus_p = (others / total)[:, None]  # 1 − P of the target
        torch.addcmul(rest[:, :size] / total[:, None], one_minus_p, items[target], value=-1, out=d_scaled[start:stop])
        products.add_to(d_items, exponentials.T, rows * (share[start:stop] / total)[:, None])
        pull = rows * share[start:stop, None] * one_minus_p / importance[target, None]
        d_items.index_add_(0, target, pull, alpha=-1)
    if d_scaled is not None and d_items is not None:
        d_scaled *= share[:, None]
        d_items = (d_items * importance[:, None])[:n_items]
    return losses, d_scaled, d_items


def _largest_score(scaled: Tensor, items: Tensor) -> float:
    """No score is greater, by Cauchy and Schwarz."""
    return float(scaled.norm(dim=1).max() * items.norm(dim=1).max()) if len(scaled) and len(items) else 0.0


class _Products:
    """Matrix products with wide sums; ``narrow`` rounds the factors to bf16 first (CUDA)."""

    def __init__(self, narrow: bool) -> None:
        self.narrow = narrow

    def into(self, out: Tensor, a: Tensor, b: Tensor) -> None:
        """``out`` ← a b."""
        if self.narrow:
            torch.mm(a.bfloat16(), b.bfloat16(), out_dtype=torch.float32, out=out)
        else:
            torch.mm(a, b, out=out)

    def add_to(self, total: Tensor, a: Tensor, b: Tensor) -> None:
        """``total`` ← total + a b."""
        if self.narrow:
            total += torch.mm(a.bfloat16(), b.bfloat16(), out_dtype=torch.float32)
        else:
            total.addmm_(a, b)
