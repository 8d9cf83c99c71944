"""Second order of a factorisation machine (Rendle 2010) by the sum-square identity."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class FieldSums(NamedTuple):
    """Sum of field vectors and sum of their squares, both (…, d); the second order needs no more.

    Sums over disjoint sets of fields add up, so what belongs to the query is summed once per query and
    broadcast over its candidates; no (B, K, F, d) tensor is ever formed.
    """

    total: Tensor
    squares: Tensor

    @classmethod
    def of_fields(cls, vectors: Tensor) -> FieldSums:
        """From (…, F, d)."""
        return cls(vectors.sum(dim=-2), vectors.square().sum(dim=-2))

    @classmethod
    def of_numbers(cls, values: Tensor, vectors: Tensor) -> FieldSums:
        """From values (…, P) times vectors (P, d), without writing the products out."""
        return cls(values @ vectors, values.square() @ vectors.square())


def second_order(*parts: FieldSums) -> Tensor:
    """Σ_{i<j} ⟨v_i, v_j⟩ over the fields of all parts = ½ Σ_d [(Σ v)² − Σ v²]; (…, d) parts to (…)."""
    total, squares = parts[0]
    for part in parts[1:]:
        total, squares = total + part.total, squares + part.squares
    return 0.5 * (total.square() - squares).sum(dim=-1)
