"""Hard negatives from the index: what the current vectors would retrieve, and nobody's history holds.

The idea is that of Xiong et al., "Approximate nearest neighbor negative contrastive learning for dense text
retrieval" (ANCE), ICLR 2021, with the correction of the sampled softmax kept sound: mined items go into a pool that
all examples share, and each batch draws from it at random. The pool being given, an item's chance to be drawn is
known, it is the item's share of the pool, and joins the mixture that log Q* is of. So mined draws do not shift what
is learnt; they put more of the sample where the sum of the softmax is. With ``logq = none`` they weigh as they come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from recall.two_tower.loss import MinedShare
from reccore import Exclusions, Interactions, QueryBatch
from reccore.arrays import IntArray, offsets_from_lengths, ragged_positions

Retrieve = Callable[[QueryBatch, int, Exclusions], IntArray]
"""Queries, depth and exclusions → (B, depth) item indices by the current vectors, -1 = none."""


def mine(interactions: Interactions, retrieve: Retrieve, n_queries: int, depth: int, draws: torch.Generator) -> Tensor:
    """(N,) how often each item is among the best ``depth`` of random training queries.

    A query is the history before a random event, asked when that happened, as in training. All items of its user
    are left out, later ones too. Costs the vectors of the whole catalogue and a search for each query.
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
    """A multiset of mined items, drawn from with replacement. All state is in buffers, for checkpoints.

    Args:
        n_items: N.
        n_draws: items drawn for each batch.
    """

    counts: Tensor
    n_steps: Tensor

    def __init__(self, n_items: int, n_draws: int) -> None:
        super().__init__()
        self.n_draws = n_draws
        self.register_buffer("counts", torch.zeros(n_items, dtype=torch.int64))
        self.register_buffer("n_steps", torch.zeros((), dtype=torch.int64))

    def due(self, every: int) -> bool:
        """Whether one more step, which is counted here, is the first of ``every`` and calls for a new pool."""
        due = int(self.n_steps) % every == 0
        self.n_steps += 1
        return due

    def fill(self, counts: Tensor) -> None:
        """Replace the pool by items with the given multiplicities (N,)."""
        self.counts.copy_(counts)

    def draw(self, draws: torch.Generator) -> Tensor:
        """(``n_draws``,) items; none from an empty pool, as where every user has seen every item."""
        total = self.counts.cumsum(0)
        if int(total[-1]) == 0:
            return total[:0]
        place = torch.randint(int(total[-1]), (self.n_draws,), generator=draws).to(total.device)
        return torch.searchsorted(total, place, right=True)

    def share(self, item_idx: Tensor) -> MinedShare | None:
        """Chance (M,) that one draw is each of the given items; None for an empty pool."""
        total = self.counts.sum()
        if int(total) == 0:
            return None
        return MinedShare(self.n_draws, self.counts[item_idx] / total)
