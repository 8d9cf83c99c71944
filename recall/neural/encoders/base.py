"""The interface of a query encoder, and of the inputs and training examples that it owns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, Self, TypeAlias

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recall.neural.user_codes import UserCodes
from reccore import ComponentConfig, Interactions, ItemTable, QueryBatch
from reccore.arrays import FloatArray, IntArray, ragged_positions
from training.kernels.masking import PositiveItems


class QueryEncoderConfig(ComponentConfig):
    """Options of every query encoder; subclasses add a field ``kind``.

    Attributes:
        hidden_size: width of the hidden layers.
        history_length: the latest so many events of a history are read.
        history_dropout: share of history events left out at random in training.
        query_time: read the query's time, in training that of the event to predict: how long after the latest event
            of the history, and when. Such a model has a leaderboard of its own.
        features: own columns of the users to read (``dataprep.own_features``); an error where there are none of the
            name.
    """

    hidden_size: int = Field(default=128, ge=1)
    history_length: int = Field(default=50, ge=1)
    history_dropout: float = Field(default=0.2, ge=0, lt=1)
    query_time: bool = False
    features: tuple[str, ...] = ()


class QueryInputs(Protocol):
    """A batch of queries as tensors."""

    @property
    def history(self) -> Tensor:
        """(W, T) int64 item indices, oldest first, -1 = padding on the right."""

    def positives(self) -> PositiveItems:
        """The part of its history that each query reads, without a copy."""

    def to(self, device: torch.device) -> Self:
        """The same on a device."""


class Examples(Protocol):
    """Training examples: every event of the fit split is a target once an epoch.

    Attributes:
        interactions: the fit split.
        n_batches: batches of an epoch.
    """

    interactions: Interactions
    n_batches: int

    def __len__(self) -> int:
        """Targets of an epoch."""

    def batches(self, shuffle: np.random.Generator) -> list[IntArray]:
        """Arguments of ``batch`` for each of an epoch's ``n_batches`` batches, in random order."""

    def batch(self, rows: IntArray, *, width: int | None = None) -> tuple[QueryInputs, Tensor]:
        """Inputs and target items (B,) of one batch, or of some of its rows with histories as wide as ``width``."""

    def width(self, rows: IntArray) -> int:
        """T of the histories of that batch."""

    def users(self, rows: IntArray) -> IntArray:
        """The user of each row of that batch."""

    def targets_of(self, rows: IntArray, own: IntArray) -> IntArray:
        """Which of that batch's targets are those of its rows number ``own``, in ascending order."""

    def items_read(self, rows: IntArray) -> Tensor:
        """Distinct items of the histories of that batch, with item 0 in place of padding where there is any."""

    def events(self, rows: IntArray) -> IntArray:
        """(B,) which event of ``interactions`` each target of that batch is."""


FrozenEncoder: TypeAlias = Callable[[QueryBatch], FloatArray]
"""From queries whose history items are known to vectors."""


class QueryEncoder(nn.Module, ABC):
    """From histories and what is known of users to vectors.

    Built as ``Encoder(config, codes, items, size)``: its configuration, the user codes, the catalogue, and D.
    """

    reads_vectors: ClassVar[bool]
    """Whether histories are read as vectors of the item encoder; else from its id table."""
    queries_per_chunk: ClassVar[int]
    """Queries to encode together: bounds the memory of their activations."""

    config: Any
    codes: UserCodes
    items: ItemTable

    @abstractmethod
    def inputs(self, queries: QueryBatch) -> QueryInputs:
        """Inputs at the end of each history; all history items must be known."""

    @abstractmethod
    def examples(self, interactions: Interactions, batch_size: int, since: IntArray | None = None) -> Examples:
        """Training examples of the fit split.

        Args:
            interactions: the fit split.
            batch_size: targets of a batch.
            since: (U,) number of first events of each user that need not be targets; None = all are.
        """

    @abstractmethod
    def forward(self, inputs: Any, items: Any, generator: torch.Generator | None) -> Tensor:
        """Unit vectors (P, D) of P queries, or (P, I, D) where a query has several.

        Args:
            inputs: from ``inputs`` or the examples.
            items: vectors (W, T, D) of ``inputs.history`` where ``reads_vectors``, arbitrary on padding; else the
                item encoder's id table.
            generator: draws what is dropped in training.
        """

    def frozen(self, ids: Tensor) -> FrozenEncoder | None:
        """The same function on the CPU for weights that do not change, where there is a faster one for single queries.

        Args:
            ids: (N+1, D) the item encoder's id table.
        """
        return None

    def chunks(self, queries: QueryBatch) -> list[IntArray]:
        """Rows to encode together, ``queries_per_chunk`` at most."""
        return self._split(np.arange(len(queries)))

    def share_unknown_rows(self, seen_users: np.ndarray) -> None:
        """Give users without a training event, ``~seen_users`` (U,), what was learnt for unknown ones; if anything."""

    def _split(self, order: IntArray) -> list[IntArray]:
        return np.array_split(order, max(1, -(-len(order) // self.queries_per_chunk)))


def distinct_items(interactions: Interactions, start: IntArray, stop: IntArray, width: int) -> Tensor:
    """Distinct items of the events ``start … stop-1`` of each row, and item 0 where a row has fewer than ``width``."""
    read = np.zeros(interactions.n_items, dtype=np.bool_)
    read[interactions.item_idx[ragged_positions(start, stop - start)]] = True
    read[0] |= bool(np.any(stop - start < width))
    return torch.from_numpy(np.flatnonzero(read))
