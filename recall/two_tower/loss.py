"""Sampled softmax with in-batch and uniform negatives, corrected for how they were sampled.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019;
mixed negatives: Yang et al., "Mixed negative sampling for learning two-tower neural networks in
recommendations", WWW 2020 companion; the positive left uncorrected: Khrylchenko et al., "Correcting the LogQ
correction: revisiting sampled softmax for large-scale retrieval", RecSys 2025.

Whatever proposes negatives, the correction is that of the mixture of all proposals, in proportion to their draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.kernels.sampled_softmax import weighted_mean


@dataclass(frozen=True, eq=False)
class MinedShare:
    """A third proposal: draws from a pool of hard negatives.

    Attributes:
        n: draws per batch.
        probability: chance that one of them is a given item, aligned with the ``item_probability`` beside it.
    """

    n: int
    probability: Tensor


def mixed_log_q(
    item_probability: Tensor,
    n_in_batch: float,
    n_uniform: int,
    *,
    n_items: int | None = None,
    mined: MinedShare | None = None,
) -> Tensor:
    """(N,) log Q*, the chance that one negative of a mixed batch is a given item.

    Q*(y) = (B·Q(y) + B′/N + B″·P(y)) / (B + B′ + B″) with Q the share of item y among the training events (the
    chance of an in-batch draw), B in-batch (their mean number), B′ uniform and B″ mined negatives. An item that
    can never be drawn gets 0 rather than the logarithm of a clamped tiny number: it is in no batch, so its value
    is never used. ``n_items`` is N where ``item_probability`` is of some items only.
    """
    n_items = len(item_probability) if n_items is None else n_items
    draws = n_in_batch * item_probability + n_uniform / n_items
    n_draws = n_in_batch + n_uniform
    if mined is not None:
        draws, n_draws = draws + mined.n * mined.probability, n_draws + mined.n
    return _log_or_zero(draws / n_draws)


def inclusion_log_q(
    item_probability: Tensor,
    n_in_batch: float,
    n_uniform: int,
    *,
    n_items: int | None = None,
    mined: MinedShare | None = None,
) -> Tensor:
    """(N,) log of the chance that a mixed batch holds a given item at all: for batches without repeats.

    1 − (1−Q(y))^B · (1−1/N)^B′ · (1−P(y))^B″, arguments as in ``mixed_log_q``. The expected number of draws, which
    that corrects by, over-corrects an item drawn many times and then kept once.
    """
    n_items = len(item_probability) if n_items is None else n_items
    log_absent = n_in_batch * torch.log1p(-item_probability)
    if n_uniform:
        log_absent = log_absent + n_uniform * (math.log1p(-1 / n_items) if n_items > 1 else -math.inf)
    if mined is not None:
        log_absent = log_absent + mined.n * torch.log1p(-mined.probability)
    return _log_or_zero(-torch.expm1(log_absent))


def _log_or_zero(q: Tensor) -> Tensor:
    return torch.where(q > 0, torch.log(q.clamp(min=torch.finfo(q.dtype).tiny)), torch.zeros_like(q))


class LearnedTemperature(nn.Module):
    """τ between two bounds, learned: log τ moves from the lower to the upper along a sigmoid.

    Args:
        start: τ before training, strictly inside the bounds.
        bounds: the least and the greatest τ; neither is ever passed.
    """

    def __init__(self, start: float, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.log_bounds = math.log(bounds[0]), math.log(bounds[1])
        share = (math.log(start) - self.log_bounds[0]) / (self.log_bounds[1] - self.log_bounds[0])
        self.position = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    def forward(self) -> Tensor:
        """() τ."""
        low, high = self.log_bounds
        return torch.exp(low + (high - low) * torch.sigmoid(self.position))


def corrected_logq_softmax(
    queries: Tensor,
    items: Tensor,
    item_idx: Tensor,
    *,
    temperature: float | Tensor,
    log_q: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean loss of the 2025 correction, arguments as in ``sampled_softmax``.

    A positive is in its own softmax with certainty, not by sampling, so it is not corrected; the negatives
    are draws other than it, from Q′(d) = Q(d) / (1 − Q(p)), where Q = c/Σc gives c_d / (Σc − c_p):

        ℓ_i = sg(1 − P̂_i) · (log S_i − s_p),   S_i = Σ_d exp(s_d − log Q′(d)),   P̂_i = e^{s_p} / (e^{s_p} + S_i/n)

    over the n sampled rows d that are not example i's target; sg stops the gradient. The gradient is that of
    the full softmax with the sum over the other items estimated from the sample. The value is no
    cross-entropy: it may be negative. An example without any negative counts 0.
    """
    n_examples = len(queries)
    scores = queries / temperature @ items.T  # (B, M)
    positive = scores.diagonal()
    own = item_idx[:n_examples, None] == item_idx[None, :]
    n_negatives = (~own).sum(dim=1)
    own = own & (n_negatives > 0)[:, None]  # a row hidden whole would have no finite sum
    log_rest = torch.log1p(-log_q[:n_examples].exp().clamp(max=1 - torch.finfo(log_q.dtype).eps))  # log(1 − Q(p))
    corrected = torch.where(own, -torch.inf, scores - log_q + log_rest[:, None])
    negatives = torch.logsumexp(corrected, dim=1)
    with torch.no_grad():
        one_minus_p = torch.sigmoid(negatives - n_negatives.clamp(min=1).to(scores.dtype).log() - positive)  # 1 − P̂
        one_minus_p = torch.where(n_negatives > 0, one_minus_p, 0.0)
    return weighted_mean(one_minus_p * (negatives - positive), weight)
