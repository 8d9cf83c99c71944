"""Matrix factorisation for implicit feedback by alternating least squares.

Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008. The ``implicit``
library fits the factors.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field
from threadpoolctl import threadpool_limits

from recall.factors import FactorConfig, FactorRecall
from recall.history import merged_events
from recall.least_squares import regularised_gram, solve
from recall.sparse_rows import SparseRows
from reccore import Interactions, QueryBatch, RunOptions, TrainingData
from reccore.arrays import FloatArray
from reccore.progress import progress
from reccore.threads import thread_limit

if TYPE_CHECKING:
    from implicit.cpu.als import AlternatingLeastSquares

UPDATE_EPOCHS = 3


class MFConfig(FactorConfig):
    """Options of ``MF``, beside those of its family.

    Attributes:
        epochs: alternating passes.
        reg: L2 regularisation of the factors; at 0 the fold-in would have no unique solution.
        alpha: confidence of an event is 1 + alpha · weight.
    """

    epochs: int = Field(default=15, ge=1)
    reg: float = Field(default=0.05, gt=0)
    alpha: float = Field(default=5.0, gt=0)


class MF(FactorRecall):
    """Item factors Y; a query's vector is argmin_x Σ_i c_i (p_i − x·y_i)² + reg·|x|² over its history."""

    name = "mf"
    Config = MFConfig
    config: MFConfig

    _start: FloatArray | None = None  # (N, D) item factors to go on from

    def update(
        self,
        data: TrainingData,
        before: Interactions,
        options: RunOptions | None = None,
        *,
        memory: Path | None = None,
    ) -> Self:
        """``UPDATE_EPOCHS`` alternating passes from the item factors at hand, over all events; new items start at 0.

        The factors differ from those of a full fit, as those of two seeds do. Linear in all events, but cheaper than a
        fit by the number of passes.
        """
        again = type(self)(self.config)
        again._start = np.zeros((data.interactions.n_items, self.config.embedding_size), dtype=np.float32)
        again._start[: len(self.item_factors)] = self.item_factors
        again.fit(data, options=options)
        again._start = None
        return again

    def _factorise(self, data: TrainingData, options: RunOptions) -> FloatArray:
        epochs = self.config.epochs if self._start is None else min(UPDATE_EPOCHS, self.config.epochs)
        with (
            threadpool_limits(limits=1, user_api="blas"),  # implicit runs threads of its own
            progress("matrix factorisation", epochs, unit="epochs", enabled=options.progress) as advance,
        ):
            model = self._solver(options.seed, epochs)
            confidence = data.interactions.to_csr()
            confidence.data = 1.0 + self.config.alpha * confidence.data
            if self._start is not None:
                gram = regularised_gram(self._start, self.config.reg)
                model.item_factors = self._start
                model.user_factors = solve(SparseRows.of(confidence), self._start, gram)
            model.fit(confidence, show_progress=False, callback=lambda *_: advance())
        return np.asarray(model.item_factors)

    def _fold_in(self, queries: QueryBatch) -> FloatArray:
        weights = merged_events(queries, len(self.item_factors), self.config.half_life)
        confidence = (1.0 + self.config.alpha * weights.values).astype(np.float32)
        return solve(replace(weights, values=confidence), self.item_factors, self._gram)

    def _set_factors(self, factors: FloatArray) -> None:
        super()._set_factors(factors)
        self._gram = regularised_gram(factors, self.config.reg)

    def _solver(self, seed: int, epochs: int) -> AlternatingLeastSquares:
        from implicit.cpu.als import AlternatingLeastSquares  # takes 0.2 s, which a service that only answers saves

        c = self.config
        return AlternatingLeastSquares(
            factors=c.embedding_size,
            regularization=c.reg,
            alpha=1.0,  # implicit reads the values as confidences
            iterations=epochs,
            random_state=seed,
            num_threads=thread_limit() or 0,  # 0: implicit's default
        )
