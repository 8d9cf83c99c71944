"""The corrected sampled softmax in plain PyTorch: the reference of the fused kernel, and quicker for small batches.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.kernels.masking import PositiveItems, all_but_hardest, negative_mask


def sampled_softmax(
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
) -> Tensor:
    """Mean corrected softmax cross-entropy of B examples over M ≥ B sampled items.

    Args:
        queries: (B, D) unit vectors.
        items: (M, D) unit vectors; row i < B is the target of example i, unless ``target`` says otherwise.
        item_idx: (M,) which item each row is.
        temperature: τ.
        log_q: (M,) log sampling probability, subtracted **after** the division by τ; None = uncorrected.
        mask_accidental_hits: hide rows that are the example's own target a second time.
        weight: (B,) reward of each example; None = 1.
        target: (B,) row of each example's target, where M may be less than B; None = 0 … B−1.
        positives: further items that are not negatives of an example; never hides its target.
        hardest: beside its target only so many columns of each example stay, those with the largest terms in the
            softmax's sum, s^c + log repeats; the loss is a lower bound of that over all columns.
        repeats: (M,) how often each item was drawn, where each is given once: as a negative a column stands for so
            many, as an example's target for one, just as if the repeats were columns and accidental hits hidden.

    Returns:
        Σ_i w_i · −log softmax_i(s^c)_i / Σ_i w_i with s^c(x_i, y_j) = ⟨u_i, v_j⟩/τ − log q_j.
    """
    scaled = queries / temperature
    # The correction comes after the temperature: s/τ − log q.
    logits = scaled @ items.T if log_q is None else torch.addmm(-log_q, scaled, items.T)  # (B, M)
    if target is None:
        target = torch.arange(len(queries), device=queries.device)
    hidden = negative_mask(item_idx, target, accidental_hits=mask_accidental_hits, positives=positives)
    if hidden is not None:
        mask = torch.zeros_like(logits, dtype=torch.promote_types(logits.dtype, torch.float32))
        hidden.hide(mask, 0)
        logits = logits + mask.to(logits.dtype)
    if repeats is not None:
        log_repeats = repeats.to(logits.dtype).log()
        logits = (logits + log_repeats).scatter_add(1, target[:, None], -log_repeats[target, None])
    if hardest is not None:
        logits = logits.masked_fill(all_but_hardest(logits, target, hardest), -torch.inf)
    return weighted_mean(F.cross_entropy(logits, target, reduction="none"), weight)


def weighted_mean(loss: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of (B,) losses, weighted where weights (B,) are given."""
    if weight is None:
        return loss.mean()
    return (loss * weight).sum() / weight.sum()
