"""The one training loop of all neural rankers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from loguru import logger
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from evaluation.metrics import ndcg_of_scores
from ranking.features import FeatureEncoder, RankingInputs
from ranking.losses import LOSSES
from ranking.scoring import score_queries
from reccore import ComponentConfig, DataError, RankingSamples, RunOptions
from reccore.arrays import FloatArray, IntArray
from reccore.progress import progress

NDCG_AT = 10
GRADIENT_NORM = 5.0
MAX_ENCODED_BYTES = 2 * 1024**3
"""Samples whose encoded inputs are larger than this are encoded batch by batch instead of once."""


class TrainingConfig(ComponentConfig):
    """Options of the training loop; part of every neural ranker's configuration.

    Attributes:
        task: the labels to learn.
        learning_rate: of Adam.
        epochs: at most this many passes over the queries.
        batch_size: queries per step.
        weight_decay: L2 on embeddings and hidden layers; first-order weights are free. The default suits some
            thousand queries, where lighter decay overfits; it also keeps rules between single ids from being
            learnt, so lower it with more data.
        loss: ``softmax`` (listwise, over a query's candidates) or ``bce`` (pointwise).
        negatives: candidates not chosen that are drawn anew for each query and epoch.
        user_dropout: share of queries whose user id is hidden in a training step, so that unknown users
            have an embedding too.
        patience: stop after this many epochs without a better validation NDCG@10.
    """

    task: str = "click"
    learning_rate: float = Field(default=3e-4, gt=0)
    epochs: PositiveInt = 20
    batch_size: PositiveInt = 64
    weight_decay: float = Field(default=1e-2, ge=0)
    loss: Literal["softmax", "bce"] = "softmax"
    negatives: PositiveInt = 100
    user_dropout: float = Field(default=0.5, ge=0, le=1)
    patience: PositiveInt = 4


@dataclass(frozen=True)
class TrainingReport:
    """How a training went.

    Attributes:
        valid_ndcg: validation NDCG@10 before the first epoch (the merged order itself) and after each; empty
            without validation samples.
        losses: mean training loss of each epoch.
        best_epoch: whose state was kept; 0 = none was better than the merged order.
        queries_per_second: training speed, validation not counted.
    """

    valid_ndcg: tuple[float, ...]
    losses: tuple[float, ...]
    best_epoch: int
    queries_per_second: float


class SampleSource:
    """Batches of encoded training samples by row and column; encoded once if that fits, else per batch."""

    def __init__(self, encoder: FeatureEncoder, samples: RankingSamples, task: str, rows: IntArray) -> None:
        self.encoder, self.samples = encoder, samples.select(rows)
        self.labels = torch.from_numpy(np.asarray(self.samples.labels[task], dtype=np.float32)).clone()
        self.labels[torch.from_numpy(~self.samples.candidates.mask)] = torch.nan
        weight = np.ones(len(rows)) if self.samples.weight is None else self.samples.weight
        self.weight = torch.from_numpy(np.asarray(weight, dtype=np.float32))
        self.inputs = encode_if_small(encoder, self.samples)

    def __len__(self) -> int:
        return len(self.weight)

    def batch(self, rows: Tensor, columns: Tensor) -> RankingInputs:
        """Inputs of queries (b,), each with the given columns (b, k)."""
        if self.inputs is not None:
            return self.inputs.take(rows, columns)
        chosen = rows.numpy()
        encoded = self.encoder.encode(self.samples.queries.select(chosen), self.samples.candidates.select(chosen))
        return encoded.take(torch.arange(len(rows)), columns)


def encode_if_small(encoder: FeatureEncoder, samples: RankingSamples) -> RankingInputs | None:
    """Encoded samples; None if they would take more than ``MAX_ENCODED_BYTES``."""
    first = samples.select(np.arange(min(len(samples), 1)))
    if encoder.encode(first.queries, first.candidates).nbytes * len(samples) > MAX_ENCODED_BYTES:
        return None
    return encoder.encode(samples.queries, samples.candidates)


def usable_rows(labels: FloatArray, loss: str) -> IntArray:
    """Queries a loss can learn from: a positive for ``softmax``, any label for ``bce``."""
    usable = (labels == 1.0).any(axis=1) if loss == "softmax" else ~np.isnan(labels).all(axis=1)
    return np.flatnonzero(usable)


def sample_columns(labels: Tensor, negatives: int, generator: torch.Generator) -> Tensor:
    """Columns of every positive and of ``negatives`` random negatives for each query, (b, k).

    Rows with fewer labels are filled up with columns that have none, which no loss touches. With as many
    negatives as there are columns the columns stay whole.
    """
    positive, labelled = labels == 1.0, ~torch.isnan(labels)
    wanted = int(positive.sum(dim=1).max()) + negatives
    if wanted >= labels.shape[1]:
        return torch.arange(labels.shape[1]).expand_as(labels)
    keys = torch.rand(labels.shape, generator=generator)
    keys = torch.where(positive, -1.0, torch.where(labelled, keys, 2.0))
    chosen: Tensor = torch.topk(keys, wanted, dim=1, largest=False, sorted=False).indices
    return chosen


def train(
    network: nn.Module,
    encoder: FeatureEncoder,
    samples: RankingSamples,
    valid: RankingSamples | None,
    config: TrainingConfig,
    options: RunOptions,
) -> TrainingReport:
    """Train ``network`` in place and leave it with its best state, in evaluation mode.

    Adam on batches of queries; after each epoch NDCG@10 of the validation samples decides which state is
    kept. The untrained state counts too, so the result is never worse on validation than the order given.
    Without validation samples, or without a positive among them, which no epoch can win, all epochs are run and
    the last state is kept.

    Raises:
        DataError: the loss stopped being a number; names the epoch and the batch.
    """
    device, task = options.torch_device(), config.task
    network.to(device)
    source = SampleSource(encoder, samples, task, usable_rows(samples.labels[task], config.loss))
    if valid is not None and not np.any(valid.labels[task] == 1.0):
        logger.warning("none of the {:,} validation queries has a positive: no epoch can be chosen by them", len(valid))
        valid = None
    judge = None if valid is None else Judge(encoder, valid, task, device)
    optimiser = _optimiser(network, config)
    generator = options.torch_generator("shuffle")
    scores = [] if judge is None else [judge(network)]
    losses: list[float] = []
    best_epoch, best = 0, _state(network)
    seconds = 0.0
    for epoch in range(1, config.epochs + 1):
        started = time.perf_counter()
        losses.append(_epoch(network, source, optimiser, config, options, generator, epoch))
        seconds += time.perf_counter() - started
        if judge is not None:
            scores.append(judge(network))
            logger.info("epoch {}: loss {:.4f}, validation NDCG@{} {:.4f}", epoch, losses[-1], NDCG_AT, scores[-1])
        if judge is None or scores[-1] > scores[best_epoch]:
            best_epoch, best = epoch, _state(network)
        if epoch - best_epoch >= config.patience:
            break
    network.load_state_dict(best)
    network.eval()
    return TrainingReport(tuple(scores), tuple(losses), best_epoch, len(source) * len(losses) / max(seconds, 1e-9))


def _epoch(
    network: nn.Module,
    source: SampleSource,
    optimiser: torch.optim.Optimizer,
    config: TrainingConfig,
    options: RunOptions,
    generator: torch.Generator,
    epoch: int,
) -> float:
    """One pass over all queries in random order; the mean loss."""
    device, loss_of = next(network.parameters()).device, LOSSES[config.loss]
    schema = source.encoder.schema
    user_column = schema.column("user.id") if "user.id" in schema else None
    network.train()
    order, total = torch.randperm(len(source), generator=generator), 0.0
    with progress(f"epoch {epoch}", len(source), unit="queries", enabled=options.progress) as advance:
        for number, rows in enumerate(torch.split(order, config.batch_size)):
            labels = source.labels[rows]  # (b, K)
            columns = sample_columns(labels, config.negatives, generator)  # (b, k)
            inputs = source.batch(rows, columns)
            hidden = torch.rand(len(rows), generator=generator) < config.user_dropout
            if user_column is not None:
                inputs.query.categories[hidden, user_column] = 0
            inputs, labels = inputs.to(device), labels.gather(1, columns).to(device)
            loss = loss_of(network(inputs), labels, source.weight[rows].to(device))
            value = float(loss.detach())
            if not math.isfinite(value):
                raise DataError(
                    f"the loss became {value} in epoch {epoch}, batch {number} (queries {rows[:5].tolist()}…); "
                    f"lower learning_rate (now {config.learning_rate})"
                )
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
            optimiser.step()
            total += value * len(rows)
            advance(len(rows), loss=value)
    return total / len(source)


def _optimiser(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam with L2 on embeddings and weight matrices; first-order weights, biases and slopes are free of it."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_free = parameter.ndim < 2 or name.endswith("code_weights")
        (free if is_free else decayed).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free}]
    return torch.optim.Adam(groups, lr=config.learning_rate)


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


class Judge:
    """NDCG@10 of a network on validation samples, encoded once if that fits."""

    def __init__(self, encoder: FeatureEncoder, valid: RankingSamples, task: str, device: torch.device) -> None:
        self.encoder, self.valid, self.labels, self.device = encoder, valid, valid.labels[task], device
        self.inputs = encode_if_small(encoder, valid)

    def __call__(self, network: nn.Module) -> float:
        scores = score_queries(
            network, self.encoder, self.valid.queries, self.valid.candidates, self.device, self.inputs
        )
        return float(ndcg_of_scores(scores, self.labels, self.valid.candidates.item_idx, NDCG_AT).mean())


@contextmanager
def seeded(options: RunOptions) -> Iterator[None]:
    """Initial weights and dropout from the run's seed; the process's own random state is left as it was."""
    devices = [options.torch_device()] if options.torch_device().type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(options.generator("network").integers(2**62)))
        yield
