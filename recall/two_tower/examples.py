"""What the towers are trained on and asked: events of the fit split, and queries, as tensors."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dataprep.features import PrefixFeatures, prefix_features
from recall.two_tower.config import TwoTowerConfig
from recall.two_tower.features import UserEncoder
from recall.two_tower.towers import UserInputs
from recall.two_tower.transformer import SequenceInputs
from reccore import Interactions, ItemTable, QueryBatch
from reccore.arrays import IntArray


def query_inputs(queries: QueryBatch, items: ItemTable, encoder: UserEncoder, history_length: int) -> UserInputs:
    """Inputs at the end of each history; users the model does not know count as unknown."""
    history = queries.padded(history_length)
    codes, top_genres = encoder.of_queries(queries, items)
    known = queries.user_idx < encoder.users.n_users
    return UserInputs(
        history=torch.from_numpy(history.item_idx),
        lengths=torch.from_numpy(history.lengths),
        user=torch.from_numpy(np.where(known, queries.user_idx, -1)),
        codes=torch.from_numpy(codes),
        top_genres=torch.from_numpy(top_genres),
    )


class Examples(Protocol):
    """What a trainer walks through: every event of the fit split is a target once an epoch.

    Attributes:
        interactions: the fit split.
        n_batches: batches of an epoch.
    """

    interactions: Interactions
    n_batches: int

    def __len__(self) -> int:
        """Targets of an epoch."""

    def batches(self, shuffle: np.random.Generator) -> list[IntArray]:
        """What ``batch`` takes, for each of an epoch's ``n_batches`` batches, in random order."""

    def batch(self, rows: IntArray) -> tuple[UserInputs | SequenceInputs, Tensor]:
        """Inputs and target items (B,) of one batch."""

    def events(self, rows: IntArray) -> IntArray:
        """(B,) which event of ``interactions`` each target of that batch is."""


class TrainingExamples:
    """Every event of the fit split as an example: its item is the target, what came before is the query.

    Events that come as a user's first have an empty history and count too: they teach the cold start.
    """

    def __init__(
        self, interactions: Interactions, items: ItemTable, encoder: UserEncoder, config: TwoTowerConfig
    ) -> None:
        self.interactions = interactions
        self.encoder = encoder
        self.history_length = config.history_length
        self.n_batches = math.ceil(interactions.n_events / config.batch_size)
        self.prefixes: PrefixFeatures = prefix_features(interactions, items)
        self.user_of_event = interactions.user_idx

    def __len__(self) -> int:
        return self.interactions.n_events

    def batches(self, shuffle: np.random.Generator) -> list[IntArray]:
        """The events of each of an epoch's ``n_batches`` batches, in random order."""
        return np.array_split(shuffle.permutation(len(self)), self.n_batches)

    def events(self, rows: IntArray) -> IntArray:
        """(B,) which event each target is: a batch is made of events."""
        return rows

    def batch(self, events: IntArray) -> tuple[UserInputs, Tensor]:
        """Inputs (B rows) and target items (B,) of the given events: index gathers only."""
        users = self.user_of_event[events]
        before = self.prefixes.activity[events].astype(np.int64)
        history = self.interactions.padded_prefixes(users, before, self.history_length)
        codes, top_genres = self.encoder.of_prefixes(self.interactions, users, self.prefixes, events)
        inputs = UserInputs(
            history=torch.from_numpy(history.item_idx),
            lengths=torch.from_numpy(history.lengths),
            user=torch.from_numpy(users),
            codes=torch.from_numpy(codes),
            top_genres=torch.from_numpy(top_genres),
        )
        return inputs, torch.from_numpy(self.interactions.item_idx[events])
