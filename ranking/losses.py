"""Losses over the candidates of a query. A candidate whose label is NaN takes no part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from reccore.arrays import BoolArray, FloatArray

LossName: TypeAlias = Literal["softmax", "bce", "bpr"]


def listwise_softmax(logits: Tensor, labels: Tensor, weight: Tensor, gain: Tensor | None = None) -> Tensor:
    """−log softmax of a query's positives over its labelled candidates, averaged.

    Args:
        logits: (B, K).
        labels: (B, K), 1 = chosen, 0 = not, NaN = no label.
        weight: (B,) weight of each query.
        gain: (B, K) factors on the terms of the positives; None = all 1. Elsewhere they are not read.

    Returns:
        Weighted mean over the queries that have a positive, each the mean over its positives; 0 without any.
    """
    labelled, positive = ~torch.isnan(labels), labels == 1.0
    n_positive = positive.sum(dim=1)  # (B,)
    lowest = torch.finfo(logits.dtype).min
    log_share = torch.log_softmax(logits.masked_fill(~labelled, lowest), dim=1)  # (B, K)
    terms = -log_share.masked_fill(~positive, 0.0)
    per_query = _gained(terms, gain, positive).sum(dim=1) / n_positive.clamp(min=1)  # (B,)
    return _weighted_mean(per_query, weight * (n_positive > 0))


def pointwise_bce(logits: Tensor, labels: Tensor, weight: Tensor, gain: Tensor | None = None) -> Tensor:
    """Binary cross-entropy with logits, averaged over a query's labelled candidates, then over queries.

    Arguments as for ``listwise_softmax``; queries without any label do not count.
    """
    labelled = ~torch.isnan(labels)
    n_labelled = labelled.sum(dim=1)  # (B,)
    each = nn.functional.binary_cross_entropy_with_logits(logits, torch.nan_to_num(labels), reduction="none")  # (B, K)
    terms = _gained(each.masked_fill(~labelled, 0.0), gain, labels == 1.0)
    per_query = terms.sum(dim=1) / n_labelled.clamp(min=1)  # (B,)
    return _weighted_mean(per_query, weight * (n_labelled > 0))


def pairwise_bpr(logits: Tensor, labels: Tensor, weight: Tensor, gain: Tensor | None = None) -> Tensor:
    """−log σ(s⁺ − s⁻) over the pairs of a positive and a negative of one query, averaged, then over queries.

    Rendle et al.: BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009; the logistic loss of RankNet
    (Burges et al., ICML 2005). Arguments as for ``listwise_softmax``; queries without a pair do not count. Takes
    B·P·K floats where a query has at most P positives.
    """
    positive, negative = labels == 1.0, labels == 0.0
    n_pairs = positive.sum(dim=1) * negative.sum(dim=1)  # (B,)
    most = int(positive.sum(dim=1).max()) if len(labels) else 0
    is_positive, at = torch.topk(positive.to(logits.dtype), most, dim=1)  # (B, P), the positives of each query first
    pairs = nn.functional.softplus(logits[:, None] - logits.gather(1, at)[:, :, None])  # (B, P, K)
    per_positive = pairs.masked_fill(~negative[:, None], 0.0).sum(dim=2) * is_positive  # (B, P)
    if gain is not None:
        per_positive = per_positive * torch.where(is_positive > 0, gain.gather(1, at), 1.0)
    per_query = per_positive.sum(dim=1) / n_pairs.clamp(min=1)  # (B,)
    return _weighted_mean(per_query, weight * (n_pairs > 0))


def _gained(terms: Tensor, gain: Tensor | None, positive: Tensor) -> Tensor:
    return terms if gain is None else terms * torch.where(positive, gain, 1.0)


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-12)


@dataclass(frozen=True)
class RankingLoss:
    """A loss, and what follows from it.

    Attributes:
        compute: from logits, labels, weights and gains, as ``listwise_softmax``.
        usable: (B, K) labels to (B,), the queries that it can learn from.
        needs: what these have, as a phrase.
        log_probability: logits to log p(positive); where the loss fixes logits only up to a constant of the query, up
            to such a constant.
    """

    compute: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
    usable: Callable[[FloatArray], BoolArray]
    needs: str
    log_probability: Callable[[Tensor], Tensor]


def _has_positive(labels: FloatArray) -> BoolArray:
    return np.asarray((labels == 1.0).any(axis=1))


def _has_pair(labels: FloatArray) -> BoolArray:
    return np.asarray((labels == 1.0).any(axis=1) & (labels == 0.0).any(axis=1))


def _has_label(labels: FloatArray) -> BoolArray:
    return np.asarray(~np.isnan(labels).all(axis=1))


LOSSES: dict[LossName, RankingLoss] = {
    "softmax": RankingLoss(listwise_softmax, _has_positive, "a positive candidate", lambda logits: logits),
    "bce": RankingLoss(pointwise_bce, _has_label, "a labelled candidate", nn.functional.logsigmoid),
    "bpr": RankingLoss(pairwise_bpr, _has_pair, "both a positive and a negative candidate", lambda logits: logits),
}
