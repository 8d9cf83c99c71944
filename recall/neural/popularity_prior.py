"""The popularity of items, added to the scores of a trained network.

    score(q, i) = cos(q, i) + γ · log(c_i + ½),   c_i events of item i in the fit split

The adjustment of logits after training of Menon et al., "Long-tail learning via logit adjustment", ICLR 2021. Where
most items have a few events, a network learns these by heart in its first epochs and offers rare items too readily;
γ, chosen on validation events, says how much. Training does not read it: in the loss the term would be learnt away.

An inner product of vectors with one more coordinate, 1 in queries and γ · log(c_i + ½) in items, is that score, so
indexes need not know of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from reccore import ComponentConfig, DataError, ItemTable
from reccore.arrays import FloatArray

UNSEEN = 0.5
"""Added to the events of an item, so that one without any has a finite logarithm."""


class PopularityPriorConfig(ComponentConfig):
    """Options of ``PopularityPrior``.

    Attributes:
        strengths: values of γ to choose from at each validation.
        default: γ of a training without validation.
    """

    strengths: tuple[NonNegativeFloat, ...] = Field(
        default=(0.0, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2), min_length=1
    )
    default: float = Field(default=0.02, ge=0)


class PopularityPrior(nn.Module):
    """The last coordinate of queries and items; γ is a buffer, saved with the weights that it was chosen for.

    Args:
        items: their table, with the statistic ``count`` of the fit split.
        config: what γ may be.

    Raises:
        DataError: the table has no ``count``.
    """

    logarithm: Tensor
    strength: Tensor

    def __init__(self, items: ItemTable, config: PopularityPriorConfig) -> None:
        super().__init__()
        self.strengths: Sequence[float] = config.strengths
        if "count" not in items.statistics:
            raise DataError(
                "popularity_prior needs the events of each item, and the item table has no statistic count; take the "
                "table from Prepared.training_data, or leave popularity_prior out"
            )
        counts = items.statistics["count"].astype(np.float64)
        self.register_buffer(
            "logarithm", torch.from_numpy(np.log(counts + UNSEEN).astype(np.float32)), persistent=False
        )
        self.register_buffer("strength", torch.tensor(config.default))

    def of_items(self, vectors: Tensor) -> Tensor:
        """(N, D+1) from the unit vectors (N, D) of all items."""
        return torch.cat([vectors, (self.strength * self.logarithm)[:, None]], dim=1)

    def of_queries(self, vectors: FloatArray) -> FloatArray:
        """(…, D+1) from (…, D); a zero vector, which asks for nothing, stays one."""
        extended: FloatArray = np.concatenate([vectors, vectors.any(axis=-1, keepdims=True)], axis=-1, dtype=np.float32)
        return extended

    def added(self, strength: float) -> FloatArray:
        """(N,) ``strength`` · log(c_i + ½)."""
        prior: FloatArray = (strength * self.logarithm).cpu().numpy()
        return prior
