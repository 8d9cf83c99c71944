"""Embeddings of typed fields; with vectors of size 1 they are first-order weights."""

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

    Args:
        schema: of the encoder.
        side: whose fields.
        size: d.
        std: of the initial vectors.
    """

    offsets: Tensor

    def __init__(self, schema: Schema, side: Side, size: int, std: float = INIT_STD) -> None:
        super().__init__()
        categories, bags, labels, numbers = (schema.of(side, kind) for kind in get_args(Kind))
        sizes = torch.tensor([field.size for field in categories], dtype=torch.int64)
        offsets = torch.cumsum(sizes, 0) - sizes
        self.register_buffer("offsets", offsets, persistent=False)
        self.names = [field.name for field in (*categories, *bags, *labels, *numbers)]
        self.codes = nn.Parameter(torch.randn(int(sizes.sum()), size) * std)
        self.bags = nn.ParameterList([nn.Parameter(torch.randn(bag.size, size) * std) for bag in bags])
        self.labels = nn.ParameterList([nn.Parameter(torch.randn(field.size, size) * std) for field in labels])
        self.numbers = nn.Parameter(torch.randn(len(numbers), size) * std)
        with torch.no_grad():
            self.codes[offsets] = 0.0

    @property
    def n_fields(self) -> int:
        return len(self.names)

    @property
    def tables(self) -> list[nn.Parameter]:
        """The parameters with one row per code: all but the vectors of numbers."""
        return [self.codes, *self.bags, *self.labels]

    @classmethod
    def side_by_side(cls, schema: Schema, side: Side, *parts: FieldEmbedding) -> FieldEmbedding:
        """One embedding whose vectors are those of the parts, of the same fields, one after the other."""
        with torch.random.fork_rng(devices=[]):  # what it draws is overwritten
            joined = cls(schema, side, sum(part.numbers.shape[1] for part in parts))
        with torch.no_grad():
            for own, *given in zip(joined.parameters(), *(part.parameters() for part in parts), strict=True):
                own.copy_(torch.cat(given, dim=1))
        return joined.requires_grad_(False)

    def forward(self, block: FeatureBlock) -> Tensor:
        """Block of R rows to (R, F, d); fields in the order of ``names``."""
        parts = [nn.functional.embedding(block.categories + self.offsets, self.codes)]  # (R, C, d)
        parts += [(bag @ table)[:, None] for bag, table in zip(block.bags, self.bags, strict=True)]  # (R, 1, d)
        parts += [
            _mean_rows(codes, table)[:, None] for codes, table in zip(block.labels, self.labels, strict=True)
        ]  # (R, 1, d)
        parts.append(block.numbers[:, :, None] * self.numbers)  # (R, M, d)
        return torch.cat(parts, dim=1)


def _mean_rows(codes: Tensor, table: Tensor) -> Tensor:
    """(R, d) mean of the rows of ``table`` that (R, P) codes name, 0 = none; 0 without any."""
    return nn.functional.embedding_bag(codes, table, mode="mean", padding_idx=0)


def number_vectors(n_fields: int, size: int) -> nn.Parameter:
    """Initial vectors (P, d) of the numbers of the pair side, which are embedded as value × vector."""
    return nn.Parameter(torch.randn(n_fields, size) * INIT_STD)
