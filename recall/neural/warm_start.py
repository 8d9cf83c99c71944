"""Item ids that start from the factors of ALS (``recall.mf``) in place of random rows.

Where most items have few events, gradients alone move their rows little in the epochs before a model over-fits. The
factors come from closed-form steps over all events at once, and the pools of a history start as what ALS retrieves by.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from recall.mf import MF
from reccore import ComponentConfig, RunOptions, TrainingData
from reccore.arrays import FloatArray


class WarmStartConfig(ComponentConfig):
    """Options of ``als_vectors``: those of ``recall.mf.MFConfig``.

    Attributes:
        epochs: alternating passes.
        reg: L2 regularisation of the factors.
        alpha: confidence of an event is 1 + alpha.
    """

    epochs: int = Field(default=15, ge=1)
    reg: float = Field(default=0.05, gt=0)
    alpha: float = Field(default=5.0, gt=0)


def als_vectors(data: TrainingData, size: int, config: WarmStartConfig, options: RunOptions) -> FloatArray:
    """(N, D) item factors of the fit split, scaled to a mean length of 1; 0 for items without an event.

    Args:
        data: the fit split.
        size: D.
        config: of ALS.
        options: seed and progress.
    """
    factors: FloatArray = MF({"embedding_size": size, **config.model_dump()}).fit(data, options=options).item_factors
    length = np.linalg.norm(factors, axis=1)
    scaled: FloatArray = factors / length[length > 0].mean()
    return scaled
