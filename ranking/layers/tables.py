"""The table of one field, and how the vectors of several codes become one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ranking.features.schema import FeatureField


class Table(NamedTuple):
    """Where the vectors of a field's codes are: rows of a parameter, and the map from their size to the network's.

    Attributes:
        weight: parameter with a row for each code, which may hold those of other fields too.
        first: its row of code 0.
        rows: number of codes.
        projection: (s, d), or None where the rows have the size of the network.
    """

    weight: Tensor
    first: int
    rows: int
    projection: Tensor | None = None

    def of_codes(self, codes: Tensor) -> Tensor:
        """(R,) to (R, d)."""
        return self._mapped(nn.functional.embedding(codes + self.first, self.weight))

    def of_weights(self, weights: Tensor) -> Tensor:
        """(R, rows) weights or components of a vector to (R, d): Σ weight × row."""
        return self._mapped(weights @ self.weight)

    def of_lists(self, codes: Tensor, field: FeatureField) -> Tensor:
        """(R, P) codes of ``field``, 0 = none, to (R, d); 0 without any."""
        at, padding = codes + self.first, self.first
        if field.pooling in ("", "mean"):
            return self._mapped(nn.functional.embedding_bag(at, self.weight, mode="mean", padding_idx=padding))
        weights = pooling_weights(codes, field).to(self.weight.dtype)
        return self._mapped(
            nn.functional.embedding_bag(at, self.weight, mode="sum", padding_idx=padding, per_sample_weights=weights)
        )

    def written_out(self) -> Tensor:
        """(rows, d) the vectors of all codes."""
        return self._mapped(self.weight[self.first : self.first + self.rows])

    def _mapped(self, vectors: Tensor) -> Tensor:
        return vectors if self.projection is None else vectors @ self.projection


def pooling_weights(codes: Tensor, field: FeatureField) -> Tensor:
    """(R, P) float32 weight of each code of a list or sequence in the pool of its row; 0 where there is none."""
    known = (codes > 0).float()
    if field.pooling == "sum":
        return known
    if field.pooling == "decayed":
        known = known * 0.5 ** (torch.arange(codes.shape[1], device=codes.device) / field.half_life)
    total = known.sum(dim=1, keepdim=True)
    return known / torch.where(total > 0, total, 1.0)
