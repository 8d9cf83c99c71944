"""Items that are no negatives of a training example because its user knows them."""

from __future__ import annotations

import numpy as np
import torch

from recall.two_tower.towers import UserInputs
from recall.two_tower.transformer import SequenceInputs
from reccore import Interactions
from reccore.arrays import IntArray, offsets_from_lengths, ragged_positions
from training.kernels.masking import PositiveItems


def read_by_queries(inputs: UserInputs | SequenceInputs) -> PositiveItems:
    """The part of its history that each query of a batch reads, without a copy."""
    length = inputs.history.shape[1]
    if isinstance(inputs, SequenceInputs):
        start = inputs.owner * length
        return PositiveItems(inputs.history.flatten(), start, start + inputs.asked % (length + 1))
    start = torch.arange(len(inputs.history), device=inputs.history.device) * length
    return PositiveItems(inputs.history.flatten(), start, start + inputs.lengths)


def of_whole_users(interactions: Interactions, events: IntArray, device: torch.device) -> PositiveItems:
    """All items of the users whose ``events`` (B,) are the targets, earlier ones and later ones."""
    users, user = np.unique(interactions.user_offsets.searchsorted(events, side="right") - 1, return_inverse=True)
    lengths = interactions.lengths[users]
    offsets = offsets_from_lengths(lengths)
    items = interactions.item_idx[ragged_positions(interactions.user_offsets[users], lengths)]
    start, stop = offsets[:-1][user], offsets[1:][user]
    return PositiveItems(*(torch.from_numpy(values).to(device) for values in (items, start, stop)))
