"""Embeddings of typed fields; with vectors of size 1 they are first-order weights."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from ranking.features.schema import FeatureBlock, FeatureField, Part, Schema, Side
from ranking.layers.tables import Table

INIT_STD = 0.01
"""Small, so that a network starts close to its linear part."""


class FieldEmbedding(nn.Module):
    """Embeds the F fields of a side, all by vectors of one size.

    Codes are looked up; bags are weighted sums, vectors linear maps, lists and sequences pools of their codes, numbers
    value × vector. Code 0 (unknown) starts at the zero vector: an untrained unknown adds nothing.

    A field with an embedding size s of its own has a table of s columns and a projection (s, d), so that models that
    multiply vectors, as FM does, have them all of one size (Ginart et al.: Mixed Dimension Embeddings with Application
    to Memory-Efficient Recommendation Systems, ISIT 2021). A field that shares a table has none; see ``borrow``.

    Args:
        schema: of the encoder.
        side: whose fields.
        size: d.
        std: of the initial vectors.
    """

    offsets: Tensor

    def __init__(self, schema: Schema, side: Side, size: int, std: float = INIT_STD) -> None:
        super().__init__()
        self._fields = {part: schema.of(side, part) for part in get_args(Part)}
        self.names = [field.name for fields in self._fields.values() for field in fields]
        self._plain = {
            part: [at for at, field in enumerate(fields) if not _is_apart(field, size)]
            for part, fields in self._fields.items()
        }
        categories, bags, labels, numbers = (
            [self._fields[part][at] for at in self._plain[part]] for part in self._plain
        )
        sizes = torch.tensor([field.size for field in categories], dtype=torch.int64)
        offsets = torch.cumsum(sizes, 0) - sizes
        self.register_buffer("offsets", offsets, persistent=False)
        self._first_codes: list[int] = offsets.tolist()  # the same without a wait for the device
        self.codes = nn.Parameter(torch.randn(int(sizes.sum()), size) * std)
        self.bags = nn.ParameterList([nn.Parameter(torch.randn(bag.size, size) * std) for bag in bags])
        self.labels = nn.ParameterList([nn.Parameter(torch.randn(field.size, size) * std) for field in labels])
        self.numbers = nn.Parameter(torch.randn(len(numbers), size) * std)
        with torch.no_grad():
            self.codes[offsets] = 0.0
        self._add_tables_of_other_sizes(size, std)
        self._borrowed: dict[str, tuple[FieldEmbedding, str]] = {}  # no submodules: they belong to the lenders

    def _add_tables_of_other_sizes(self, size: int, std: float) -> None:
        """Tables of the fields with vectors of another size, and the places of all fields apart."""
        everything = [(part, at, field) for part, fields in self._fields.items() for at, field in enumerate(fields)]
        self._apart = [each for each in everything if _is_apart(each[2], size)]
        own = [field for _, _, field in self._apart if not field.shared_with]
        self._own = {field.name: number for number, field in enumerate(own)}
        self.own_rows = nn.ParameterList([nn.Parameter(torch.randn(f.size, f.embedding_size) * std) for f in own])
        self.projections = nn.ParameterList(
            [nn.Parameter(torch.randn(f.embedding_size, size) / f.embedding_size**0.5) for f in own]
        )
        with torch.no_grad():
            for field, rows in zip(own, self.own_rows, strict=True):
                if field.part == "category":
                    rows[0] = 0.0
        apart = {field.name for _, _, field in self._apart}
        written = [name for name in self.names if name not in apart] + [field.name for _, _, field in self._apart]
        self._order = [written.index(name) for name in self.names] if apart else []

    def borrow(self, lenders: tuple[FieldEmbedding, ...]) -> None:
        """Find the tables that fields share, among the embeddings of all sides.

        A table has one parameter, whose gradient is the sum over the fields that read it.
        """
        for _, _, field in self._apart:
            if field.shared_with:
                (lender,) = (each for each in lenders if field.shared_with in each.names)
                self._borrowed[field.name] = (lender, field.shared_with)

    @property
    def n_fields(self) -> int:
        return len(self.names)

    @property
    def lists(self) -> tuple[FeatureField, ...]:
        """Its lists and sequences."""
        return self._fields["labels"]

    @property
    def tables(self) -> list[nn.Parameter]:
        """The parameters with one row per code: all but the vectors of numbers and the projections."""
        return [self.codes, *self.bags, *self.labels, *self.own_rows]

    def table(self, name: str) -> Table:
        """The table of a field that is no number."""
        if name in self._borrowed:
            lender, shared = self._borrowed[name]
            return lender.table(shared)
        if name in self._own:
            number = self._own[name]
            return Table(self.own_rows[number], 0, len(self.own_rows[number]), self.projections[number])
        part, place = self._place(name)
        if part == "category":
            return Table(self.codes, self._first_codes[place], self._fields[part][self._plain[part][place]].size)
        weight = (self.bags if part == "bag" else self.labels)[place]
        return Table(weight, 0, len(weight))

    def _place(self, name: str) -> tuple[Part, int]:
        """Part of a field that is not apart, and its place among those of that part."""
        return next(
            (part, place)
            for part, plain in self._plain.items()
            for place, at in enumerate(plain)
            if self._fields[part][at].name == name
        )

    @classmethod
    def side_by_side(cls, schema: Schema, side: Side, *parts: FieldEmbedding) -> FieldEmbedding:
        """One embedding whose vectors are those of the parts, of the same fields, one after the other.

        It has all tables itself, projected: with weights that do not change that is the same.
        """
        with torch.random.fork_rng(devices=[]):  # what it draws is overwritten
            joined = cls(schema.first_order(), side, sum(part.numbers.shape[1] for part in parts))
        with torch.no_grad():
            own_tables = (joined.codes, *joined.bags, *joined.labels, joined.numbers)
            for own, *given in zip(own_tables, *(part.written_out() for part in parts), strict=True):
                own.copy_(torch.cat(given, dim=1))
        return joined.requires_grad_(False)

    def written_out(self) -> list[Tensor]:
        """What codes, bags, labels and numbers of this embedding would be if no field were apart."""
        codes, bags, labels = (
            [self.table(field.name).written_out() for field in self._fields[part]]
            for part in ("category", "bag", "labels")
        )
        return [torch.cat(codes) if codes else self.codes, *bags, *labels, self.numbers]

    def forward(self, block: FeatureBlock) -> Tensor:
        """Block of R rows to (R, F, d); fields in the order of ``names``."""
        if not self._apart:
            return torch.cat(self._parts(block), dim=1)
        plain = FeatureBlock(
            block.categories[:, self._plain["category"]],
            tuple(block.bags[at] for at in self._plain["bag"]),
            tuple(block.labels[at] for at in self._plain["labels"]),
            block.numbers,
        )
        apart = [self._vectors(part, at, field, block)[:, None] for part, at, field in self._apart]
        return torch.cat([*self._parts(plain), *apart], dim=1)[:, self._order]

    def _parts(self, block: FeatureBlock) -> list[Tensor]:
        """Vectors of the fields that are not apart, of which the block consists."""
        lists = [self._fields["labels"][at] for at in self._plain["labels"]]
        parts = [nn.functional.embedding(block.categories + self.offsets, self.codes)]  # (R, C, d)
        parts += [(bag @ table)[:, None] for bag, table in zip(block.bags, self.bags, strict=True)]  # (R, 1, d)
        parts += [
            Table(table, 0, len(table)).of_lists(codes, field)[:, None]
            for codes, table, field in zip(block.labels, self.labels, lists, strict=True)
        ]  # (R, 1, d)
        parts.append(block.numbers[:, :, None] * self.numbers)  # (R, M, d)
        return parts

    def _vectors(self, part: Part, at: int, field: FeatureField, block: FeatureBlock) -> Tensor:
        """(R, d) of one field apart."""
        table = self.table(field.name)
        if part == "category":
            return table.of_codes(block.categories[:, at])
        if part == "bag":
            return table.of_weights(block.bags[at])
        return table.of_lists(block.labels[at], field)


def _is_apart(field: FeatureField, size: int) -> bool:
    """Whether a field is not embedded by a table of its own with vectors of ``size``."""
    return bool(field.shared_with) or field.embedding_size not in (0, size)


def number_vectors(n_fields: int, size: int) -> nn.Parameter:
    """Initial vectors (P, d) of the numbers of the pair side, which are embedded as value × vector."""
    return nn.Parameter(torch.randn(n_fields, size) * INIT_STD)
