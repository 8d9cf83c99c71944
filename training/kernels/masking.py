"""Which columns of a sampled softmax are no negatives of an example."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PositiveItems:
    """Items that an example is never to be pushed away from: a slice of one array per example.

    Slices may overlap, so that all examples of a user share that user's items.

    Attributes:
        item_idx: (L,) int64 items, in any order, repeats allowed.
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
    """Coordinates of the columns hidden from each of B examples: a B×M comparison never exists.

    Takes M·log M once and time in the hits and own items of the rows asked for.

    Args:
        item_idx: (M,) which item each column is.
        target: (B,) column of each example's target, which is never hidden.
        accidental_hits: hide the other columns that are the target's item.
        own_items: further items to hide.
    """

    def __init__(
        self, item_idx: Tensor, target: Tensor, *, accidental_hits: bool, own_items: PositiveItems | None = None
    ) -> None:
        self.target = target
        self.n_columns = len(item_idx)
        self.order = torch.argsort(item_idx)  # the columns of one item stand together
        self.count = torch.bincount(item_idx, minlength=1)  # (largest item + 1,)
        self.first = self.count.cumsum(0) - self.count
        self.target_item = item_idx[target] if accidental_hits else None
        self.own_items = own_items

    def of_rows(self, start: int, stop: int, width: int | None = None) -> Tensor:
        """Flat positions in the (stop − start, M) logits of the examples ``start … stop-1``; may repeat.

        ``width`` is the length of a row of logits that has more than M, after those of the columns.
        """
        rows, items = [], []
        if self.target_item is not None:
            rows.append(torch.arange(start, stop, device=self.target.device))
            items.append(self.target_item[start:stop])
        if self.own_items is not None:
            row, item = self.own_items.of_rows(start, stop)
            sampled = item < len(self.count)
            rows.append(row[sampled])
            items.append(item[sampled])
        row, item = torch.cat(rows), torch.cat(items)
        run, within = _ragged(self.count[item])
        row = row[run]
        column = self.order[self.first[item[run]] + within]
        other = column != self.target[row]
        return (row[other] - start) * (width or self.n_columns) + column[other]


def _ragged(length: Tensor) -> tuple[Tensor, Tensor]:
    """Row and place within it, of rows of the given lengths: 0 0 0 2 2 and 0 1 2 0 1 for 3, 0, 2."""
    row = torch.repeat_interleave(length)
    return row, torch.arange(len(row), device=row.device) - (length.cumsum(0) - length)[row]


def negative_mask(
    item_idx: Tensor, target: Tensor, *, accidental_hits: bool, own_items: PositiveItems | None = None
) -> NegativeMask | None:
    """``NegativeMask``, or None where nothing is to be hidden."""
    accidental_hits = accidental_hits and len(item_idx) > 0 and int(torch.bincount(item_idx).max()) > 1
    if not accidental_hits and own_items is None:
        return None
    return NegativeMask(item_idx, target, accidental_hits=accidental_hits, own_items=own_items)


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
