"""Matrix factorisation for implicit feedback by alternating least squares.

Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008. Fitting is
done by the ``implicit`` library. Users are never looked up: each query's vector is folded in from its
history, the same closed form for those seen in training and for those who were not.
"""

from __future__ import annotations

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from pydantic import Field
from threadpoolctl import threadpool_limits

from recall.base import DenseRecall
from recall.history import history_matrix
from reccore import (
    Bundle,
    ComponentConfig,
    Holdout,
    QueryBatch,
    RunOptions,
    TrainingData,
)
from reccore.arrays import FloatArray
from reccore.bundle import BundleWriter
from reccore.progress import progress
from reccore.threads import thread_limit


class MFConfig(ComponentConfig):
    """Options of ``MF``.

    Attributes:
        embedding_size: number of latent factors.
        epochs: alternating passes.
        reg: L2 regularisation of the factors; without any the fold-in has no unique answer.
        alpha: confidence of an event is 1 + alpha · weight.
        half_life: at fold-in an event weighs half for every so many later ones; None weighs all alike.
    """

    embedding_size: int = Field(default=64, ge=1)
    epochs: int = Field(default=15, ge=1)
    reg: float = Field(default=0.05, gt=0)
    alpha: float = Field(default=5.0, gt=0)
    half_life: float | None = Field(default=10.0, gt=0)


class MF(DenseRecall):
    """Item factors Y; a query's vector is argmin_x Σ_i c_i (p_i − x·y_i)² + reg·|x|² over its history.

    Items without events have zero factors and are never offered. A history that is empty, or holds nothing
    but such items, gets an empty row.
    """

    name = "mf"
    Config = MFConfig
    config: MFConfig
    item_factors: FloatArray  # (N, D)

    def _fit(self, data: TrainingData, valid: Holdout | None, options: RunOptions) -> None:
        events = data.interactions.to_csr()
        events.data = 1.0 + self.config.alpha * events.data
        with (
            threadpool_limits(limits=1, user_api="blas"),  # implicit runs threads of its own
            progress("matrix factorisation", self.config.epochs, unit="epochs", enabled=options.progress) as advance,
        ):
            model = self._solver(options.seed)
            model.fit(events, show_progress=False, callback=lambda *_: advance())
        factors = np.asarray(model.item_factors, dtype=np.float32)
        factors[data.interactions.item_counts() == 0] = 0.0
        self._set(factors)

    def _set(self, factors: FloatArray) -> None:
        self.item_factors = factors
        with threadpool_limits(limits=1, user_api="blas"):
            self._folder = self._solver(0)
        self._folder.item_factors = factors
        self._known = np.any(factors != 0.0, axis=1)

    def _solver(self, seed: int) -> AlternatingLeastSquares:
        c = self.config
        return AlternatingLeastSquares(
            # implicit takes its values as the confidences themselves; ours are 1 + alpha · weight already.
            factors=c.embedding_size,
            regularization=c.reg,
            alpha=1.0,
            iterations=c.epochs,
            random_state=seed,
            num_threads=thread_limit() or 0,  # 0: implicit's default
        )

    def encode_queries(self, queries: QueryBatch) -> FloatArray:
        """(B, D) folded-in vectors; zero for an empty history."""
        n_items = len(self.item_factors)
        history = history_matrix(queries.known_items_only(n_items), n_items, self.config.half_life)
        history.data = 1.0 + self.config.alpha * history.data
        with threadpool_limits(limits=1, user_api="blas"):
            vectors = self._folder.recalculate_user(np.arange(len(queries)), history)
        return np.asarray(vectors, dtype=np.float32)

    def encode_items(self) -> FloatArray:
        """(N, D) item factors."""
        return self.item_factors

    def _prepare(self, queries: QueryBatch) -> FloatArray:
        return self.encode_queries(queries)

    def _scores(self, prepared: FloatArray) -> FloatArray:
        scores: FloatArray = prepared @ self.item_factors.T
        scores[:, ~self._known] = -np.inf
        scores[~prepared.any(axis=1)] = -np.inf  # the history holds no item with factors
        return scores

    def _write(self, bundle: BundleWriter) -> None:
        bundle.arrays("factors.npz", {"item_factors": self.item_factors})

    def _read(self, bundle: Bundle) -> None:
        self._set(bundle.arrays("factors.npz")["item_factors"])
