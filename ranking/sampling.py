"""What every ranker's training reads of its samples: usable queries, drawn candidates, and the stopping metric."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evaluation.metrics import ndcg_of_scores
from ranking.losses import RankingLoss
from reccore.arrays import FloatArray, IntArray

NDCG_AT = 10


def usable_rows(labels: FloatArray, loss: RankingLoss) -> IntArray:
    """Queries of labels (N, K, S) that the loss can learn from in at least one task."""
    return np.flatnonzero(np.any([loss.usable(labels[:, :, task]) for task in range(labels.shape[2])], axis=0))


def sample_columns(labels: Tensor, negatives: int, generator: torch.Generator) -> Tensor:
    """Columns of every positive and of ``negatives`` random negatives for each query, (b, k).

    Rows with fewer labels are filled up with columns that have none, which no loss reads. If all columns are wanted,
    they keep their order.
    """
    positive, labelled = labels == 1.0, ~torch.isnan(labels)
    wanted = int(positive.sum(dim=1).max()) + negatives
    if wanted >= labels.shape[1]:
        return torch.arange(labels.shape[1]).expand_as(labels)
    keys = torch.rand(labels.shape, generator=generator)
    keys = torch.where(positive, -1.0, torch.where(labelled, keys, 2.0))
    chosen: Tensor = torch.topk(keys, wanted, dim=1, largest=False, sorted=False).indices
    return chosen


def stopping_ndcg(scores: FloatArray, labels: FloatArray, item_idx: IntArray) -> float:
    """Mean NDCG@10 over queries, ties by item index, of the labelled candidates alone.

    A candidate without a label (NaN) may be one that the user chose later, so it takes no place in the list. Queries
    without a positive count as 0.

    Args:
        scores: (B, K), higher is better.
        labels: (B, K), 1 = positive, 0 = negative, NaN = unlabelled.
        item_idx: (B, K), -1 = no item.
    """
    return float(ndcg_of_scores(np.where(np.isnan(labels), -np.inf, scores), labels, item_idx, NDCG_AT).mean())
