"""Which columns of a sampled softmax are not negatives of an example: accidental hits, and items the user chose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numba import njit
from torch import Tensor

from reccore.compilation import announce_compilation
from training.kernels.parallel import parallel_for

announce_compilation()


@dataclass(frozen=True, eq=False)
class PositiveItems:
    """Items that are never negatives of an example: one slice of a shared array per example.

    Slices may overlap: all examples of a user point at that user's events.

    Attributes:
        item_idx: (L,) int64 or int32 items, in any order, repeats allowed; entries below 0 are ignored.
        start: (B,) int64; the items of example i are ``item_idx[start[i]:stop[i]]``.
        stop: (B,) int64.
    """

    item_idx: Tensor
    start: Tensor
    stop: Tensor

    def of_rows(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Example and item of every entry of the examples ``first … last-1``."""
        start, length = self.start[first:last], (self.stop - self.start)[first:last]
        row, within = _ragged(length)
        return first + row, self.item_idx[start[row] + within]


class NegativeMask:
    """The columns hidden from each of B examples, found by item: no B×M comparison is ever formed.

    Takes M·log M once; hiding takes time linear in the examples' positive items.

    Args:
        item_idx: (M,) item of each column.
        target: (B,) column of each example's target, which is never hidden.
        accidental_hits: hide the other columns that hold the target's item.
        positives: further items to hide.
    """

    def __init__(
        self, item_idx: Tensor, target: Tensor, *, accidental_hits: bool, positives: PositiveItems | None = None
    ) -> None:
        self.target = target
        self.n_columns = len(item_idx)
        self.order = torch.argsort(item_idx)  # columns of one item are adjacent
        self.count = torch.bincount(item_idx, minlength=1)  # (largest item + 1,)
        self.first = self.count.cumsum(0) - self.count
        self.target_item = item_idx[target] if accidental_hits else None
        self.positives = positives
        self.distinct = len(item_idx) > 0 and int(self.count.max()) == 1

    def hide(self, scores: Tensor, start: int) -> None:
        """Set the hidden columns of ``scores`` to −inf, in place.

        Args:
            scores: (R, ≥ M) of the examples ``start … start + R - 1``, contiguous; columns from M on are kept.
            start: first example.
        """
        if scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64):
            self._hide_compiled(scores, start)
        else:
            at = self.of_rows(start, start + len(scores), scores.shape[1])
            scores.view(-1).index_fill_(0, at, -torch.inf)

    def _hide_compiled(self, scores: Tensor, start: int) -> None:
        """A row of scores stays in the cache while its columns are hidden; coordinates are never written out."""
        none = torch.zeros(0, dtype=torch.int64)
        own = self.positives or PositiveItems(none, none, none)
        positives = [values.numpy() for values in (own.item_idx, own.start, own.stop)]
        arguments = scores.numpy(), start, self.target.numpy()
        if not self.distinct:
            target_item = none if self.target_item is None else self.target_item
            columns = [values.numpy() for values in (target_item, self.order, self.first, self.count)]
            parallel_for(_hide, *arguments, *columns, *positives)
        elif self.positives is not None:  # a column per item: no accidental hits, one short look-up per positive
            parallel_for(_hide_distinct, *arguments, self.column_of_item.numpy(), self.n_columns, *positives)

    @cached_property
    def column_of_item(self) -> Tensor:
        """(largest item + 2,) int32 column of each item, M = none; for distinct columns. The last entry is M."""
        columns = torch.full((len(self.count) + 1,), self.n_columns, dtype=torch.int32)
        present = self.count > 0
        columns[:-1][present] = self.order[self.first[present]].to(torch.int32)
        return columns

    def of_rows(self, start: int, stop: int, width: int | None = None) -> Tensor:
        """Flat positions of hidden columns in the (stop − start, width) scores of examples ``start … stop-1``.

        ``width`` is the length of a row of scores, M by default; positions may repeat.
        """
        rows, items = [], []
        if self.target_item is not None:
            rows.append(torch.arange(start, stop, device=self.target.device))
            items.append(self.target_item[start:stop])
        if self.positives is not None:
            row, item = self.positives.of_rows(start, stop)
            sampled = (item >= 0) & (item < len(self.count))
            rows.append(row[sampled])
            items.append(item[sampled])
        row, item = torch.cat(rows), torch.cat(items)
        run, within = _ragged(self.count[item])
        row = row[run]
        column = self.order[self.first[item[run]] + within]
        other = column != self.target[row]
        return (row[other] - start) * (width or self.n_columns) + column[other]


def negative_mask(
    item_idx: Tensor, target: Tensor, *, accidental_hits: bool, positives: PositiveItems | None = None
) -> NegativeMask | None:
    """``NegativeMask``, or None where no column can be hidden."""
    accidental_hits = accidental_hits and len(item_idx) > 0 and int(torch.bincount(item_idx).max()) > 1
    if not accidental_hits and positives is None:
        return None
    return NegativeMask(item_idx, target, accidental_hits=accidental_hits, positives=positives)


def all_but_hardest(logits: Tensor, target: Tensor, n: int) -> Tensor:
    """(B, M) columns that are neither an example's target nor among its ``n`` negatives of the greatest logits.

    Args:
        logits: (B, M).
        target: (B,) column of each example's target.
        n: at least 1; of equal logits any may be kept.
    """
    own = target[:, None]
    negatives = logits.detach().scatter(1, own, -torch.inf)
    kept = negatives.topk(min(n, logits.shape[1] - 1), dim=1, sorted=False).indices
    dropped = torch.ones_like(logits, dtype=torch.bool)
    return dropped.scatter_(1, kept, False).scatter_(1, own, False)


def _ragged(length: Tensor) -> tuple[Tensor, Tensor]:
    """Row and place within it, of rows of the given lengths: 0 0 0 2 2 and 0 1 2 0 1 for 3, 0, 2."""
    row = torch.repeat_interleave(length)
    return row, torch.arange(len(row), device=row.device) - (length.cumsum(0) - length)[row]


@njit(nogil=True, cache=True)
def _hide(
    scores: np.ndarray,
    first_example: int,
    target: np.ndarray,
    target_item: np.ndarray,
    order: np.ndarray,
    first: np.ndarray,
    count: np.ndarray,
    items: np.ndarray,
    item_start: np.ndarray,
    item_stop: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    """Each thread takes a run of rows. Empty ``target_item`` or ``item_start`` hide nothing."""
    n_rows = len(scores)
    for row in range(part * n_rows // n_parts, (part + 1) * n_rows // n_parts):
        example = first_example + row
        if len(target_item) > 0:
            item = target_item[example]
            for at in range(first[item], first[item] + count[item]):
                if order[at] != target[example]:
                    scores[row, order[at]] = -np.inf
        if len(item_start) == 0:
            continue
        for place in range(item_start[example], item_stop[example]):
            item = items[place]
            if item < 0 or item >= len(count):
                continue
            for at in range(first[item], first[item] + count[item]):
                if order[at] != target[example]:
                    scores[row, order[at]] = -np.inf


@njit(nogil=True, cache=True)
def _hide_distinct(
    scores: np.ndarray,
    first_example: int,
    target: np.ndarray,
    column_of_item: np.ndarray,
    n_columns: int,
    items: np.ndarray,
    item_start: np.ndarray,
    item_stop: np.ndarray,
    part: int,
    n_parts: int,
) -> None:
    """``_hide`` for distinct columns: a byte per column is set without branches, then the row is passed over once.

    Unsigned indices spare the check for negative ones and make it twice as fast; a negative item becomes a huge one.
    """
    n_rows, n_items = len(scores), np.uint64(len(column_of_item) - 1)
    hidden = np.zeros(n_columns + 1, dtype=np.uint8)  # the last is of items without a column
    for row in range(part * n_rows // n_parts, (part + 1) * n_rows // n_parts):
        example, own = first_example + row, scores[row]
        hidden[:] = 0
        for place in range(item_start[example], item_stop[example]):
            item = np.uint64(items[place])
            hidden[np.uint32(column_of_item[item if item < n_items else n_items])] = 1
        hidden[target[example]] = 0
        for column in range(n_columns):
            own[column] = -np.inf if hidden[column] else own[column]
