"""A small two-tower on the checkerboard, and what its loss is given, shared by the tests of neural channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from recall.neural.losses import softmax
from recall.two_tower import TwoTower
from reccore import Holdout, RunOptions, TrainingData
from tests.helpers import nested
from training.kernels.masking import PositiveItems
from training.kernels.sampled_softmax import sampled_softmax

TINY: dict[str, Any] = {
    "embedding_size": 8,
    "item__hidden_size": 8,
    "encoder__kind": "mlp",
    "encoder__hidden_size": 8,
    "encoder__history_length": 4,
    "encoder__history_dropout": 0.2,
    "batch_size": 64,
    "epochs": 2,
    "negatives__uniform": 8,
    "learning_rate": 0.02,
}
BATCHES = 8
"""60 users of 8 events are 480 examples."""


def fitted(board: TrainingData, options: RunOptions, valid: Holdout | None = None, **config: Any) -> TwoTower:
    return TwoTower(nested(TINY, config)).fit(board, valid=valid, options=options)


def last_events(board: TrainingData) -> tuple[TrainingData, Holdout]:
    """All but the last event of every user to learn from, and the last to predict."""
    events = board.interactions
    stops = events.lengths - 1
    target = events.item_idx[events.user_offsets[1:] - 1]
    cut = TrainingData(events.first(stops), board.items, board.users, board.vocabulary)
    return cut, Holdout.single(events.queries(stops=stops), target)


class Script:
    """Validation figures given in advance, and the weights they were given for."""

    def __init__(self, *figures: float) -> None:
        self.figures = list(figures)
        self.weights: list[Tensor] = []

    def __call__(self, channel: TwoTower, valid: Holdout) -> float:
        self.weights.append(channel.network.item_encoder.ids.weight.detach().clone())
        return self.figures[len(self.weights) - 1]


def seen_by_the_loss(
    board: TrainingData, options: RunOptions, monkeypatch: pytest.MonkeyPatch, **config: Any
) -> list[dict[str, Any]]:
    """What every training step hands to the loss, with the ``targets`` (n,) and all other ``draws``, by item."""
    calls: list[dict[str, Any]] = []

    def record(queries: Tensor, items: Tensor, item_idx: Tensor, **rest: Any) -> Tensor:
        targets, repeats = item_idx[rest["target"]], rest["repeats"]
        assert len(item_idx.unique()) == len(item_idx)
        others = torch.ones_like(item_idx) if repeats is None else repeats.clone()  # unknown with distinct negatives
        others -= torch.bincount(rest["target"], minlength=len(others)) if repeats is not None else 0
        draws = torch.repeat_interleave(item_idx, others)
        calls.append({"n": len(queries), "item_idx": item_idx, "targets": targets, "draws": draws, **rest})
        return sampled_softmax(queries, items, item_idx, **rest)

    monkeypatch.setattr(softmax, "sampled_softmax", record)
    fitted(board, options, **config)
    return calls


def rows_of(positives: PositiveItems) -> list[list[int]]:
    return [
        positives.item_idx[a:b].tolist() for a, b in zip(positives.start.tolist(), positives.stop.tolist(), strict=True)
    ]
