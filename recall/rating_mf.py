"""Matrix factorisation of explicit ratings with biases.

Koren, Bell and Volinsky, "Matrix factorization techniques for recommender systems", IEEE Computer 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recall.factors import FactorConfig, FactorRecall
from recall.history import recency_weights
from reccore import Bundle, DataError, QueryBatch, RunOptions, TrainingData
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter
from training import Task, Trainer, TrainingConfig, TrainingLog
from training.kernels.embedding_table import EmbeddingTable
from training.ranks import joined_mean, share_of


class RatingMFConfig(FactorConfig, TrainingConfig):
    """Options of ``RatingMF``, beside those of its family and of training.

    Attributes:
        reg: L2 regularisation λ of factors and biases, counted once for each rating; at 0 a fold-in from fewer ratings
            than factors would have no unique solution.
        validation_share: of the ratings, drawn at random, are left out of training and choose the epoch.
    """

    embedding_size: int = Field(default=32, ge=1)
    half_life: float | None = Field(default=None, gt=0)
    learning_rate: float = Field(default=5e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    reg: float = Field(default=0.05, gt=0)
    validation_share: float = Field(default=0.05, gt=0, lt=1)


class RatingMF(FactorRecall):
    """An item's score is the rating to expect, μ + b_u + b_i + x_u·y_i.

    It answers how well a user would like a film, not which film comes next, and is poor at the latter: films that few
    people saw and loved come first. As a score of candidates it says what the other channels do not.

    A query's b_u and x_u are folded in from the ratings of its history; a missing rating counts as the mean μ. Items
    without a rating in training are not offered.
    """

    name: ClassVar[str] = "rating_mf"
    Config: ClassVar[type[RatingMFConfig]] = RatingMFConfig
    keeps_checkpoints: ClassVar[bool] = True
    config: RatingMFConfig
    item_factors: FloatArray  # (N, D + 2): y_i, b_i, 1
    mean: float  # μ
    log: TrainingLog

    def _factorise(self, data: TrainingData, options: RunOptions) -> FloatArray:
        events = data.interactions
        rated = np.zeros(0, dtype=np.int64) if events.rating is None else np.flatnonzero(np.isfinite(events.rating))
        if events.rating is None or len(rated) < 2:
            raise DataError("rating_mf needs at least two events with ratings; implicit feedback is for mf or bpr")
        drawn = options.generator("validation_queries").permutation(rated)
        n_valid = min(max(round(self.config.validation_share * len(rated)), 1), len(rated) - 1)
        valid, train = drawn[:n_valid], drawn[n_valid:]
        self.mean = float(events.rating[train].mean(dtype=np.float64))
        torch.manual_seed(options.seed)
        network = RatingNetwork(events.n_users, events.n_items, self.config.embedding_size, self.mean)
        columns = (events.user_idx, events.item_idx, events.rating)
        task = RatingTask(network, [c[train] for c in columns], [c[valid] for c in columns], self.config, options)
        self.log = Trainer(task, self.config, options, identity={"data": events.fingerprint}).run()
        items = network.to("cpu").items.weight.detach().numpy()
        factors = np.column_stack([items, np.ones(len(items), dtype=np.float32)])
        factors[np.bincount(events.item_idx[train], minlength=events.n_items) == 0] = 0.0
        return factors

    def _fold_in(self, queries: QueryBatch) -> FloatArray:
        """[x, 1, μ + b] of each query, where z = [x, b] = argmin Σ w_i ((r_i − μ − b_i − z·[y_i, 1])² + λ·|z|²)."""
        size = self.config.embedding_size
        weights = recency_weights(queries, self.config.half_life).astype(np.float64)
        weights *= self.item_factors[queries.history_idx, -1]  # 0 for items without factors
        ratings = np.full(len(weights), self.mean)
        if queries.history_rating is not None:
            ratings = np.where(np.isfinite(queries.history_rating), queries.history_rating, self.mean)
        vectors: FloatArray = np.zeros((len(queries), size + 2), dtype=np.float32)
        for query, (start, stop) in enumerate(
            zip(queries.history_offsets[:-1], queries.history_offsets[1:], strict=True)
        ):
            weight = weights[start:stop]
            if weight.sum() == 0:
                continue
            factors = self.item_factors[queries.history_idx[start:stop]].astype(np.float64)
            inputs = np.delete(factors, size, axis=1)  # (n, D + 1): y_i, 1
            weighted = inputs.T * weight
            left = weighted @ inputs + self.config.reg * weight.sum() * np.eye(size + 1)
            solved = np.linalg.solve(left, weighted @ (ratings[start:stop] - self.mean - factors[:, size]))
            vectors[query] = [*solved[:-1], 1.0, self.mean + solved[-1]]
        return vectors

    def _write(self, bundle: BundleWriter) -> None:
        super()._write(bundle)
        bundle.arrays("mean.npz", {"mean": np.array(self.mean)})
        bundle.manifest["training"] = asdict(self.log)

    def _read(self, bundle: Bundle) -> None:
        super()._read(bundle)
        self.mean = float(bundle.arrays("mean.npz")["mean"])
        self.log = TrainingLog(**bundle.manifest["training"])


class RatingNetwork(nn.Module):
    """Factors and biases of users and items; a row of a table is D factors and a bias."""

    def __init__(self, n_users: int, n_items: int, size: int, mean: float) -> None:
        super().__init__()
        self.users, self.items, self.mean = EmbeddingTable(n_users, size + 1), EmbeddingTable(n_items, size + 1), mean
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1)
            nn.init.zeros_(table.weight[:, -1])

    def forward(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Ratings to expect (B,), and the squared length of both rows of parameters (B,)."""
        u, i = self.users(users), self.items(items)  # (B, D + 1)
        rating = self.mean + u[:, -1] + i[:, -1] + (u[:, :-1] * i[:, :-1]).sum(dim=1)
        return rating, u.square().sum(dim=1) + i.square().sum(dim=1)


class RatingTask(Task):
    """Squared error of ratings plus λ times the squared parameters of their users and items.

    Args:
        network: trained in place.
        train, valid: users, items and ratings, (E,) each.
        config: of the channel.
        options: seed and device.
    """

    name: ClassVar[str] = "rating_mf"
    unit: ClassVar[str] = "ratings"

    def __init__(
        self,
        network: RatingNetwork,
        train: Sequence[np.ndarray],
        valid: Sequence[np.ndarray],
        config: RatingMFConfig,
        options: RunOptions,
    ) -> None:
        self.network: RatingNetwork = network
        self.config, self.device = config, options.torch_device()
        self.train, self.valid = ([torch.from_numpy(column) for column in part] for part in (train, valid))
        self.n_samples, self.n_users = len(train[0]), network.users.num_embeddings
        self.n_batches = -(-self.n_samples // config.batch_size)
        self.draws = options.torch_generator("shuffle")
        self.generators = {"shuffle": self.draws}

    def batches(self) -> Sequence[Tensor]:
        return torch.split(torch.randperm(self.n_samples, generator=self.draws), self.config.batch_size)

    def loss(self, batch: Tensor) -> tuple[Tensor, int]:
        share, n_ratings = share_of(self.train[0][batch].numpy()), len(batch)
        batch = batch if share is None else batch[torch.from_numpy(share.rows)]
        users, items, rating = (column[batch].to(self.device) for column in self.train)
        expected, squares = self.network(users, items)
        loss = ((rating - expected).square() + self.config.reg * squares).mean()
        return joined_mean(loss, len(batch) if share is None or share.counts else 0.0), n_ratings

    def describe(self, batch: Tensor) -> str:
        return f"ratings {self.train[2][batch[:5]].tolist()}…"

    @property
    def validates(self) -> bool:
        return True

    def validate(self) -> float:
        """Negative RMSE of the ratings left out, since greater is better."""
        users, items, rating = (column.to(self.device) for column in self.valid)
        with torch.no_grad():
            expected, _ = self.network(users, items)
        return -float((rating - expected).square().mean().sqrt())
