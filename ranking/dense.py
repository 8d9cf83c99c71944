"""The fields of a ranker as the named columns of one matrix, one row per candidate, as trees take them."""

from __future__ import annotations

from collections.abc import Collection
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from loguru import logger
from torch import Tensor

from ranking.features import FeatureBlock, FeatureEncoder, FeatureField, with_windows
from ranking.features.schema import Side
from ranking.layers import pooling_weights
from reccore import Candidates, ConfigError, QueryBatch, RankingSamples
from reccore.arrays import BoolArray, FloatArray, IntArray

IDS = ("user.id", "item.id", "history.id")
SIDES: tuple[Side, ...] = ("query", "item", "pair")


@dataclass(frozen=True)
class Column:
    """One column of the matrix.

    Attributes:
        name: of the field, with the code behind ``=`` where a bag or a list is written out: ``item.genres=3``.
        field: name of the field.
        categorical: holds codes, whose order means nothing.
    """

    name: str
    field: str
    categorical: bool


class DenseFeatures:
    """Writes queries and candidates as a matrix (rows, columns), float32.

    Columns are the numbers (standardised, NaN where missing), the codes of categories (0 = unknown), and one column for
    every value of a bag, a vector, a list or a sequence: its weight, its component, 1 for each label of a list, or its
    weight in the pool where a pooling is declared. Left out are the buckets of numbers, because trees cut numbers
    themselves, ids that are not named in full, and bags, vectors, lists and sequences of more than ``expand`` values.

    Args:
        encoder: fitted on the training samples.
        named: names of features as configured; ids are columns only if they are among them.
        expand: most values of a bag or a list.

    Raises:
        ConfigError: a bag or list that is named in full has more values than ``expand``; or no column is left.
    """

    def __init__(self, encoder: FeatureEncoder, named: Collection[str], expand: int) -> None:
        self.encoder = replace(encoder, missing_number=float("nan"))
        usable = [field for field in encoder.schema.fields if not field.bucket_of]
        usable = [field for field in usable if field.name not in IDS or field.name in named]
        wide = [field for field in usable if field.part in ("bag", "labels") and field.size > expand]
        for field in wide:
            if field.name in named:
                raise ConfigError(
                    f"{field.name} has {field.size:,} values, more than expand={expand}; raise expand or leave it out"
                )
        if wide:
            shown = ", ".join(f"{field.name} ({field.size:,} values)" for field in wide)
            logger.info("left out, because they have more than expand={} values: {}", expand, shown)
        self._fields = {side: [f for f in usable if f.side == side and f not in wide] for side in SIDES}
        self.columns = tuple(column for side in SIDES for field in self._fields[side] for column in _columns(field))
        if not self.columns:
            raise ConfigError("no feature is left that a matrix can hold; add one such as recall.* to features")

    def with_windows(self, samples: RankingSamples) -> DenseFeatures:
        """The same columns for training samples of several label windows, see ``ranking.features.with_windows``."""
        if not samples.earlier_items:
            return self
        again = copy(self)
        again.encoder = with_windows(self.encoder, samples)
        vars(again).pop("_items", None)  # those of the encoder before
        return again

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [column.name for column in self.columns]

    @property
    def categorical(self) -> list[int]:
        """Numbers of the columns that hold codes."""
        return [number for number, column in enumerate(self.columns) if column.categorical]

    def matrix(
        self, queries: QueryBatch, candidates: Candidates, chosen: BoolArray, window: IntArray | None = None
    ) -> FloatArray:
        """(n, C) values of the n chosen candidates, query by query.

        Args:
            queries: B queries; their histories hold known items only.
            candidates: (B, K); features within a query are computed from all of them.
            chosen: (B, K) which of them get a row.
            window: (B,) label window of each query, see ``FeatureEncoder.encode``.
        """
        inputs = self.encoder.encode(queries, candidates, window)
        row, column = (torch.from_numpy(at) for at in np.nonzero(chosen))
        parts = [
            self._side("query", inputs.query)[row],
            self._items[inputs.item_row[row, column]],
            inputs.pair[row, column],
        ]
        values: FloatArray = torch.cat(parts, dim=1).numpy()
        return values

    @cached_property
    def _items(self) -> Tensor:
        """(N+1, …) columns of the catalogue; row 0 stands for no item. Earlier label windows follow, if any."""
        return self._side("item", self.encoder.item_block)

    def _side(self, side: Side, block: FeatureBlock) -> Tensor:
        """(R, …) columns of the query or the item side."""
        rows = len(block.numbers)
        parts = [self._values(field, block).float() for field in self._fields[side]]
        return torch.cat(parts, dim=1) if parts else torch.zeros(rows, 0)

    def _values(self, field: FeatureField, block: FeatureBlock) -> Tensor:
        """(R, columns of the field)."""
        at = self.encoder.schema.column(field.name)
        if field.part == "bag":
            return block.bags[at]
        if field.part == "labels":
            codes = block.labels[at]
            if not field.pooling:
                return torch.zeros(len(codes), field.size).scatter_(1, codes, 1.0)[:, 1:]
            weights = pooling_weights(codes, field)
            return torch.zeros(len(codes), field.size).scatter_add_(1, codes, weights)[:, 1:]
        part = block.categories if field.kind == "category" else block.numbers
        return part[:, at : at + 1]


def _columns(field: FeatureField) -> list[Column]:
    """Columns of one field, in the order of ``DenseFeatures._values``."""
    if field.kind in ("category", "number"):
        return [Column(field.name, field.name, field.kind == "category")]
    first = 1 if field.part == "labels" else 0  # code 0 of a list is "none"
    return [Column(f"{field.name}={code}", field.name, False) for code in range(first, field.size)]
