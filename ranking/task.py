"""Training of a neural ranker as a task of ``training.Trainer``: batches of queries, their loss, validation NDCG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from loguru import logger
from torch import Tensor, nn

from ranking.config import NeuralRankerConfig
from ranking.features import FeatureEncoder, RankingInputs
from ranking.losses import LOSSES
from ranking.sampling import sample_columns, stopping_ndcg, usable_rows
from ranking.scoring import score_queries
from reccore import RankingSamples, RunOptions
from training import Task
from training.checkpointing import digest

MAX_ENCODED_BYTES = 2 * 1024**3
"""Samples whose encoded inputs are larger than this are encoded batch by batch instead of once."""
QUERIES_NAMED = 5
"""An error names so many queries of its batch."""


class RankingTask(Task):
    """Learns to put the positives of a query before its other candidates.

    After each epoch NDCG@10 of the validation samples decides which state is kept. The untrained network, which keeps
    the order of recall, counts as epoch 0. Without a positive among the validation samples there is no validation.

    Args:
        network: takes ``RankingInputs`` and returns logits (B, K).
        encoder: of the network's fields.
        samples: what to learn from; histories hold known items only.
        valid: what to choose an epoch by; None = all epochs run and the last state is kept.
        config: of the ranker.
        options: seed and device.
    """

    name = "ranking"
    unit = "queries"
    validates_start = True

    def __init__(
        self,
        network: nn.Module,
        encoder: FeatureEncoder,
        samples: RankingSamples,
        valid: RankingSamples | None,
        config: NeuralRankerConfig,
        options: RunOptions,
    ) -> None:
        self.network, self.encoder, self.config = network, encoder, config
        self.device = options.torch_device()
        self.rows = usable_rows(samples.labels[config.task], config.loss)
        self.samples = samples.select(self.rows)
        self.n_samples, self.n_batches = len(self.rows), math.ceil(len(self.rows) / config.batch_size)
        self.draws = options.torch_generator("shuffle")
        self.generators = {"shuffle": self.draws}
        labels = np.where(self.samples.candidates.mask, self.samples.labels[config.task], np.nan)
        self.labels = torch.from_numpy(labels.astype(np.float32))
        weight = np.ones(len(self.rows)) if self.samples.weight is None else self.samples.weight
        self.weight = torch.from_numpy(np.asarray(weight, dtype=np.float32))
        self.inputs = encode_if_small(encoder, self.samples)
        if valid is not None and not np.any(valid.labels[config.task] == 1.0):
            logger.warning("none of the {:,} validation queries has a positive: no epoch is chosen by them", len(valid))
            valid = None
        self.valid = valid
        self.valid_inputs = None if valid is None else encode_if_small(encoder, valid)

    def batches(self) -> Sequence[Tensor]:
        """Rows of the queries of each batch."""
        return torch.split(torch.randperm(self.n_samples, generator=self.draws), self.config.batch_size)

    def loss(self, batch: Tensor) -> tuple[Tensor, int]:
        """Loss over the positives and drawn negatives of each query; some user ids are hidden."""
        labels = self.labels[batch]  # (b, K)
        columns = sample_columns(labels, self.config.negatives, self.draws)  # (b, k)
        inputs = self._inputs(batch, columns)
        hidden = torch.rand(len(batch), generator=self.draws) < self.config.user_dropout
        if "user.id" in self.encoder.schema:
            inputs.query.categories[hidden, self.encoder.schema.column("user.id")] = 0
        logits = self.network(inputs.to(self.device))
        labels, weight = labels.gather(1, columns).to(self.device), self.weight[batch].to(self.device)
        return LOSSES[self.config.loss](logits, labels, weight), len(batch)

    def _inputs(self, rows: Tensor, columns: Tensor) -> RankingInputs:
        """Inputs of queries (b,), each with the given columns (b, k)."""
        if self.inputs is not None:
            return self.inputs.take(rows, columns)
        chosen = self.samples.select(rows.numpy())
        return self.encoder.encode(chosen.queries, chosen.candidates).take(torch.arange(len(rows)), columns)

    def describe(self, batch: Tensor) -> str:
        return f"training queries {self.rows[batch[:QUERIES_NAMED].numpy()].tolist()}…"

    @property
    def validates(self) -> bool:
        return self.valid is not None

    def validate(self) -> float:
        """Mean NDCG@10 over all validation queries, of the labelled candidates alone."""
        assert self.valid is not None
        queries, candidates, labels = self.valid.queries, self.valid.candidates, self.valid.labels[self.config.task]
        scores = score_queries(self.network, self.encoder, queries, candidates, self.device, self.valid_inputs)
        return stopping_ndcg(scores, labels, candidates.item_idx)


def encode_if_small(encoder: FeatureEncoder, samples: RankingSamples) -> RankingInputs | None:
    """Encoded samples; None if they would take more than ``MAX_ENCODED_BYTES``."""
    first = samples.select(np.arange(min(len(samples), 1)))
    if encoder.encode(first.queries, first.candidates).nbytes * len(samples) > MAX_ENCODED_BYTES:
        return None
    return encoder.encode(samples.queries, samples.candidates)


def exempt_from_decay(network: nn.Module) -> None:
    """Keep weight decay off biases, slopes and first-order weights: all vectors and one-column tables."""
    for module in network.modules():
        own = module.named_parameters(recurse=False)
        module.no_decay = [name for name, values in own if values.ndim < 2 or values.shape[1] == 1]  # type: ignore[assignment]


def samples_digest(samples: RankingSamples) -> str:
    """Fingerprint of everything that samples hold."""
    arrays: dict[str, Any] = {f"label {task}": labels for task, labels in samples.labels.items()}
    arrays |= {f"feature {name}": values for name, values in samples.candidates.features.items()}
    for part in (samples, samples.queries, samples.candidates):
        arrays |= {field.name: getattr(part, field.name) for field in fields(part)}
    return digest({name: values for name, values in arrays.items() if isinstance(values, np.ndarray)})
