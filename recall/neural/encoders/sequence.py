"""Encoders that read the history in order, with every position a query: the frame around one causal network.

Two choices make it fast on a CPU. Histories are padded on the right, so that causality alone keeps padding out of
every valid position. And dropout draws one mask per sequence and channel, shared along time: drawing W·T·D Bernoulli
numbers costs more there than the products they thin out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recall.neural.encoders.base import QueryEncoder, QueryEncoderConfig
from recall.neural.encoders.windows import GAP_CODES, WindowCodes, WindowExamples, WindowInputs
from recall.neural.item_encoder import embedding
from recall.neural.user_codes import UserCodes
from recall.neural.user_content import UserContent
from reccore import Interactions, ItemTable, QueryBatch
from reccore.arrays import IntArray
from training.ranks import uniform


class SequenceEncoder(QueryEncoder):
    """Vectors of the history's items, with ratings and time gaps → unit vectors.

    A start position that holds what is known of the user answers for an empty history. Subclasses implement
    ``_build_layers`` and ``_read``.
    """

    reads_vectors: ClassVar[bool] = True
    queries_per_chunk: ClassVar[int] = 64  # activations of so many windows stay in the cache
    config: QueryEncoderConfig

    def __init__(self, config: QueryEncoderConfig, codes: UserCodes, items: ItemTable, size: int) -> None:
        super().__init__()
        self.config, self.codes, self.items = config, codes, items
        self.window_codes = WindowCodes(codes, reads_times=self.reads_event_times)
        self.start = embedding(2, size)
        self.facts = nn.ModuleList(embedding(n, size) for n in codes.fact_sizes)
        self.ratings = embedding(codes.n_event_ratings, size) if codes.has_ratings else None
        self.gaps = embedding(GAP_CODES, size) if codes.has_times else None
        self.hidden_event = nn.Parameter(torch.zeros(size))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self._build_layers(size)
        times = codes.time_sizes
        self.time_head = QueryTimeHead(times, size, config.hidden_size) if times else None
        self.norm = nn.LayerNorm(size)
        self.user_content = UserContent.of(codes.users, size)

    @property
    def reads_event_times(self) -> bool:
        """Whether ``_read`` needs ``inputs.event_times``; gaps to the event before are read in any case."""
        return False

    @abstractmethod
    def _build_layers(self, size: int) -> None:
        """Create the layers of ``_read``, of width ``size``."""

    @abstractmethod
    def _read(self, x: Tensor, inputs: WindowInputs, generator: torch.Generator | None) -> Tensor:
        """(W, T+1, D) → (W, T+1, D) of the windows ``inputs``; position j may depend on positions up to j."""

    def inputs(self, queries: QueryBatch) -> WindowInputs:
        return self.window_codes.of_queries(queries, self.config.history_length)

    def examples(self, interactions: Interactions, batch_size: int, since: IntArray | None = None) -> WindowExamples:
        return WindowExamples(interactions, self.window_codes, self.config.history_length, batch_size, since)

    def chunks(self, queries: QueryBatch) -> list[IntArray]:
        """Rows of similar length together."""
        return self._split(np.argsort(queries.lengths, kind="stable"))

    def forward(self, inputs: WindowInputs, items: Tensor, generator: torch.Generator | None) -> Tensor:
        x = torch.cat([self._start(inputs)[:, None], self._events(inputs, items, generator)], dim=1)
        x = self._read(x, inputs, generator)
        queries = x.flatten(0, 1)[inputs.query_positions]  # (P, D)
        if self.time_head is not None and inputs.times is not None:
            queries = self.time_head(queries, inputs.times)
        return F.normalize(self.norm(queries), dim=-1)

    def _start(self, inputs: WindowInputs) -> Tensor:
        x: Tensor = self.start(inputs.continued)  # (W, D)
        for column, table in enumerate(self.facts):
            x = x + table(inputs.facts[:, column])
        return x if self.user_content is None else x + self.user_content(inputs.user)

    def _events(self, inputs: WindowInputs, vectors: Tensor, generator: torch.Generator | None) -> Tensor:
        x = vectors * self.scale
        if self.training and self.config.history_dropout > 0:
            draws = uniform(*inputs.history.shape, generator=generator).to(x.device)
            x = torch.where((draws < self.config.history_dropout)[:, :, None], self.hidden_event, x)
        if self.ratings is not None:
            x = x + self.ratings(inputs.ratings)
        if self.gaps is not None:
            x = x + self.gaps(inputs.gaps)
        return x


class QueryTimeHead(nn.Module):
    """Joins the query's time to what its history says.

    It comes after the causal network, where a query is a row of its own. So the states of a history do not depend on
    when it is queried; and in training, where the query at position j has the time of event j + 1, that time reaches
    this query alone.

    Args:
        sizes: number of codes of each column of the query's time.
        size: D.
        hidden_size: width of the hidden layer.
    """

    def __init__(self, sizes: Sequence[int], size: int, hidden_size: int) -> None:
        super().__init__()
        self.codes = nn.ModuleList(embedding(n, size) for n in sizes)
        self.hidden_norm = nn.LayerNorm(size)
        self.hidden = nn.Linear(size, hidden_size)
        self.out = nn.Linear(hidden_size, size)
        nn.init.zeros_(self.out.weight)  # starts as the plain sum; learns what time and history say together
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """(P, D) → (P, D) of P queries; ``times`` (P, C) are their codes."""
        for column, table in enumerate(self.codes):
            x = x + table(times[:, column])
        mixed: Tensor = self.out(F.gelu(self.hidden(self.hidden_norm(x))))
        return x + mixed


def shared_dropout(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Dropout of (W, L, D) with one mask per sequence and channel; no dropout at rate 0."""
    if rate == 0:
        return x
    kept = uniform(x.shape[0], 1, x.shape[2], generator=generator) >= rate
    return x * (kept.to(x.dtype) / (1 - rate)).to(x.device)
