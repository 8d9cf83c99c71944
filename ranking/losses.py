"""Losses over the candidates of a query. A candidate whose label is NaN takes no part."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def listwise_softmax(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """−log softmax of a query's positives over its labelled candidates, averaged.

    Args:
        logits: (B, K).
        labels: (B, K), 1 = chosen, 0 = not, NaN = no label.
        weight: (B,) weight of each query.

    Returns:
        Weighted mean over the queries that have a positive, each the mean over its positives; 0 without any.
    """
    labelled, positive = ~torch.isnan(labels), labels == 1.0
    n_positive = positive.sum(dim=1)  # (B,)
    lowest = torch.finfo(logits.dtype).min
    log_share = torch.log_softmax(logits.masked_fill(~labelled, lowest), dim=1)  # (B, K)
    per_query = -log_share.masked_fill(~positive, 0.0).sum(dim=1) / n_positive.clamp(min=1)  # (B,)
    return _weighted_mean(per_query, weight * (n_positive > 0))


def pointwise_bce(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Binary cross-entropy with logits, averaged over a query's labelled candidates, then over queries.

    Arguments as for ``listwise_softmax``; queries without any label do not count.
    """
    labelled = ~torch.isnan(labels)
    n_labelled = labelled.sum(dim=1)  # (B,)
    each = nn.functional.binary_cross_entropy_with_logits(logits, torch.nan_to_num(labels), reduction="none")  # (B, K)
    per_query = each.masked_fill(~labelled, 0.0).sum(dim=1) / n_labelled.clamp(min=1)  # (B,)
    return _weighted_mean(per_query, weight * (n_labelled > 0))


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-12)


LOSSES = {"softmax": listwise_softmax, "bce": pointwise_bce}
