"""Embedding tables that tell their optimiser which rows are about to be read."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class EmbeddingTable(nn.Embedding):
    """An embedding table of which a training step reads a few rows out of many.

    An optimiser may leave rows behind that get no gradient and bring them up to date when they are next read
    (:class:`training.kernels.deferred_adamw.DeferredAdamW` on a CPU). Whoever reads ``weight`` itself while such an
    optimiser is at work asks for it by ``synced_weight``, or calls the optimiser's ``flush`` before.
    """

    _catch_up: weakref.WeakMethod[Callable[[EmbeddingTable, Tensor], None]] | None = None

    def register_sync(self, catch_up: Callable[[EmbeddingTable, Tensor], None]) -> None:
        """Have the bound method ``catch_up(table, rows)`` called before rows are read, while its owner lives."""
        self._catch_up = weakref.WeakMethod(catch_up)

    @property
    def sparse_gradients(self) -> bool:
        """Whether gradients come as rows rather than as a whole table."""
        return self._catch_up is not None and self._catch_up() is not None

    def synced_weight(self, rows: Tensor) -> Tensor:
        """The weight (N, D), the given rows of it up to date; rows may repeat, and those below 0 are no rows."""
        catch_up = None if self._catch_up is None else self._catch_up()
        if catch_up is not None:
            catch_up(self, rows)
        return self.weight

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors (..., D) of rows (...)."""
        return F.embedding(rows, self.synced_weight(rows), sparse=self.sparse_gradients)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_catch_up"}


def row_gradient(shape: torch.Size, rows: Tensor, values: Tensor) -> Tensor:
    """The gradient (N, D) of a table as its distinct, ascending rows (R,) with values (R, D)."""
    return torch.sparse_coo_tensor(rows[None], values, shape, is_coalesced=True, check_invariants=False)
