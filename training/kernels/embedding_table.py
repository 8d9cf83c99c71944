"""Embedding tables that sync with their optimiser the rows that are about to be read."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reccore.arrays import BoolArray


class EmbeddingTable(nn.Embedding):
    """``nn.Embedding`` of which a training step reads few rows out of many.

    An optimiser may defer rows without a gradient and update them when they are next read
    (:class:`training.kernels.deferred_adamw.DeferredAdamW` on a CPU). During such a training read ``weight`` through
    ``synced_weight``, or call the optimiser's ``flush`` first.
    """

    _catch_up: weakref.WeakMethod[Callable[[EmbeddingTable, Tensor], None]] | None = None

    def register_sync(self, catch_up: Callable[[EmbeddingTable, Tensor], None]) -> None:
        """Call the bound method ``catch_up(table, rows)`` before rows are read, as long as its owner exists."""
        self._catch_up = weakref.WeakMethod(catch_up)

    @property
    def sparse_gradients(self) -> bool:
        """Whether gradients are sparse: rows instead of a whole table."""
        return self._catch_up is not None and self._catch_up() is not None

    def synced_weight(self, rows: Tensor) -> Tensor:
        """The weight (N, D) with the given rows up to date; rows may repeat, and those below 0 are ignored."""
        catch_up = None if self._catch_up is None else self._catch_up()
        if catch_up is not None:
            catch_up(self, rows)
        return self.weight

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors (..., D) of rows (...)."""
        return F.embedding(rows, self.synced_weight(rows), sparse=self.sparse_gradients)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_catch_up"}


@torch.no_grad()
def share_last_row(rows: Tensor, seen: BoolArray) -> None:
    """Overwrite the rows of (N+1, D) that were not ``seen`` (N,) with the last one, that of the unknown."""
    rows[:-1][torch.from_numpy(~seen)] = rows[-1]


def row_gradient(shape: torch.Size, rows: Tensor, values: Tensor) -> Tensor:
    """The gradient (N, D) of a table as its distinct, ascending rows (R,) with values (R, D)."""
    return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=True, check_invariants=False)
