"""Sampled softmax with in-batch and uniform negatives, corrected for how they were sampled.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019;
mixed negatives: Yang et al., "Mixed negative sampling for learning two-tower neural networks in
recommendations", WWW 2020 companion.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mixed_log_q(item_probability: Tensor, n_in_batch: float, n_uniform: int) -> Tensor:
    """(N,) log Q*, the chance that one negative of a mixed batch is a given item.

    Q*(y) = (B·Q(y) + B′/N) / (B + B′) with Q the share of item y among the training events (the chance of
    an in-batch draw), B in-batch (their mean number) and B′ uniform negatives. An item that can never be
    drawn gets 0 rather than the logarithm of a clamped tiny number: it is in no batch, so its value is
    never used.
    """
    n_items = len(item_probability)
    q = (n_in_batch * item_probability + n_uniform / n_items) / (n_in_batch + n_uniform)
    return torch.where(q > 0, torch.log(q.clamp(min=torch.finfo(q.dtype).tiny)), torch.zeros_like(q))


def sampled_softmax(
    queries: Tensor,
    items: Tensor,
    item_idx: Tensor,
    *,
    temperature: float,
    log_q: Tensor | None,
    mask_accidental_hits: bool = True,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean corrected softmax cross-entropy of B examples over M ≥ B sampled items.

    Args:
        queries: (B, D) unit vectors.
        items: (M, D) unit vectors; row i < B is the target of example i.
        item_idx: (M,) which item each row is.
        temperature: τ.
        log_q: (M,) log sampling probability, subtracted **after** the division by τ; None = uncorrected.
        mask_accidental_hits: hide rows that are the example's own target a second time.
        weight: (B,) reward of each example; None = 1.

    Returns:
        Σ_i w_i · −log softmax_i(s^c)_i / Σ_i w_i with s^c(x_i, y_j) = ⟨u_i, v_j⟩/τ − log q_j.
    """
    n_examples = len(queries)
    scaled = queries / temperature
    # The correction comes after the temperature: s/τ − log q.
    logits = scaled @ items.T if log_q is None else torch.addmm(-log_q, scaled, items.T)  # (B, M)
    if mask_accidental_hits:
        same = item_idx[:n_examples, None] == item_idx[None, :]
        same.fill_diagonal_(False)
        logits = logits.masked_fill(same, -torch.inf)
    target = torch.arange(n_examples, device=queries.device)
    loss = F.cross_entropy(logits, target, reduction="none")  # (B,)
    if weight is None:
        return loss.mean()
    return (loss * weight).sum() / weight.sum()
