"""What own columns say of users: labels, numbers and vectors, looked up by user and summed."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from recall.neural.item_content import ItemContent
from recall.neural.item_encoder import embedding, mean_rows
from reccore import ItemTable, UserTable


class UserContent(nn.Module):
    """User indices → (B, D), the sum of an embedding per column; the columns themselves are buffers.

    As of items: numbers become quantile buckets with one more for missing values, labels the mean of their embeddings,
    vectors a linear map. An unknown user has missing values.

    Args:
        users: with at least one own column.
        size: D.
    """

    codes: Tensor
    vectors: Tensor

    def __init__(self, users: UserTable, size: int) -> None:
        super().__init__()
        self.n_users, self.size = users.n_users, size
        content = ItemContent.of(
            ItemTable(users.n_users, labels=users.labels, numbers=users.numbers, vectors=users.vectors)
        )
        self.register_buffer("codes", _with_unknown(content.codes, 0), persistent=False)
        self.register_buffer("vectors", _with_unknown(content.vectors, 0), persistent=False)
        self._labels = [f"labels{number}" for number in range(len(content.labels))]
        for name, labels in zip(self._labels, content.labels, strict=True):
            self.register_buffer(name, _with_unknown(labels, -1), persistent=False)
        self.code_tables = nn.ModuleList(embedding(n, size) for n in content.sizes)
        self.label_tables = nn.ParameterList(embedding(n, size).weight for n in content.label_sizes)
        self.linear = nn.Linear(content.vectors.shape[1], size, bias=False) if content.vectors.shape[1] else None

    @classmethod
    def of(cls, users: UserTable, size: int) -> Self | None:
        """None without own columns."""
        return cls(users, size) if users.own else None

    def forward(self, user: Tensor) -> Tensor:
        """(B, D) of the users (B,), -1 = unknown."""
        row = torch.where(user < 0, self.n_users, user)
        x = torch.zeros(len(row), self.size, device=row.device)
        for column, table in enumerate(self.code_tables):
            x = x + table(self.codes[row, column])
        for name, table in zip(self._labels, self.label_tables, strict=True):
            x = x + mean_rows(table, getattr(self, name)[row])
        return x if self.linear is None else x + self.linear(self.vectors[row])


def _with_unknown(rows: Tensor, missing: int) -> Tensor:
    """The rows (U, C) with one more, of missing values, for unknown users."""
    return torch.cat([rows, torch.full((1, rows.shape[1]), missing, dtype=rows.dtype)])
