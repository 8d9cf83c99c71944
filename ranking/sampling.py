"""What every ranker's training shares: usable queries, drawn candidates, the stopping metric, and fingerprints."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluation.metrics import ndcg_of_scores
from ranking.features import FeatureEncoder
from ranking.losses import RankingLoss
from reccore import DataError, RankingSamples
from reccore.arrays import FloatArray, IntArray
from training.checkpointing import digest

NDCG_AT = 10


def usable_rows(labels: FloatArray, loss: RankingLoss) -> IntArray:
    """Queries of labels (N, K, S) that the loss can learn from in at least one task."""
    return np.flatnonzero(np.any([loss.usable(labels[:, :, task]) for task in range(labels.shape[2])], axis=0))


def rows_to_learn_from(labels: FloatArray, loss: RankingLoss) -> IntArray:
    """``usable_rows`` of the training samples.

    Raises:
        DataError: there are none.
    """
    rows = usable_rows(labels, loss)
    if len(rows) == 0:
        raise DataError(
            f"none of the {len(labels):,} training queries has {loss.needs}, which the loss learns from; recall more "
            "items, label more events, or choose another loss"
        )
    return rows


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


def training_inputs(encoder: FeatureEncoder, samples: RankingSamples, valid: RankingSamples | None) -> dict[str, str]:
    """Fingerprints of everything that a training reads, for the identity of its checkpoints."""
    return {
        "items": digest(encoder.tables.items.to_arrays()),
        "users": digest(encoder.tables.users.to_arrays()),
        "samples": samples_digest(samples),
        "validation": "none" if valid is None else samples_digest(valid),
    }


def samples_digest(samples: RankingSamples) -> str:
    """Fingerprint of everything that samples hold."""
    arrays: dict[str, Any] = {f"label {task}": labels for task, labels in samples.labels.items()}
    for number, items in enumerate(samples.earlier_items, start=1):
        arrays |= {f"items {number} {name}": values for name, values in items.to_arrays().items()}
    arrays |= {f"feature {name}": values for name, values in samples.candidates.features.items()}
    for part in (samples, samples.queries, samples.candidates):
        arrays |= {field.name: getattr(part, field.name) for field in fields(part)}
    return digest({name: values for name, values in arrays.items() if isinstance(values, np.ndarray)})
