"""Lookup of rows by number."""

from __future__ import annotations

from torch import Tensor, nn


def lookup(table: Tensor, at: Tensor) -> Tensor:
    """Rows of (U, d) at (…), (…, d); its gradient is summed without sorting, unlike that of ``table[at]``."""
    return nn.functional.embedding(at, table)
