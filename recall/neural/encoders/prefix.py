"""Encoders that read the history before an event as one row: their inputs, examples, userId and facts of the user."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dataprep.features import PrefixFeatures, prefix_features
from recall.neural.encoders.base import QueryEncoder, distinct_items
from recall.neural.item_encoder import large_embedding
from recall.neural.user_codes import UserCodes
from recall.neural.user_content import UserContent
from reccore import Interactions, ItemTable, QueryBatch
from reccore.arrays import BoolArray, IntArray
from training.kernels.embedding_table import share_last_row
from training.kernels.masking import PositiveItems
from training.ranks import uniform


@dataclass(frozen=True, eq=False)
class PrefixInputs:
    """A batch of queries, one row each.

    Attributes:
        history: (B, T) int64 item indices, oldest first, -1 = padding on the right.
        lengths: (B,) int64.
        user: (B,) int64, -1 = unknown.
        codes: (B, C) int64.
        top_genres: (B, 3) int64, -1 = none.
    """

    history: Tensor
    lengths: Tensor
    user: Tensor
    codes: Tensor
    top_genres: Tensor

    def to(self, device: torch.device) -> PrefixInputs:
        return PrefixInputs(*(part.to(device) for part in vars(self).values()))

    def positives(self) -> PositiveItems:
        start = torch.arange(len(self.history), device=self.history.device) * self.history.shape[1]
        return PositiveItems(self.history.flatten(), start, start + self.lengths)


class PrefixEncoder(QueryEncoder):
    """The history as item ids, the userId, and what is known of the user.

    Subclasses create ``code_tables``, one embedding for each column of codes, and ``user_content``, and implement
    ``forward``. The configuration has ``history_length``, ``history_dropout`` and ``user_dropout``; where that is 1 no
    user has a row of their own, which would stay as random as it was drawn.
    """

    reads_vectors: ClassVar[bool] = False
    queries_per_chunk: ClassVar[int] = 1024
    code_tables: nn.ModuleList
    user_content: UserContent | None

    def __init__(self, config: Any, codes: UserCodes, items: ItemTable, size: int) -> None:
        super().__init__()
        self.config, self.codes, self.items = config, codes, items
        self.n_users = codes.users.n_users
        self.n_rows = 0 if config.user_dropout == 1 else self.n_users
        self.users = large_embedding(self.n_rows + 1, size)  # row n_rows: unknown

    def inputs(self, queries: QueryBatch) -> PrefixInputs:
        return _inputs(*self.columns(queries))

    def columns(self, queries: QueryBatch) -> tuple[IntArray, ...]:
        """The fields of ``PrefixInputs`` as arrays."""
        history = queries.padded(self.config.history_length)
        codes, top_genres = self.codes.of_queries(queries, self.items)
        user = np.where(queries.user_idx < self.n_users, queries.user_idx, -1)
        return history.item_idx, history.lengths, user, codes, top_genres

    def examples(self, interactions: Interactions, batch_size: int, since: IntArray | None = None) -> PrefixExamples:
        return PrefixExamples(interactions, self.items, self.codes, self.config.history_length, batch_size, since)

    @torch.no_grad()
    def share_unknown_rows(self, seen_users: BoolArray) -> None:
        if 0 < self.config.user_dropout < 1:
            share_last_row(self.users.weight, seen_users)

    def _history(self, inputs: PrefixInputs, generator: torch.Generator | None) -> Tensor:
        """(B, T) the history, in training without the events dropped at random."""
        history = inputs.history
        if self.training and self.config.history_dropout > 0:
            draws = uniform(*history.shape, generator=generator).to(history.device)
            history = torch.where(draws < self.config.history_dropout, -1, history)
        return history

    def _ids(self, inputs: PrefixInputs, generator: torch.Generator | None) -> Tensor:
        """(B, D) vectors of the userIds, in training some of them replaced by the unknown one."""
        user = torch.where((inputs.user < 0) | (inputs.user >= self.n_rows), self.n_rows, inputs.user)
        if self.training and 0 < self.config.user_dropout < 1:
            dropped = uniform(len(user), generator=generator).to(user.device) < self.config.user_dropout
            user = torch.where(dropped, self.n_rows, user)
        vectors: Tensor = self.users(user)
        return vectors

    def _with_facts(self, x: Tensor, inputs: PrefixInputs) -> Tensor:
        """(B, D) plus the vectors of the codes and of the user's own columns."""
        for column, table in enumerate(self.code_tables):
            x = x + table(inputs.codes[:, column])
        return x if self.user_content is None else x + self.user_content(inputs.user)


class PrefixExamples:
    """Every event as an example: its item is the target, the events before it are the query.

    With ``since`` (U,) the first so many events of each user are no examples.
    """

    def __init__(
        self,
        interactions: Interactions,
        items: ItemTable,
        codes: UserCodes,
        history_length: int,
        batch_size: int,
        since: IntArray | None = None,
    ) -> None:
        self.interactions, self.codes, self.history_length = interactions, codes, history_length
        self.prefixes: PrefixFeatures = prefix_features(interactions, items)
        self.user_of_event = interactions.user_idx
        self._targets: IntArray | None = None  # None = all events
        if since is not None:
            self._targets = np.flatnonzero(self.prefixes.activity >= since[self.user_of_event])
        self.n_batches = math.ceil(len(self) / batch_size)

    def __len__(self) -> int:
        return self.interactions.n_events if self._targets is None else len(self._targets)

    def batches(self, shuffle: np.random.Generator) -> list[IntArray]:
        """The events of each batch."""
        order = shuffle.permutation(len(self))
        return np.array_split(order if self._targets is None else self._targets[order], self.n_batches)

    def events(self, rows: IntArray) -> IntArray:
        return rows

    def width(self, rows: IntArray) -> int:
        return self.history_length

    def users(self, rows: IntArray) -> IntArray:
        users: IntArray = self.user_of_event[rows]
        return users

    def targets_of(self, rows: IntArray, own: IntArray) -> IntArray:
        return own

    def items_read(self, rows: IntArray) -> Tensor:
        first = self.interactions.user_offsets[self.users(rows)]
        start = np.maximum(rows - self.history_length, first)  # a history ends before the event itself
        return distinct_items(self.interactions, start, rows, self.history_length)

    def batch(self, rows: IntArray, *, width: int | None = None) -> tuple[PrefixInputs, Tensor]:
        users = self.user_of_event[rows]
        before = self.prefixes.activity[rows].astype(np.int64)
        history = self.interactions.padded_prefixes(users, before, self.history_length)
        codes, top_genres = self.codes.of_prefixes(self.interactions, users, self.prefixes, rows)
        inputs = _inputs(history.item_idx, history.lengths, users, codes, top_genres)
        return inputs, torch.from_numpy(self.interactions.item_idx[rows])


def _inputs(*columns: IntArray) -> PrefixInputs:
    return PrefixInputs(*(torch.from_numpy(column) for column in columns))
