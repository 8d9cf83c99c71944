"""Training of a neural ranker as a task of ``training.Trainer``: batches of queries, their loss, validation NDCG."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from loguru import logger
from torch import Tensor

from evaluation.pointwise import auc
from ranking.balance import LossBalance
from ranking.config import USER_ID, RankerTrainingConfig
from ranking.debias import BiasTower, bias_inputs, exposure, inverse_propensity
from ranking.features import FeatureEncoder, RankingInputs
from ranking.losses import LOSSES
from ranking.network import RankingNetwork
from ranking.objective import LabelledBatch, TrainingObjective
from ranking.sampling import rows_to_learn_from, sample_columns, stopping_ndcg
from ranking.scoring import score_queries
from reccore import RankingSamples, RunOptions
from training import Task
from training.ranks import is_main, share_of

MAX_ENCODED_BYTES = 2 * 1024**3
"""Samples whose encoded inputs are larger than this are encoded batch by batch instead of once."""
QUERIES_NAMED = 5
"""An error names so many queries of its batch."""


class RankingTask(Task):
    """Learns to put the positives of a query before its other candidates.

    After each epoch NDCG@10 or AUC of the validation samples decides which state is kept. The untrained network, which
    keeps the order of recall, counts as epoch 0. Without a positive among the validation samples there is no
    validation.

    Args:
        network: of the ranker.
        encoder: of the network's fields.
        samples: what to learn from; histories hold known items only.
        valid: what to choose an epoch by; None = all epochs run and the last state is kept.
        tasks: labels to learn; the first one's decide about the epoch.
        balance: of the tasks' losses.
        config: of the ranker.
        options: seed and device.

    Raises:
        DataError: the loss can learn from none of the samples.
    """

    name = "ranking"
    unit = "queries"
    validates_start = True

    def __init__(
        self,
        network: RankingNetwork,
        encoder: FeatureEncoder,
        samples: RankingSamples,
        valid: RankingSamples | None,
        tasks: Sequence[str],
        balance: LossBalance,
        config: RankerTrainingConfig,
        options: RunOptions,
    ) -> None:
        self.encoder, self.config, self.tasks = encoder, config, tuple(tasks)
        self.device = options.torch_device()
        loss, debias = LOSSES[config.loss], config.debias
        tower = BiasTower(debias.size) if debias.kind == "bias_tower" else None
        self.ranker, self.objective = network, TrainingObjective(network, loss, balance, tower)
        self.objective.exempt_from_decay()
        self.network = self.objective
        labels = np.stack([samples.labels_of(task) for task in tasks], axis=2)  # (N, K, S)
        self.rows = rows_to_learn_from(labels, loss)
        self.samples = samples if len(self.rows) == len(samples) else samples.select(self.rows)
        self.n_samples, self.n_batches = len(self.rows), math.ceil(len(self.rows) / config.batch_size)
        self.n_users = len(np.unique(self.samples.queries.user_idx))
        self.draws = options.torch_generator("shuffle")
        self.generators = {"shuffle": self.draws}
        self.labels = torch.from_numpy(labels[self.rows])
        self.any_label = torch.from_numpy(np.fmax.reduce(labels[self.rows], axis=2))  # (N, K): 1 = positive of a task
        weight = np.ones(len(self.rows)) if self.samples.weight is None else self.samples.weight
        self.weight = torch.from_numpy(np.asarray(weight, dtype=np.float32))
        self.gain = self.bias = None
        if debias.kind == "ipw":
            exposed = exposure(samples.candidates)[self.rows]
            self.gain = torch.from_numpy(inverse_propensity(exposed, self.any_label.numpy() == 1.0, debias))
        elif debias.kind == "bias_tower":
            self.bias = torch.from_numpy(bias_inputs(samples.candidates, debias)[self.rows])
        self.inputs = encode_if_small(encoder, self.samples)
        if valid is not None and not np.any(valid.labels[tasks[0]] == 1.0):
            logger.warning("none of the {:,} validation queries has a positive: no epoch is chosen by them", len(valid))
            valid = None
        if valid is not None and config.select_by == "auc" and not np.any(valid.labels[tasks[0]] == 0.0):
            logger.warning("no validation candidate is a negative: there is no AUC to choose an epoch by")
            valid = None
        self.valid = valid
        self.valid_inputs = None if valid is None else encode_if_small(encoder, valid)

    def batches(self) -> Sequence[Tensor]:
        """Rows of the queries of each batch."""
        return torch.split(torch.randperm(self.n_samples, generator=self.draws), self.config.batch_size)

    def loss(self, batch: Tensor) -> tuple[Tensor, int]:
        """Loss over the positives and drawn negatives of each query; some user ids are hidden."""
        columns = sample_columns(self.any_label[batch], self.config.negatives, self.draws)  # (b, k)
        hidden = torch.rand(len(batch), generator=self.draws) < self.config.user_dropout
        share, n_queries = share_of(self.samples.queries.user_idx[batch.numpy()]), len(batch)
        if share is not None:
            own = torch.from_numpy(share.rows)
            batch, columns, hidden = batch[own], columns[own], hidden[own]
        inputs = self._inputs(batch, columns)
        if USER_ID in self.encoder.schema:
            inputs.query.categories[hidden, self.encoder.schema.column(USER_ID)] = 0

        def taken(values: Tensor | None) -> Tensor | None:
            """Values of the chosen columns, (b, k, …)."""
            return None if values is None else values[batch[:, None], columns].to(self.device)

        labelled = LabelledBatch(
            inputs.to(self.device),
            self.labels[batch[:, None], columns].to(self.device),
            self.weight[batch].to(self.device),
            taken(self.gain),
            taken(self.bias),
            share is None or share.counts,
        )
        return self.objective(labelled), n_queries

    def _inputs(self, rows: Tensor, columns: Tensor) -> RankingInputs:
        """Inputs of queries (b,), each with the given columns (b, k)."""
        if self.inputs is not None:
            return self.inputs.take(rows, columns)
        chosen = self.samples.select(rows.numpy())
        inputs = self.encoder.encode(chosen.queries, chosen.candidates, chosen.window)
        return inputs.take(torch.arange(len(rows)), columns)

    def describe(self, batch: Tensor) -> str:
        return f"training queries {self.rows[batch[:QUERIES_NAMED].numpy()].tolist()}…"

    @property
    def validates(self) -> bool:
        return self.valid is not None

    def validate(self) -> float:
        """Mean NDCG@10 over all validation queries, or AUC over all, of the labelled candidates alone."""
        assert self.valid is not None
        if not is_main():
            return 0.0  # of rank 0 the figure counts
        queries, candidates, labels = self.valid.queries, self.valid.candidates, self.valid.labels[self.tasks[0]]
        scores = score_queries(self.ranker, self.encoder, queries, candidates, self.device, self.valid_inputs)
        if self.config.select_by == "auc":
            labelled = candidates.mask & ~np.isnan(labels)
            return auc(scores[labelled], labels[labelled])
        return stopping_ndcg(scores, labels, candidates.item_idx)

    def curves(self) -> dict[str, float]:
        """Learned balance of the tasks, if it is learned."""
        learned = self.objective.balance.log_variance
        if learned is None:
            return {}
        return {f"log_variance.{task}": value for task, value in zip(self.tasks, learned.tolist(), strict=True)}


def encode_if_small(encoder: FeatureEncoder, samples: RankingSamples) -> RankingInputs | None:
    """Encoded samples; None if they would take more than ``MAX_ENCODED_BYTES``."""
    first = samples.select(np.arange(min(len(samples), 1)))
    if encoder.encode(first.queries, first.candidates).nbytes * len(samples) > MAX_ENCODED_BYTES:
        return None
    return encoder.encode(samples.queries, samples.candidates, samples.window)
