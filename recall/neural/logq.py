"""The logQ correction: log probability that a batch's sampling proposes an item.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019; mixed
negatives: Yang et al., "Mixed negative sampling for learning two-tower neural networks in recommendations", WWW 2020
companion. Whatever proposes negatives, the correction is that of the mixture of all proposals, weighted by their draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import Field, Tag
from torch import Tensor

from reccore import ComponentConfig
from reccore.config import by_kind


class NoLogQConfig(ComponentConfig):
    """Logits are not corrected."""

    kind: Literal["none"] = "none"


class CountsLogQConfig(ComponentConfig):
    """Q is the share of an item among the training events."""

    kind: Literal["counts"] = "counts"


class StreamingLogQConfig(ComponentConfig):
    """Q is estimated while training from the gaps between an item's appearances (``FrequencyEstimator``).

    Attributes:
        hashes: m, independent pairs of arrays.
        buckets: H, buckets of each array.
        alpha: α, weight of the newest gap.
        initial_gap: batches between two appearances before any was seen.
        warm_up: average an item's first 1/α gaps with equal weights, so that the estimate is useful from epoch 1.
    """

    kind: Literal["streaming"] = "streaming"
    hashes: int = Field(default=4, ge=1)
    buckets: int = Field(default=65_536, ge=1)
    alpha: float = Field(default=0.01, gt=0, lt=1)
    initial_gap: float = Field(default=100.0, ge=1)
    warm_up: bool = True


LogQConfig: TypeAlias = Annotated[
    Annotated[NoLogQConfig, Tag("none")]
    | Annotated[CountsLogQConfig, Tag("counts")]
    | Annotated[StreamingLogQConfig, Tag("streaming")],
    by_kind("counts"),
]


@dataclass(frozen=True, eq=False)
class Proposal:
    """Draws beside the in-batch and the uniform ones.

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
    further: Sequence[Proposal] = (),
) -> Tensor:
    """(N,) log Q*, the chance that one negative of a mixed batch is a given item.

    Q*(y) = (B·Q(y) + B′/N + Σ B″·P(y)) / (B + B′ + Σ B″) with Q the chance of an in-batch draw, B in-batch draws (their
    mean number), B′ uniform ones, and B″ of each further proposal P, such as mined or popular items. An item that is
    never drawn gets 0 instead of the logarithm of a clamped tiny number: it is in no batch, so its value is never used.

    Args:
        item_probability: (N,) Q of each item, or of some items only, with ``n_items`` the size of the catalogue.
        n_in_batch: B.
        n_uniform: B′.
        n_items: N of the catalogue; None = the length of ``item_probability``.
        further: B″ and P of each.
    """
    n_items = len(item_probability) if n_items is None else n_items
    draws = n_in_batch * item_probability + n_uniform / n_items
    n_draws = n_in_batch + n_uniform
    for proposal in further:
        draws, n_draws = draws + proposal.n * proposal.probability, n_draws + proposal.n
    return _log_or_zero(draws / n_draws)


def inclusion_log_q(
    item_probability: Tensor,
    n_in_batch: float,
    n_uniform: int,
    *,
    n_items: int | None = None,
    further: Sequence[Proposal] = (),
) -> Tensor:
    """(N,) log of the chance that a mixed batch holds a given item at all: for batches of distinct items.

    1 − (1−Q(y))^B · (1−1/N)^B′ · Π (1−P(y))^B″, arguments as in ``mixed_log_q``. The expected number of draws
    over-corrects an item that is drawn many times and then kept once.
    """
    n_items = len(item_probability) if n_items is None else n_items
    log_absent = torch.zeros_like(item_probability)
    if n_in_batch:
        log_absent = n_in_batch * torch.log1p(-item_probability)
    if n_uniform:
        log_absent = log_absent + n_uniform * (math.log1p(-1 / n_items) if n_items > 1 else -math.inf)
    for proposal in further:
        log_absent = log_absent + proposal.n * torch.log1p(-proposal.probability)
    return _log_or_zero(-torch.expm1(log_absent))


def _log_or_zero(q: Tensor) -> Tensor:
    return torch.where(q > 0, torch.log(q.clamp(min=torch.finfo(q.dtype).tiny)), torch.zeros_like(q))
