"""Embeddings and first-order weights of typed fields."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from ranking.features.schema import FeatureBlock, Kind, Schema, Side

INIT_STD = 0.01
"""Small, so that a network starts close to its linear part."""


class FieldEmbedding(nn.Module):
    """Embeds the F fields of a side: codes by lookup, bags by weighted sum, labels by mean, numbers as value × vector.

    Code 0 (unknown) starts at the zero vector: an untrained unknown adds nothing.
    """

    offsets: Tensor

    def __init__(self, schema: Schema, side: Side, size: int) -> None:
        super().__init__()
        categories, bags, labels, numbers = (schema.of(side, kind) for kind in get_args(Kind))
        sizes = torch.tensor([field.size for field in categories], dtype=torch.int64)
        offsets = torch.cumsum(sizes, 0) - sizes
        self.register_buffer("offsets", offsets, persistent=False)
        self.names = [field.name for field in (*categories, *bags, *labels, *numbers)]
        self.codes = nn.Parameter(torch.randn(int(sizes.sum()), size) * INIT_STD)
        self.bags = nn.ParameterList([nn.Parameter(torch.randn(bag.size, size) * INIT_STD) for bag in bags])
        self.labels = nn.ParameterList([nn.Parameter(torch.randn(f.size, size) * INIT_STD) for f in labels])
        self.numbers = nn.Parameter(torch.randn(len(numbers), size) * INIT_STD)
        self.code_weights = nn.Parameter(torch.zeros(int(sizes.sum()), 1))
        self.bag_weights = nn.ParameterList([nn.Parameter(torch.zeros(bag.size)) for bag in bags])
        self.label_weights = nn.ParameterList([nn.Parameter(torch.zeros(field.size, 1)) for field in labels])
        self.number_weights = nn.Parameter(torch.zeros(len(numbers)))
        with torch.no_grad():
            self.codes[offsets] = 0.0

    @property
    def n_fields(self) -> int:
        return len(self.names)

    def forward(self, block: FeatureBlock) -> Tensor:
        """Block of R rows to (R, F, d); fields in the order of ``names``."""
        parts = [nn.functional.embedding(block.categories + self.offsets, self.codes)]  # (R, C, d)
        parts += [(bag @ table)[:, None] for bag, table in zip(block.bags, self.bags, strict=True)]  # (R, 1, d)
        parts += [
            _mean_rows(codes, table)[:, None] for codes, table in zip(block.labels, self.labels, strict=True)
        ]  # (R, 1, d)
        parts.append(block.numbers[:, :, None] * self.numbers)  # (R, M, d)
        return torch.cat(parts, dim=1)

    def linear(self, block: FeatureBlock) -> Tensor:
        """First-order term of R rows, (R,)."""
        total = nn.functional.embedding(block.categories + self.offsets, self.code_weights).sum(dim=(1, 2))  # (R,)
        for bag, weights in zip(block.bags, self.bag_weights, strict=True):
            total = total + bag @ weights
        for codes, weights in zip(block.labels, self.label_weights, strict=True):
            total = total + _mean_rows(codes, weights).squeeze(1)
        return total + block.numbers @ self.number_weights


def _mean_rows(codes: Tensor, table: Tensor) -> Tensor:
    """(R, d) mean of the rows of ``table`` that (R, P) codes name, 0 = none; 0 without any."""
    return nn.functional.embedding_bag(codes, table, mode="mean", padding_idx=0)


class NumberEmbedding(nn.Module):
    """Vectors (P, d) and first-order weights (P,) of the numbers of the pair side."""

    def __init__(self, n_fields: int, size: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(n_fields, size) * INIT_STD)
        self.weights = nn.Parameter(torch.zeros(n_fields))

    def linear(self, values: Tensor) -> Tensor:
        """First-order term, (…, P) to (…)."""
        return values @ self.weights
