"""What a network of ranking takes: named, typed fields, and the blocks of tensors that hold their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from reccore import ArtefactError

Side = Literal["query", "item", "pair"]
Kind = Literal["category", "bag", "vector", "labels", "sequence", "number"]
Part = Literal["category", "bag", "labels", "number"]
PARTS: dict[Kind, Part] = {
    "category": "category",
    "bag": "bag",
    "vector": "bag",
    "labels": "labels",
    "sequence": "labels",
    "number": "number",
}
"""Kind → which part of a block holds its values."""
LISTS: tuple[Kind, ...] = ("labels", "sequence")
TABLES: tuple[Kind, ...] = ("category", "bag", "vector", "labels", "sequence")
"""Kinds that are embedded by a table with a row for each code, value or component."""


@dataclass(frozen=True)
class FeatureField:
    """One input of a network.

    Attributes:
        name: unique name, such as ``item.year`` or ``recall.itemcf.log_rank``.
        side: what it describes: the query, the item, or the pair of both.
        kind: ``category`` (a code, 0 = unknown), ``bag`` (weights over ``size`` values, few enough to write them all
            out), ``vector`` (``size`` numbers), ``labels`` (a few codes out of many, the most important first, 0 =
            none), ``sequence`` (codes of the latest events, the last one first, 0 = none) or ``number``.
        feature: the declaration that computes it.
        member: which member of a family; "" where the declaration is no family.
        size: number of codes or values; 1 for a number.
        bucket_of: the number whose quantile this category holds; "" for every other field.
        embedding_size: size of the vectors of its table; 0 = that of the network.
        shared_with: the field whose table it reads, and whose codes it holds; "" = a table of its own.
        pooling: how vectors of ``labels`` and ``sequence`` become one: ``mean``, ``sum`` or ``decayed``. "" = the mean,
            and for trees a column of 0 and 1 for each label.
        half_life: of ``decayed``, in places.
        length: codes of ``labels`` and ``sequence`` that are read; 0 = all.
    """

    name: str
    side: Side
    kind: Kind
    feature: str
    member: str = ""
    size: int = 1
    bucket_of: str = ""
    embedding_size: int = 0
    shared_with: str = ""
    pooling: str = ""
    half_life: float = 0.0
    length: int = 0

    @property
    def part(self) -> Part:
        """Which part of a block holds its values."""
        return PARTS[self.kind]


@dataclass(frozen=True)
class Schema:
    """The fields of a ranker in order; a field's column is found by its name."""

    fields: tuple[FeatureField, ...]

    def of(self, side: Side, part: Part) -> tuple[FeatureField, ...]:
        """Fields of one part of a block, in the order of its columns."""
        return tuple(field for field in self.fields if field.side == side and field.part == part)

    def first_order(self) -> Schema:
        """The same fields as a linear part has them: all of one size, with a weight of its own for every code."""
        return Schema(tuple(replace(field, embedding_size=0, shared_with="") for field in self.fields))

    @cached_property
    def _columns(self) -> dict[str, int]:
        blocks: dict[tuple[str, str], int] = {}
        columns = {}
        for field in self.fields:
            columns[field.name] = blocks.setdefault((field.side, field.part), 0)
            blocks[field.side, field.part] += 1
        return columns

    def column(self, name: str) -> int:
        """Column of a field within its part of its side's block.

        Raises:
            KeyError: no such field.
        """
        return self._columns[name]

    def field(self, name: str) -> FeatureField:
        """The field of this name.

        Raises:
            KeyError: no such field.
        """
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, FeatureField]:
        return {field.name: field for field in self.fields}

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values for a manifest."""
        return [asdict(field) for field in self.fields]

    @classmethod
    def from_json(cls, values: Sequence[dict[str, Any]]) -> Schema:
        """Inverse of ``to_json``.

        Raises:
            ArtefactError: not a list of fields.
        """
        try:
            return cls(tuple(FeatureField(**value) for value in values))
        except TypeError as error:
            raise ArtefactError(f"the manifest's schema is not a list of fields: {error}") from error


@dataclass(frozen=True, eq=False)
class FeatureBlock:
    """Values of the fields of one side, R rows.

    Attributes:
        categories: (R, C) int64 codes, 0 = unknown.
        bags: one (R, size) float32 per bag or vector; a row of shares sums to 1, or to 0 where empty.
        labels: one (R, P) int64 per list or sequence, each row's codes first and then 0; a sequence has 0 for unknown
            codes too.
        numbers: (R, M) float32, standardised; 0 where missing.
    """

    categories: Tensor
    bags: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    numbers: Tensor

    def of_parts(self, change: Callable[[Tensor], Tensor]) -> FeatureBlock:
        """The same block with every tensor changed alike."""
        return FeatureBlock(
            change(self.categories),
            tuple(change(bag) for bag in self.bags),
            tuple(change(codes) for codes in self.labels),
            change(self.numbers),
        )

    def rows(self, at: Tensor) -> FeatureBlock:
        """The given rows."""
        return self.of_parts(lambda part: part[at])

    def to(self, device: torch.device) -> FeatureBlock:
        return self.of_parts(lambda part: part.to(device))

    @classmethod
    def concatenate(cls, blocks: Sequence[FeatureBlock]) -> FeatureBlock:
        """Rows of several blocks of the same fields, one after the other."""
        if len(blocks) == 1:
            return blocks[0]
        return cls(
            torch.cat([block.categories for block in blocks]),
            tuple(torch.cat(bags) for bags in zip(*(block.bags for block in blocks), strict=True)),
            tuple(_under_each_other(codes) for codes in zip(*(block.labels for block in blocks), strict=True)),
            torch.cat([block.numbers for block in blocks]),
        )

    def with_empty_row(self) -> FeatureBlock:
        """The same rows behind a first one of zeros."""
        return self.of_parts(lambda part: torch.cat([part.new_zeros(1, part.shape[1]), part]))


@dataclass(frozen=True, eq=False)
class RankingInputs:
    """B queries with K candidates each, as a network takes them.

    Attributes:
        query: values of the query side, B rows.
        item_row: (B, K) int64 rows of the item block; 0 = padding.
        pair: (B, K, P) float32 numbers of the pair side, standardised; 0 where missing or padded.
        history: (B, T) int64 rows of the item block, oldest first; 0 = padding, on the right.
    """

    query: FeatureBlock
    item_row: Tensor
    pair: Tensor
    history: Tensor

    def __len__(self) -> int:
        return len(self.item_row)

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        block = self.query
        parts = (block.categories, *block.bags, *block.labels, block.numbers, self.item_row, self.pair, self.history)
        return sum(part.nbytes for part in parts)

    def take(self, rows: Tensor, columns: Tensor | None = None) -> RankingInputs:
        """The given queries (b,); of each only the given columns (b, k), if any are given."""
        if columns is None:
            return RankingInputs(self.query.rows(rows), self.item_row[rows], self.pair[rows], self.history[rows])
        at = (rows[:, None], columns)
        return RankingInputs(self.query.rows(rows), self.item_row[at], self.pair[at], self.history[rows])

    def to(self, device: torch.device) -> RankingInputs:
        return RankingInputs(
            self.query.to(device), self.item_row.to(device), self.pair.to(device), self.history.to(device)
        )

    def shifted(self, n_rows: int) -> RankingInputs:
        """The same inputs for a part of the item block that starts ``n_rows`` later; padding stays row 0."""
        item_row, history = (torch.where(rows > 0, rows + n_rows, 0) for rows in (self.item_row, self.history))
        return RankingInputs(self.query, item_row, self.pair, history)

    @classmethod
    def joined(cls, parts: Sequence[RankingInputs], places: Sequence[Tensor]) -> RankingInputs:
        """The queries of several parts, put at the given places (b,) of each, which are 0 … B−1 in all."""
        at = torch.argsort(torch.cat([*places]))

        def placed(values: Sequence[Tensor]) -> Tensor:
            found = values[0].new_empty((len(at), *values[0].shape[1:]))
            for part, place in zip(values, places, strict=True):
                found[place] = part
            return found

        return cls(
            FeatureBlock.concatenate([part.query for part in parts]).rows(at),
            placed([part.item_row for part in parts]),
            placed([part.pair for part in parts]),
            placed([part.history for part in parts]),
        )


def _under_each_other(codes: Sequence[Tensor]) -> Tensor:
    """Rows of lists (R, P), of which the shorter ones are filled up with 0."""
    width = max(part.shape[1] for part in codes)
    return torch.cat([nn.functional.pad(part, (0, width - part.shape[1])) for part in codes])
