"""Training that goes on from the weights at hand, on later events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recall.neural.network import NeuralNetwork
from reccore import Interactions
from reccore.arrays import IntArray
from reccore.changes import equal_events

UPDATE_EPOCHS = 2
"""Passes over the later events and as many old ones, at least."""
UPDATE_STEPS = 50
"""Training steps, at least: new rows take some tens of them, and many more would over-fit to few events."""
LEARNING_RATE_SHARE = 0.3
"""Of the learning rate of a fit: the weights are near an optimum, and great steps would forget it."""
GROWN = ("item_encoder.ids.weight", "query_encoder.users.weight")
"""Tables with a row for each item or user, and one for unknown ones behind them."""


@dataclass(frozen=True, eq=False)
class LaterEvents:
    """What an update learns from.

    Attributes:
        interactions: whole histories of the users with targets; other users have no events.
        since: (U,) number of first events of each history that are no targets.
    """

    interactions: Interactions
    since: IntArray

    @classmethod
    def of(cls, events: Interactions, before: Interactions, draws: np.random.Generator) -> LaterEvents:
        """Targets are all events from a user's first new one on, and the latest of as many other users, drawn at
        random, so that what was learnt of them is not forgotten: as many events of each as are new on average."""
        equal = equal_events(before.resized(events.n_users, events.n_items), events)
        changed = np.flatnonzero(equal < events.lengths)
        others = np.flatnonzero((equal == events.lengths) & (events.lengths > 0))
        others = draws.choice(others, min(len(changed), len(others)), replace=False)
        since = events.lengths.copy()
        since[changed] = equal[changed]
        n_each = -(-int((events.lengths - since).sum()) // max(len(changed), 1))
        since[others] = np.maximum(events.lengths[others] - n_each, 0)
        read = since < events.lengths
        return cls(events.first(np.where(read, events.lengths, 0)), np.where(read, since, 0))

    def __len__(self) -> int:
        """Number of targets."""
        return int((self.interactions.lengths - self.since).sum())


@torch.no_grad()
def grow_weights(network: NeuralNetwork, old: NeuralNetwork) -> None:
    """Take the weights of a network for fewer items and users; new ones get the row of the unknown.

    Raises:
        ValueError: the networks differ in other sizes too.
    """
    weights = dict(old.state_dict())
    for name, wanted in network.state_dict().items():
        if name in GROWN:
            weights[name] = _with_rows(weights[name], len(wanted))
        if name not in weights or weights[name].shape != wanted.shape:
            raise ValueError(f"{name} has shape {tuple(wanted.shape)}, which the weights at hand do not fit")
    network.load_state_dict(weights)


def _with_rows(table: Tensor, n: int) -> Tensor:
    """(n, D) the rows of (m, D), of which the last, that of the unknown, is repeated at the end."""
    return torch.cat([table[:-1], table[-1:].expand(n - len(table) + 1, -1)])
