"""Hard negatives from the index: items that the current vectors retrieve for training queries.

The idea is that of Xiong et al., "Approximate nearest neighbor negative contrastive learning for dense text
retrieval" (ANCE), ICLR 2021. To keep the correction of the sampled softmax valid, mined items go into a pool shared by
all examples, from which each batch draws at random: an item's chance to be drawn is its share of the pool, and joins
the mixture that log Q* describes. Mined draws then do not shift what is learnt; they put more of the sample where the
sum of the softmax is. Without a logQ correction they weigh as they come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from recall.neural.logq import Proposal
from reccore import ComponentConfig, Exclusions, Interactions, QueryBatch
from reccore.arrays import IntArray, offsets_from_lengths, ragged_positions
from training.ranks import broadcast

Retrieve = Callable[[QueryBatch, int, Exclusions], IntArray]
"""Queries, depth and exclusions → (B, depth) item indices by the current vectors, -1 = none."""


class MiningConfig(ComponentConfig):
    """Options of mined negatives.

    Attributes:
        per_batch: negatives drawn for each batch.
        queries: training queries of a mining, chosen at random.
        depth: items taken of each answer; items of the user's own history are left out.
        every: batches between two minings, each of which builds the index anew.
    """

    per_batch: int = Field(default=256, ge=1)
    queries: int = Field(default=1000, ge=1)
    depth: int = Field(default=100, ge=1)
    every: int = Field(default=500, ge=1)


def mine(interactions: Interactions, retrieve: Retrieve, n_queries: int, depth: int, draws: torch.Generator) -> Tensor:
    """(N,) how often each item is among the best ``depth`` of random training queries.

    A query is the history before a random event, at that event's time, as in training. All items of its user are
    excluded, later ones too. Costs the vectors of the whole catalogue and one search per query.
    """
    events = torch.randint(interactions.n_events, (n_queries,), generator=draws).numpy()
    users = interactions.user_offsets.searchsorted(events, side="right") - 1
    before = events - interactions.user_offsets[users]
    lengths = interactions.lengths[users]
    at = ragged_positions(interactions.user_offsets[users], lengths)
    own = Exclusions(offsets_from_lengths(lengths), interactions.item_idx[at])
    queries = interactions.queries(users, before)
    if interactions.timestamp is not None:
        queries = replace(queries, as_of=interactions.timestamp[events])
    found = torch.from_numpy(retrieve(queries, depth, own).ravel())
    return torch.bincount(found[found >= 0], minlength=interactions.n_items)


class MinedPool(nn.Module):
    """A multiset of mined items, drawn from with replacement. All state is in buffers, for checkpoints."""

    counts: Tensor
    n_steps: Tensor

    def __init__(self, n_items: int, config: MiningConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("counts", torch.zeros(n_items, dtype=torch.int64))
        self.register_buffer("n_steps", torch.zeros((), dtype=torch.int64))

    def step(self, interactions: Interactions, retrieve: Retrieve, draws: torch.Generator) -> None:
        """Count one more batch; fill the pool anew at the first of every ``config.every``."""
        if int(self.n_steps) % self.config.every == 0:
            self.fill(mine(interactions, retrieve, self.config.queries, self.config.depth, draws))
            broadcast(self)  # an index may be built differently on another rank
        self.n_steps += 1

    def fill(self, counts: Tensor) -> None:
        """Replace the pool by items with the given multiplicities (N,)."""
        self.counts.copy_(counts)

    def draw(self, draws: torch.Generator) -> Tensor:
        """(``per_batch``,) items; none from an empty pool, as where every user has seen every item."""
        total = self.counts.cumsum(0)
        if int(total[-1]) == 0:
            return total[:0]
        place = torch.randint(int(total[-1]), (self.config.per_batch,), generator=draws).to(total.device)
        return torch.searchsorted(total, place, right=True)

    def proposal(self, item_idx: Tensor) -> Proposal | None:
        """Chance (M,) that one draw is each of the given items; None for an empty pool."""
        total = self.counts.sum()
        if int(total) == 0:
            return None
        return Proposal(self.config.per_batch, self.counts[item_idx] / total)
