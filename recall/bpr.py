"""Matrix factorisation for ranking: Bayesian personalised ranking.

Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback", UAI 2009. The ``implicit`` library fits the
factors.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from pydantic import Field

from recall.factors import FactorConfig, FactorRecall
from recall.history import history_matrix, weighted_mean
from reccore import Bundle, QueryBatch, RunOptions, TrainingData
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter
from reccore.progress import progress


class BPRConfig(FactorConfig):
    """Options of ``BPR``, beside those of its family.

    Attributes:
        epochs: each takes as many steps as there are events: an event, and an item that its user has no event of.
        learning_rate: of SGD.
        reg: L2 regularisation of all factors and of the item biases.
    """

    half_life: float | None = Field(default=3.0, gt=0)
    epochs: int = Field(default=100, ge=1)
    learning_rate: float = Field(default=0.02, gt=0)
    reg: float = Field(default=0.02, ge=0)


class BPR(FactorRecall):
    """An item's score is x·y_i + b_i, trained so that items of a user's history exceed other items.

    BPR has no closed form for a new user. The query's factors x are the mean of its items' factors, times the number
    that comes closest to the trained users in least squares. On validation this mean with decay was better than the
    trained users' own factors, a linear map of the mean, and a ridge regression.

    One thread trains: several would update shared factors in an order of their own, and no seed would give the same
    result twice.
    """

    name: ClassVar[str] = "bpr"
    Config: ClassVar[type[BPRConfig]] = BPRConfig
    config: BPRConfig
    item_factors: FloatArray  # (N, D + 1), the bias last
    scale: float  # of the mean

    def _factorise(self, data: TrainingData, options: RunOptions) -> FloatArray:
        c, events = self.config, data.interactions
        model = BayesianPersonalizedRanking(
            factors=c.embedding_size,
            learning_rate=c.learning_rate,
            regularization=c.reg,
            iterations=c.epochs,
            num_threads=1,
            random_state=options.seed,
        )
        with progress("BPR", c.epochs, unit="epochs", enabled=options.progress) as advance:
            model.fit(events.to_csr(), show_progress=False, callback=lambda *_: advance())
        factors, users = np.asarray(model.item_factors), np.asarray(model.user_factors)[:, :-1]
        mean = weighted_mean(history_matrix(events.queries(), events.n_items, None), factors[:, :-1])
        self.scale = float(np.vdot(mean, users) / np.vdot(mean, mean))
        return factors

    def _fold_in(self, queries: QueryBatch) -> FloatArray:
        factors = weighted_mean(self._weights(queries), self.item_factors[:, :-1]) * np.float32(self.scale)
        answered = factors.any(axis=1).astype(np.float32)  # multiplies the bias
        return np.column_stack([factors, answered])

    def _write(self, bundle: BundleWriter) -> None:
        super()._write(bundle)
        bundle.arrays("fold_in.npz", {"scale": np.array(self.scale)})

    def _read(self, bundle: Bundle) -> None:
        super()._read(bundle)
        self.scale = float(bundle.arrays("fold_in.npz")["scale"])
